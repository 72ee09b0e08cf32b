"""Greedy and beam search over any recurrent decoder, the latter length-normalised.

The decoder is a function `step(states, ids) -> (logits, states)` and its states any
pytree with the rows first, so that language models and translators share the search.
Nothing here compiles anything: call it inside `jax.jit`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import (
    BatchIds,
    BeamIds,
    BeamLengths,
    BeamScores,
    Count,
    StepIds,
    StepLogits,
)

States = TypeVar("States")
NO_END = -1  # no symbol ends a sequence: all grow to the full length


class Beams(NamedTuple):
    """Sequences of every row, the best first.

    Attributes:
        ids: [B, W, T], the end symbol included; zeros after it.
        lengths: [B, W], the end symbol included.
        scores: [B, W], log-probability in nats divided by the length penalty; -inf
            where there are fewer than W sequences.
    """

    ids: BeamIds
    lengths: BeamLengths
    scores: BeamScores


# What the loops carry: place, ids, who has ended, logits of the next symbol, states;
# and place, totals and ids of the live sequences, the finished ones, logits [B, W, V]
# of the next symbol, states.
_Greedy = tuple[Count, BatchIds, Array, StepLogits, States]
_Search = tuple[Count, BeamScores, BeamIds, Beams, Array, States]


def greedy_search(
    step: Callable[[States, StepIds], tuple[StepLogits, States]],
    states: States,
    logits: StepLogits,
    *,
    length: int,
    end: int = NO_END,
) -> BatchIds:
    """The likeliest symbol each time, until all rows have ended.

    The arguments are those of `beam_search`. A beam of width 1 is something else: it
    may come back to a place where `end` was only the second best.

    Returns:
        The sequences [B, T], the end symbol included; zeros after it.
    """
    ids = jnp.zeros((logits.shape[0], length), jnp.int32)
    ended = jnp.zeros(logits.shape[0], bool)

    def unfinished(search: _Greedy[States]) -> Array:
        place, _, ended, _, _ = search
        return (place < length) & ~jnp.all(ended)

    def grow(search: _Greedy[States]) -> _Greedy[States]:
        place, ids, ended, logits, states = search
        best = argmax(logits)
        ids = ids.at[:, place].set(jnp.where(ended, 0, best))
        logits, states = step(states, best)
        return place + 1, ids, ended | (best == end), logits, states

    first = (jnp.int32(0), ids, ended, logits, states)
    return jax.lax.while_loop(unfinished, grow, first)[1]


def length_penalty(length: Array | int, alpha: float) -> Array:
    """((5 + length) / 6) ** alpha: Wu et al. 2016, equation 14, without coverage."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


def beam_search(
    step: Callable[[States, StepIds], tuple[StepLogits, States]],
    states: States,
    logits: StepLogits,
    *,
    width: int,
    length: int,
    end: int = NO_END,
    stops: Sequence[Sequence[int]] = (),
    alpha: float = 0.0,
) -> Beams:
    """The likeliest continuations that a beam of `width` finds.

    Sequences that reach `length` without an end count as they stand. A row is searched
    until no live sequence can overtake the finished ones any more. Sequences that
    differ in nothing but their ends are one, that of the likeliest end.

    Args:
        step: takes states and ids [BW], gives logits [BW, V] of the symbol after, which
            need not be normalised, and the new states. -inf rules a symbol out.
        states: of B rows, each array [B, ...].
        logits: [B, V], of the first symbol.
        width: W, at least 1.
        length: T, the longest sequence, at least 1.
        end: the symbol that ends a sequence, or NO_END.
        stops: several symbols in a row each, which end a sequence too, in no order. Of
            two that are complete at once the longer is the end.
        alpha: strength of the length penalty; 0 for none.

    Raises:
        ValueError: width or length below 1, or alpha below 0.
    """
    if width < 1 or length < 1 or not 0 <= alpha < float("inf"):
        raise ValueError(
            "expected width and length of at least 1 and a finite alpha of at least 0, "
            f"found width {width}, length {length}, alpha {alpha}"
        )
    rows = logits.shape[0]
    endings = _endings(end, stops, length)
    last = {ending[-1] for ending in endings}
    blank = jnp.zeros((rows, width, length), jnp.int32)
    nothing = jnp.full((rows, width), -jnp.inf, jnp.float32)
    no_lengths = jnp.zeros((rows, width), jnp.int32)

    def unfinished(search: _Search[States]) -> Array:
        place, totals, _, done, _, _ = search
        reach = jnp.max(totals, axis=1) / length_penalty(length, alpha)
        return (place < length) & jnp.any(reach > jnp.min(done.scores, axis=1))

    def grow(search: _Search[States]) -> _Search[States]:
        place, totals, ids, done, logits, states = search
        # Twice the width for one ending: at most one in each beam ends by it, so that W
        # live ones remain.
        count = (1 + max(1, len(last))) * width
        totals, parents, symbols = _extend(totals, logits, count)
        grown = _pick(ids, parents).at[:, :, place].set(symbols)
        lengths = jnp.full(symbols.shape, place + 1, jnp.int32)
        ends = _size_of_end(grown, lengths, endings) > 0
        normal = totals / length_penalty(place + 1, alpha)
        ended = Beams(grown, lengths, jnp.where(ends, normal, -jnp.inf))
        done = _best(done, ended, width, endings)
        totals, kept = jax.lax.top_k(jnp.where(ends, -jnp.inf, totals), width)
        ids, symbols, parents = (_pick(a, kept) for a in (grown, symbols, parents))
        flat = (parents + width * jnp.arange(rows)[:, None]).reshape(-1)
        states = jax.tree.map(lambda a: a[flat], states)
        logits, states = step(states, symbols.reshape(-1))
        logits = logits.astype(jnp.float32).reshape(rows, width, -1)
        return place + 1, totals, ids, done, logits, states

    place, totals, ids, done, _, _ = jax.lax.while_loop(
        unfinished,
        grow,
        (
            jnp.int32(0),
            nothing.at[:, 0].set(0.0),  # one empty sequence, not W equal ones
            blank,
            Beams(blank, no_lengths, nothing),
            jnp.repeat(logits.astype(jnp.float32)[:, None], width, axis=1),
            jax.tree.map(lambda a: jnp.repeat(a, width, axis=0), states),
        ),
    )
    whole = jnp.where(place == length, totals, -jnp.inf)
    whole = whole / length_penalty(length, alpha)
    return _best(done, Beams(ids, no_lengths + length, whole), width, endings)


