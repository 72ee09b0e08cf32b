"""What a model expects and what its units do while it reads a text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.report.inspection import Layer
from lstm_jax.typing import Ids

_GUESSES = 5


class Seen(NamedTuple):
    """What was seen while a model read ids [T, B].

    `guesses` and `chances` [T, B, 5] are the likeliest next symbols; `expected` [T, B]
    is the log-probability of the symbol that came next, of the last one of any.
    """

    layers: list[Layer]
    memories: list[Array | None]
    guesses: Array
    chances: Array
    expected: Array


@bounded_jit
def _read(model: LanguageModel, ids: Ids) -> tuple[States, States, Array, Array, Array]:
    """The states before and after each symbol, and what was expected after it."""
    count = min(_GUESSES, model.b_out.shape[0])
    upcoming = jnp.roll(ids, -1, axis=0)

    def step(
        before: States, symbols: tuple[Array, Array]
    ) -> tuple[States, tuple[States, States, Array, Array, Array]]:
        read, following = symbols
        after = model.step(read, before)
        logits = model.next_logits(after).astype(jnp.float32)
        chances, guesses = jax.lax.top_k(jax.nn.log_softmax(logits), count)
        expected = jnp.take_along_axis(
            jax.nn.log_softmax(logits), following[:, None], axis=-1
        )[:, 0]
        return after, (before, after, guesses, jnp.exp(chances), expected)

    blank = model.initial_state(ids.shape[1])
    _, seen = jax.lax.scan(step, blank, (ids, upcoming))
    return seen


@bounded_jit
def _preactivations(
    model: LanguageModel, ids: Ids, before: States, after: States
) -> list[Array]:
    below = [ids, *(state.h for state in after[:-1])]
    return [
        model.preactivations(depth, below[depth], before[depth])
        for depth in range(len(before))
    ]


def see(model: LanguageModel, ids: Ids) -> Seen:
    """Let a model read ids [T, B], every row from the zero state."""
    before, after, guesses, chances, expected = _read(model, ids)
    zs = _preactivations(model, ids, before, after)
    layers = [Layer(z, state.h, model.cell) for z, state in zip(zs, after, strict=True)]
    memories = [getattr(state, "c", None) for state in after]
    return Seen(layers, memories, guesses, chances, expected)
