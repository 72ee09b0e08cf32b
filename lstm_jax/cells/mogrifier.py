"""The Mogrifier LSTM: input and state look at each other before the step.

In r rounds, in turn, each scales the other (Melis, Kočiský & Blunsom 2020):

    x = 2 σ(h · Q_n) * x      in the odd rounds
    h = 2 σ(x · R_n) * h      in the even ones

What a symbol means then depends on what was read before it. The step that follows is
the textbook's; `capped`, it is the one of the paper, with an input gate of at most
1 - f. The inputs' product can no longer be made for all steps at once.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import (
    GATES,
    LSTMState,
    apply_gates,
    init_lstm,
    zero_lstm_state,
)
from lstm_jax.cells.protocol import Cell, add_bias
from lstm_jax.cells.pytrees import register_arrays
from lstm_jax.typing import PRNGKey, StepGates, StepInput


@register_arrays
@dataclasses.dataclass(frozen=True)
class MogrifierParams:
    """Weights of one layer: those of an LSTM, and a matrix for each round.

    `rounds` are Q [H, D] in the odd places and R [D, H] in the even ones, counted
    from 1; without any it is a plain LSTM.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    rounds: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class MogrifierCell(Cell):
    """The Mogrifier LSTM, or capped gates alone.

    Attributes:
        rounds: in which input and state scale each other; the paper has 5.
        capped: whether the input gate is at most 1 - f.
    """

    rounds: int = 5
    capped: bool = False

    name: ClassVar[str] = "mogrifier"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = False
    Params: ClassVar[type] = MogrifierParams

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> MogrifierParams:
        """Draw the parameters of `init_lstm`, and Glorot's for the rounds."""
        plain = init_lstm(key, input_size, hidden_size, dtype)
        drawn = init_rounds(
            jax.random.fold_in(key, 1), self.rounds, input_size, hidden_size
        )
        rounds = tuple(matrix.astype(dtype) for matrix in drawn)
        return MogrifierParams(plain.w_x, plain.w_h, plain.b, rounds)

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step."""
        return zero_lstm_state(zeros)

    def step(
        self, params: MogrifierParams, state: LSTMState, x: StepInput
    ) -> LSTMState:
        """Advance one step: (h, c) at t-1 and x_t give (h, c) at t."""
        return self.advance(params, state, x)

    def loop_weights(self, params: MogrifierParams) -> MogrifierParams:
        """Pick all of them: nothing can be multiplied before the loop."""
        return params

    def advance(
        self,
        weights: MogrifierParams,
        state: LSTMState,
        z: StepInput,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step; z is the input itself, x."""
        gates = mogrifier_gates(weights, state.h, z)
        return apply_gates(gates, state.c, candidate, self.capped)

    def preactivations(
        self, weights: MogrifierParams, state: LSTMState, z: StepInput
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block, before the cap."""
        return mogrifier_gates(weights, state.h, z)


def mogrifier_gates(params: MogrifierParams, h: Array, x: Array) -> Array:
    """Make all that opens the gates, [..., 4H], of h [..., H] before and x [..., D]."""
    pair = [x, h]
    for n, matrix in enumerate(params.rounds):
        source, target = places(n)
        pair[target] = 2 * jax.nn.sigmoid(pair[source] @ matrix) * pair[target]
    z = jnp.concatenate(pair, axis=-1) @ gate_weights(params)
    return add_bias(z, params.b)


def init_rounds(
    key: PRNGKey, count: int, input_size: int, hidden_size: int
) -> tuple[Array, ...]:
    """Draw matrices for `count` rounds, Glorot's."""
    glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
    shapes = [(hidden_size, input_size), (input_size, hidden_size)]
    keys = jax.random.split(key, max(count, 1))
    return tuple(glorot(keys[n], shapes[n % 2]) for n in range(count))


def gate_weights(params: MogrifierParams) -> Array:
    """[w_x; w_h], [D + H, 4H]: input and state are multiplied together."""
    return jnp.concatenate([params.w_x, params.w_h])


X, H = 0, 1  # places in a pair of input and state


def places(n: int) -> tuple[int, int]:
    """The places of source and target in round n, counted from 0: h scales x first."""
    return (H, X) if n % 2 == 0 else (X, H)