def _endings(
    end: int, stops: Sequence[Sequence[int]], length: int
) -> tuple[tuple[int, ...], ...]:
    """All that can end a sequence of at most `length` symbols, the shortest first."""
    every = {tuple(map(int, stop)) for stop in stops} | {(end,)}
    able = (ending for ending in every - {(NO_END,)} if 0 < len(ending) <= length)
    return tuple(sorted(able, key=lambda ending: (len(ending), ending)))


def _size_of_end(
    ids: Array, lengths: Array, endings: Sequence[tuple[int, ...]]
) -> Array:
    """How many symbols are the end of each sequence [B, N]; 0 of one that goes on."""
    found = jnp.zeros(lengths.shape, jnp.int32)
    for ending in endings:  # the longest last
        at = lengths[..., None] - len(ending) + jnp.arange(len(ending))
        tail = jnp.take_along_axis(ids, jnp.maximum(at, 0), axis=-1)
        ends = jnp.all((tail == jnp.array(ending)) & (at >= 0), axis=-1)
        found = jnp.where(ends, len(ending), found)
    return found


def _extend(
    totals: BeamScores, logits: Array, count: int
) -> tuple[Array, Array, Array]:
    """The best totals of one symbol more [B, count], their beams and their symbols."""
    rows, width, vocab = logits.shape
    every = (totals[..., None] + jax.nn.log_softmax(logits)).reshape(rows, -1)
    best, where = jax.lax.top_k(every, min(count, width * vocab))
    return best, where // vocab, where % vocab


def _best(
    one: Beams, other: Beams, width: int, endings: Sequence[tuple[int, ...]]
) -> Beams:
    """The best of two sets of sequences, sorted; of equal ones the earlier."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), one, other)
    scores = both.scores
    if len(endings) > 1:
        scores = jnp.where(_is_repeated(both, endings), -jnp.inf, scores)
    scores, kept = jax.lax.top_k(scores, width)
    return Beams(_pick(both.ids, kept), _pick(both.lengths, kept), scores)


def _is_repeated(beams: Beams, endings: Sequence[tuple[int, ...]]) -> Array:
    """Which sequences [B, N] are another one of a better score, but for their ends."""
    size = beams.lengths - _size_of_end(beams.ids, beams.lengths, endings)
    count, length = beams.ids.shape[1:]
    place = jnp.arange(count)

    def repeats(at: Array) -> Array:
        """Whether the sequence at this place does, row by row."""
        own = jnp.arange(length) >= size[:, at, None]  # its end, and what is behind
        same = (beams.ids == beams.ids[:, at, None]) | own[:, None]
        same = jnp.all(same, axis=-1) & (size == size[:, at, None])
        score = beams.scores[:, at, None]
        better = (beams.scores > score) | ((beams.scores == score) & (place < at))
        return jnp.any(same & better & (score > -jnp.inf), axis=1)

    return jax.lax.map(repeats, place).T


def _pick(a: Array, kept: Array) -> Array:
    """The chosen beams of every row."""
    return jax.vmap(lambda row, at: row[at])(a, kept)
