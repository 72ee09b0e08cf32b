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

from lstm_jax.cells.lstm import LSTMParams, LSTMState, apply_gates
from lstm_jax.typing import PRNGKey, StepInput


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
    return apply_gates(z, state.c, capped=capped)


def mogrifier_gates(params: MogrifierParams, h: Array, x: Array) -> Array:
    """All that opens the gates, [..., 4H], given h [..., H] before and x [..., D]."""
    pair = [x, h]
    for n, matrix in enumerate(params.rounds):
        source, target = places(n)
        pair[target] = 2 * jax.nn.sigmoid(pair[source] @ matrix) * pair[target]
    return jnp.concatenate(pair, axis=-1) @ gate_weights(params) + params.cell.b


def init_rounds(
    key: PRNGKey, count: int, input_size: int, hidden_size: int
) -> tuple[Array, ...]:
    """Random matrices for `count` rounds, Glorot's."""
    glorot = jax.nn.initializers.glorot_uniform()
    shapes = [(hidden_size, input_size), (input_size, hidden_size)]
    keys = jax.random.split(key, max(count, 1))
    return tuple(glorot(keys[n], shapes[n % 2]) for n in range(count))


def gate_weights(params: MogrifierParams) -> Array:
    """[w_x; w_h], [D + H, 4H]: input and state are multiplied together."""
    return jnp.concatenate([params.cell.w_x, params.cell.w_h])


X, H = 0, 1  # places in a pair of input and state


def places(n: int) -> tuple[int, int]:
    """The places of source and target in round n, counted from 0: h scales x first."""
    return (H, X) if n % 2 == 0 else (X, H)
