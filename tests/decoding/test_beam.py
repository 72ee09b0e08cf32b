"""Beam search equals brute force where the beam holds everything, and slow NumPy."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.decoding.beam import NO_END, Beams, beam_search, greedy_search

Symbols = tuple[int, ...]
Scored = list[tuple[float, Symbols]]
ROWS, VOCAB, LENGTH = 2, 3, 4
RNG = np.random.default_rng(7)
# A state is the last two symbols; the table gives each row its own scores.
FIRST = RNG.normal(size=(ROWS, VOCAB)).astype(np.float32)
TABLE = 2 * RNG.normal(size=(ROWS, VOCAB, VOCAB, VOCAB)).astype(np.float32)


def step(
    states: dict[str, jax.Array], ids: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    table = states["row"], states["last"], ids
    return jnp.asarray(TABLE)[table], {"row": states["row"], "last": ids}


def search(width: int, end: int, alpha: float) -> Beams:
    states = {"row": jnp.arange(ROWS), "last": jnp.zeros(ROWS, jnp.int32)}

    def run() -> Beams:
        return beam_search(
            step,
            states,
            jnp.asarray(FIRST),
            width=width,
            length=LENGTH,
            end=end,
            alpha=alpha,
        )

    return jax.tree.map(np.asarray, jax.jit(run)())


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x - np.log(np.exp(x).sum())


def next_logits(row: int, seq: Symbols) -> np.ndarray:
    if not seq:
        return log_softmax(FIRST[row])
    return log_softmax(TABLE[row][(0, *seq)[-2:]])


def normal(row: int, seq: Symbols, alpha: float) -> float:
    total = sum(next_logits(row, seq[:k])[s] for k, s in enumerate(seq))
    return total / ((5 + len(seq)) / 6) ** alpha


def everything(row: int, end: int, alpha: float) -> Scored:
    """All sequences, best first."""
    found = []
    for n in range(1, LENGTH + 1):
        for seq in itertools.product(range(VOCAB), repeat=n):
            if end not in seq[:-1] and (n == LENGTH or seq[-1] == end):
                found.append((normal(row, seq, alpha), seq))
    return sorted(found, reverse=True)


def slow_beam(row: int, width: int, end: int, alpha: float) -> Scored:
    """Lists and sorting; no early end."""
    live: list[Symbols] = [()]
    done: list[Symbols] = []
    for _ in range(LENGTH):
        grown: list[Symbols] = [(*seq, s) for seq in live for s in range(VOCAB)]
        grown.sort(key=lambda seq: -normal(row, seq, 0.0))
        done += [seq for seq in grown[: 2 * width] if seq[-1] == end]
        live = [seq for seq in grown if seq[-1] != end][:width]
    return sorted(((normal(row, s, alpha), s) for s in done + live), reverse=True)


@pytest.mark.parametrize("width", [1, 2, 3, 81])
@pytest.mark.parametrize(("end", "alpha"), [(0, 0.0), (0, 1.0), (NO_END, 0.6)])
def test_the_search_finds_what_slow_numpy_finds(
    width: int, end: int, alpha: float
) -> None:
    beams = search(width, end, alpha)
    for row in range(ROWS):
        expected = slow_beam(row, width, end, alpha)[:width]
        if width == 81:
            assert expected == everything(row, end, alpha)[:width]
        for place, (score, seq) in enumerate(expected):
            size = beams.lengths[row, place]
            assert tuple(beams.ids[row, place, :size]) == seq
            np.testing.assert_allclose(beams.scores[row, place], score, rtol=1e-5)
        assert np.all(beams.scores[row, len(expected) :] == -np.inf)


def stem(seq: Symbols, stops: Sequence[Symbols]) -> Symbols:
    """A sequence without its end."""
    sizes = [len(stop) for stop in stops if seq[-len(stop) :] == stop]
    return seq[: len(seq) - max(sizes, default=0)]


def by_stops(row: int, stops: Sequence[Symbols]) -> Scored:
    """All that may come of these stops, but for their ends; the best first."""

    def ended(seq: Symbols) -> bool:
        return any(seq[-len(stop) :] == stop for stop in stops)

    best: dict[Symbols, float] = {}
    for n in range(1, LENGTH + 1):
        for seq in itertools.product(range(VOCAB), repeat=n):
            whole = n == LENGTH or ended(seq)
            if whole and not any(ended(seq[:k]) for k in range(1, n)):
                score = normal(row, seq, 0.0)
                key = stem(seq, stops)
                best[key] = max(best.get(key, -np.inf), score)
    return sorted(((score, seq) for seq, score in best.items()), reverse=True)


@pytest.mark.parametrize(
    "stops",
    [
        *([(0,), (1,)], [(1,), (0,)], [(2, 1)], [(0, 1), (1,)]),
        *([(1, 1), (0, 2, 1), (2, 0)], [(2, 2, 2, 2), (0,) * 9]),
    ],
)
def test_every_stop_ends_a_sequence(stops: list[Symbols]) -> None:
    """In any order, one symbol or several; and no two are the same but for them."""
    states = {"row": jnp.arange(ROWS), "last": jnp.zeros(ROWS, jnp.int32)}

    @functools.partial(jax.jit, static_argnums=0)
    def run(stops: tuple[Symbols, ...]) -> Beams:
        sizes = {"width": 81, "length": LENGTH}
        return beam_search(step, states, jnp.asarray(FIRST), stops=stops, **sizes)

    beams = run(tuple(stops))
    for row in range(ROWS):
        expected = by_stops(row, stops)
        scores = np.asarray(beams.scores[row])
        found = [
            stem(tuple(ids[:size].tolist()), stops)
            for ids, size in zip(
                np.asarray(beams.ids[row]), beams.lengths[row], strict=True
            )
        ]
        count = int(np.isfinite(scores).sum())
        assert count == min(81, len(expected))
        assert found[:count] == [seq for _, seq in expected]
        totals = [score for score, _ in expected]
        np.testing.assert_allclose(scores[:count], totals, rtol=1e-5)


@pytest.mark.parametrize("end", [1, 3, NO_END])
def test_greedy_takes_the_highest_score_until_the_end(end: int) -> None:
    table = np.random.default_rng(1).normal(size=(6, 5, 5)).astype(np.float32)

    def follow(rows: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(table)[rows, ids], rows

    def run() -> jax.Array:
        rows = jnp.arange(6)
        return greedy_search(follow, rows, jnp.asarray(table[:, 0]), length=5, end=end)

    sizes = set()
    for row, ids in enumerate(np.asarray(jax.jit(run)())):
        expected = [int(table[row, 0].argmax())]
        while len(expected) < 5 and expected[-1] != end:
            expected.append(int(table[row, expected[-1]].argmax()))
        assert ids.tolist() == expected + [0] * (5 - len(expected))
        sizes.add(len(expected))
    assert end == NO_END or len(sizes) > 1  # rows end at different places


@pytest.mark.parametrize("bad", [{"width": 0}, {"length": 0}, {"alpha": -1.0}])
def test_nonsense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected width and length"):
        beam_search(step, {}, jnp.asarray(FIRST), **{"width": 1, "length": 1} | bad)  # pyrefly: ignore
