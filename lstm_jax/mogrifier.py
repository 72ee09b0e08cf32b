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
from lstm_jax.engines.mogrified import Weights, places, run_mogrified
from lstm_jax.notation import (
    Hidden,
    Inputs,
    Lengths,
    PRNGKey,
    StepInput,
)
from lstm_jax.padding import read_real, real_steps


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
    z = mogrifier_gates(params, state.h, x)
    return open_gates(z, state.c, capped=capped)


def mogrifier_gates(params: MogrifierParams, h: Array, x: Array) -> Array:
    """All that opens the gates, [..., 4H], given h [..., H] before and x [..., D]."""
    pair = [x, h]
    for n, matrix in enumerate(params.rounds):
        source, target = places(n)
        pair[target] = 2 * jax.nn.sigmoid(pair[source] @ matrix) * pair[target]
    return jnp.concatenate(pair, axis=-1) @ _gate_weights(params) + params.cell.b


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
    valid = real_steps(lengths, len(xs))
    weights = Weights(params.rounds, _gate_weights(params), params.cell.b)

    def read(xs: Array, state: LSTMState) -> tuple[Hidden, LSTMState]:
        return run_mogrified(weights, xs, state, valid, capped)

    return read_real(read, xs, state, valid)


def init_rounds(
    key: PRNGKey, count: int, input_size: int, hidden_size: int
) -> tuple[Array, ...]:
    """Random matrices for `count` rounds, Glorot's."""
    glorot = jax.nn.initializers.glorot_uniform()
    shapes = [(hidden_size, input_size), (input_size, hidden_size)]
    keys = jax.random.split(key, max(count, 1))
    return tuple(glorot(keys[n], shapes[n % 2]) for n in range(count))


def _gate_weights(params: MogrifierParams) -> Array:
    """[w_x; w_h], [D + H, 4H]: input and state are multiplied together."""
    return jnp.concatenate([params.cell.w_x, params.cell.w_h])
