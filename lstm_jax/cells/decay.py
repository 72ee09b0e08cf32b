"""The LSTM whose memory fades with the time since things were last seen.

Some of its inputs are gaps, δ_t: for each variable the time since it was observed.
Before an otherwise plain step the state is scaled by what the gaps leave of it,

    γ_t = exp(-max(0, W_γ · δ_t + b_γ))                   in (0, 1], per unit
    h_{t-1} <- γ_t * h_{t-1},   c_{t-1} <- γ_t * c_{t-1}

(the decay of GRU-D, Che et al. 2018, where h is all the memory there is; here what an
LSTM keeps is c, so both fade). What is not renewed is forgotten at a learned rate, and
how fast depends on what was missing. The gaps are inputs as well.
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

_RATE = 0.1  # of the first W_γ, below Glorot's: a memory that starts out lasting


@register_arrays
@dataclasses.dataclass(frozen=True)
class DecayParams:
    """Weights of one layer: an LSTM's, and `w_decay` [G, H] and `b_decay` [H]."""

    w_x: Array
    w_h: Array
    b: Array | None
    w_decay: Array
    b_decay: Array


@dataclasses.dataclass(frozen=True)
class DecayCell(Cell):
    """The LSTM with decay, see `lstm_jax.cells.decay` for its equations.

    Attributes:
        gaps: G, how many of the last inputs are the gaps.
    """

    gaps: int = 1

    name: ClassVar[str] = "decay"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = False
    Params: ClassVar[type] = DecayParams

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> DecayParams:
        """Draw the parameters of `init_lstm`, and small positive rates of decay.

        Raises:
            ValueError: there are not so many inputs as gaps, or none of these.
        """
        if not 1 <= self.gaps <= input_size:
            raise ValueError(
                f"gaps: expected 1 to {input_size}, the inputs, found {self.gaps}"
            )
        plain = init_lstm(key, input_size, hidden_size, dtype)
        glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
        drawn = glorot(jax.random.fold_in(key, 1), (self.gaps, hidden_size))
        rates = (_RATE * jnp.abs(drawn)).astype(dtype)
        still = jnp.zeros(hidden_size, dtype)
        return DecayParams(plain.w_x, plain.w_h, plain.b, rates, still)

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step."""
        return zero_lstm_state(zeros)

    def step(self, params: DecayParams, state: LSTMState, x: StepInput) -> LSTMState:
        """Advance one step: (h, c) at t-1 and x_t give (h, c) at t."""
        return self.advance(params, state, x)

    def loop_weights(self, params: DecayParams) -> DecayParams:
        """Pick all of them: the gaps must be known at every step."""
        return params

    def advance(
        self,
        weights: DecayParams,
        state: LSTMState,
        z: StepInput,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step; z is the input itself, x."""
        faded = fade(weights, state, z)
        return apply_gates(_gates(weights, faded.h, z), faded.c, candidate)

    def preactivations(
        self, weights: DecayParams, state: LSTMState, z: StepInput
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        return _gates(weights, fade(weights, state, z).h, z)


def fade(params: DecayParams, state: LSTMState, x: StepInput) -> LSTMState:
    """Scale the state by what is left of it after the gaps in x [..., D]."""
    gaps = x[..., x.shape[-1] - len(params.w_decay) :]
    left = jnp.exp(-jax.nn.relu(gaps @ params.w_decay + params.b_decay))
    return LSTMState(h=left * state.h, c=left.astype(state.c.dtype) * state.c)


def _gates(params: DecayParams, h: Array, x: StepInput) -> StepGates:
    return add_bias(x @ params.w_x + h @ params.w_h, params.b)
