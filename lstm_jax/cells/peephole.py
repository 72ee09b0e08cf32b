"""The peephole LSTM: gates that see the cell state itself, not only what it shows.

    i_t = σ(W_i · [h_{t-1}, x_t] + p_i * c_{t-1} + b_i)
    f_t = σ(W_f · [h_{t-1}, x_t] + p_f * c_{t-1} + b_f)
    g_t = tanh(W_g · [h_{t-1}, x_t] + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = σ(W_o · [h_{t-1}, x_t] + p_o * c_t + b_o)        which looks at the new c
    h_t = o_t * tanh(c_t)

(Gers & Schmidhuber 2000; the definition of ONNX' operator `LSTM`, whose input P holds
p_i, p_o, p_f in this order.) Such gates can count and time; the rest is `lstm.py`'s.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES, LSTMState, init_lstm, zero_lstm_state
from lstm_jax.cells.protocol import Cell
from lstm_jax.typing import PRNGKey, RecurrentWeights, StepGates, StepInput


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PeepholeParams:
    """Weights of one layer: those of an LSTM, and `p` [3H], for i, f and o."""

    w_x: Array
    w_h: Array
    b: Array
    p: Array


@dataclasses.dataclass(frozen=True)
class PeepholeCell(Cell):
    """The LSTM with peepholes, see `lstm_jax.cells.peephole` for its equations."""

    name: ClassVar[str] = "peephole"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = True
    Params: ClassVar[type] = PeepholeParams

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> PeepholeParams:
        """Draw the parameters of `init_lstm`; with peepholes of 0 it begins plain."""
        plain = init_lstm(key, input_size, hidden_size, dtype)
        return PeepholeParams(
            plain.w_x, plain.w_h, plain.b, jnp.zeros(3 * hidden_size, dtype)
        )

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step."""
        return zero_lstm_state(zeros)

    def step(self, params: PeepholeParams, state: LSTMState, x: StepInput) -> LSTMState:
        """Advance one step: (h, c) at t-1 and x_t give (h, c) at t."""
        z = x @ params.w_x + params.b
        return self.advance(self.loop_weights(params), state, z)

    def loop_weights(self, params: PeepholeParams) -> tuple[RecurrentWeights, Array]:
        """Pick the recurrent weights and the peepholes."""
        return params.w_h, params.p

    def advance(
        self,
        weights: tuple[RecurrentWeights, Array],
        state: LSTMState,
        z: StepGates,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step, given z = x @ w_x + b; c keeps its own type."""
        return self._open(weights, state, z, candidate)[1]

    def preactivations(
        self, weights: tuple[RecurrentWeights, Array], state: LSTMState, z: StepGates
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        return self._open(weights, state, z, None)[0]

    def _open(
        self,
        weights: tuple[RecurrentWeights, Array],
        state: LSTMState,
        z: StepGates,
        candidate: Array | None,
    ) -> tuple[StepGates, LSTMState]:
        """What stands inside σ and tanh, and the state after the step."""
        w_h, p = weights
        fed = (z + state.h @ w_h).astype(state.c.dtype)
        z_i, z_f, z_g, z_o = jnp.split(fed, len(GATES), axis=-1)
        p_i, p_f, p_o = jnp.split(p.astype(state.c.dtype), 3)
        z_i, z_f = z_i + p_i * state.c, z_f + p_f * state.c
        g = jnp.tanh(z_g)
        if candidate is not None:
            g = g * candidate.astype(g.dtype)
        c = jax.nn.sigmoid(z_f) * state.c + jax.nn.sigmoid(z_i) * g
        z_o = z_o + p_o * c
        h = jax.nn.sigmoid(z_o) * jnp.tanh(c)
        after = LSTMState(h=h.astype(z.dtype), c=c)
        return jnp.concatenate([z_i, z_f, z_g, z_o], axis=-1), after
