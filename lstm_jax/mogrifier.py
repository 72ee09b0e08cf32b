"""The Mogrifier LSTM: input and state look at each other before the step.

In r rounds, in turn, each scales the other (Melis, Kočiský & Blunsom 2020):

    x = 2 σ(h · Q_n) * x      in the odd rounds
    h = 2 σ(x · R_n) * h      in the even ones

What a symbol means then depends on what was read before it. The step that follows is
the textbook's; `capped`, it is the one of the paper, with an input gate of at most
1 - f. The inputs' product can no longer be made for all steps at once.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cell import LSTMParams, LSTMState, open_gates
from lstm_jax.notation import (
    GateBias,
    Hidden,
    Inputs,
    Lengths,
    PRNGKey,
    StepInput,
)
from lstm_jax.products import Multiply, scan_products


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MogrifierParams:
    """Weights of one layer: those of an LSTM, and a matrix for each round.

    `rounds` are Q [H, D] in the odd places and R [D, H] in the even ones, counted
    from 1; without any it is a plain LSTM.
    """

    cell: LSTMParams
    rounds: tuple[Array, ...]


def mogrifier_step(
    params: MogrifierParams, state: LSTMState, x: StepInput, capped: bool = False
) -> LSTMState:
    """Advance one step, as `lstm_step` does."""
    weights, b = _products(params), params.cell.b

    def multiply(n: int, a: Array) -> Array:
        return a @ weights[n]

    return _step(multiply, len(params.rounds), b, state, x, capped)


def mogrifier_lstm(
    params: MogrifierParams,
    xs: Inputs,
    state: LSTMState,
    *,
    lengths: Lengths | None = None,
    capped: bool = False,
) -> tuple[Hidden, LSTMState]:
    """Run one layer over a batch of sequences.

    Args:
        params: the layer's weights.
        xs: inputs [T, B, D], time first.
        state: what the layer remembers from before, h and c [B, H].
        lengths: [B], how many steps of each row are real: see `lstm_jax.lstm`.
        capped: whether the input gate is at most 1 - f.

    Returns:
        The outputs [T, B, H], and the state after the last real step.
    """
    valid = None if lengths is None else jnp.arange(len(xs))[:, None] < lengths
    rounds = len(params.rounds)

    def step(
        multiply: Multiply, b: GateBias, before: LSTMState, inputs: tuple
    ) -> tuple[LSTMState, Array]:
        x, valid_t = inputs
        after = _step(multiply, rounds, b, before, x, capped)
        if valid_t is not None:
            after = jax.tree.map(
                lambda new, old: jnp.where(valid_t[:, None], new, old), after, before
            )
        return after, after.h

    state, hs = scan_products(
        step, _products(params), params.cell.b, state, (xs, valid)
    )
    return hs if valid is None else jnp.where(valid[..., None], hs, 0), state


def init_rounds(
    key: PRNGKey, count: int, input_size: int, hidden_size: int
) -> tuple[Array, ...]:
    """Random matrices for `count` rounds, Glorot's."""
    glorot = jax.nn.initializers.glorot_uniform()
    shapes = [(hidden_size, input_size), (input_size, hidden_size)]
    keys = jax.random.split(key, max(count, 1))
    return tuple(glorot(keys[n], shapes[n % 2]) for n in range(count))


def _products(params: MogrifierParams) -> tuple[Array, ...]:
    """The matrices of a step in their order; the last is [w_x; w_h], [D + H, 4H]."""
    return *params.rounds, jnp.concatenate([params.cell.w_x, params.cell.w_h])


def _step(
    multiply: Multiply, rounds: int, b: Array, state: LSTMState, x: Array, capped: bool
) -> LSTMState:
    h = state.h
    for n in range(rounds):
        if n % 2 == 0:
            x = 2 * jax.nn.sigmoid(multiply(n, h)) * x
        else:
            h = 2 * jax.nn.sigmoid(multiply(n, x)) * h
    z = multiply(rounds, jnp.concatenate([x, h], axis=-1)) + b
    return open_gates(z, state.c, capped=capped)
