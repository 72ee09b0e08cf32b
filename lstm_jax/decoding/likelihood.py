"""What a model thinks of a text: how likely it is, and which would be the likeliest."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.decoding.autoregressive import CHUNK, DecoderState, read_prompt
from lstm_jax.decoding.beam import NO_END, Beams, beam_search
from lstm_jax.decoding.checks import checked_allowed, checked_ids, checked_stops
from lstm_jax.decoding.sampling import remember
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.typing import BatchIds, Count, StepIds


def search_ids(
    model: LanguageModel,
    prompt: ArrayLike,
    length: int,
    *,
    width: int,
    alpha: float = 0.0,
    end: int = NO_END,
    stops: Sequence[ArrayLike] = (),
    allowed: np.ndarray | None = None,
) -> Beams:
    """The likeliest continuations of a prompt that a beam finds, the best first.

    Args:
        model: the model.
        prompt: ids, any number, none included.
        length: T, how many symbols at most. Another one is another program.
        width: W of the beam.
        alpha: strength of the length penalty, see `lstm_jax.decoding.beam`.
        end: the symbol that ends a text, if there is one.
        stops: ids each, which end a text where they come in a row.
        allowed: [V], symbols that may appear; all if None.

    Raises:
        ValueError: see `beam_search`.
        InputError: ids that the model does not have.
    """
    vocab_size = model.b_out.shape[0]
    may_appear = jnp.asarray(checked_allowed(allowed, vocab_size))
    endings = checked_stops(stops, vocab_size)
    states = read_prompt(model, prompt).states
    return _search(model, states, may_appear, width, length, end, endings, alpha)


@functools.partial(
    bounded_jit, static_argnames=("width", "length", "end", "stops", "alpha")
)
def _search(
    model: LanguageModel,
    states: States,
    may_appear: jax.Array,
    width: int,
    length: int,
    end: int,
    stops: tuple[tuple[int, ...], ...],
    alpha: float,
) -> Beams:
    def logits_of(states: States) -> jax.Array:
        return jnp.where(may_appear, model.next_logits(states), -jnp.inf)

    def step(states: States, ids: StepIds) -> tuple[jax.Array, States]:
        states = model.step(ids, states)
        return logits_of(states), states

    return beam_search(
        step,
        states,
        logits_of(states),
        width=width,
        length=length,
        end=end,
        stops=stops,
        alpha=alpha,
    )


def score_ids(
    model: LanguageModel, ids: ArrayLike, prompt: ArrayLike | None = None
) -> np.ndarray:
    """The model's log-probability of each symbol [N], in nats, given those before it.

    Args:
        model: the model.
        ids: [N], any text, one that was generated for example.
        prompt: ids that come before them and are not scored.

    Raises:
        InputError: ids that the model does not have.
    """
    ids = checked_ids(ids, model.b_out.shape[0], "ids")
    before = read_prompt(model, np.zeros(0, int) if prompt is None else prompt)
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        padded = np.zeros((1, CHUNK), np.int32)
        padded[0, : len(chunk)] = chunk
        chances, before = _score(model, before, padded, np.int32(len(chunk)))
        found.append(np.asarray(chances)[: len(chunk)])
    return np.concatenate(found)


@bounded_jit
def _score(
    model: LanguageModel, before: DecoderState, ids: BatchIds, count: Count
) -> tuple[jax.Array, DecoderState]:
    """The log-probabilities of the first `count` of one row of ids [1, T], [T]."""
    first = model.next_logits(before.states)
    logits, states = model(ids, before.states, lengths=count[None])
    # The logits of a symbol are those that stood when all before it was read.
    logits = jnp.concatenate([first, logits[0, :-1]]).astype(jnp.float32)
    chances = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(chances, ids[0, :, None], axis=-1)[:, 0]
    recent = remember(before.recent, ids.T, count)
    after = DecoderState(states, recent, before.place)
    return own, after
