"""The GRU: a cell whose memory is its output, with two gates.

    r_t = σ(W_r · x_t + U_r · h_{t-1} + b_r)              what of h to look at
    z_t = σ(W_z · x_t + U_z · h_{t-1} + b_z)              what to keep
    n_t = tanh(W_n · x_t + b_n + r_t * (U_n · h_{t-1} + b_hn))
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

(Cho et al. 2014, with the reset gate after the product, as in cuDNN, PyTorch and Keras'
`reset_after`. With `reset_after=False` it comes before, as in the paper: U_n · (r_t *
h_{t-1}), and there is no b_hn.) The blocks of columns come in PyTorch's order, r, z, n,
and `torch.nn.GRU` stores the transposes. Of its two biases only that of n within the
reset is not their sum: it is `b_hn`. In Flax's `GRUCell` it is zero.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import draw_blocks
from lstm_jax.cells.protocol import Cell, add_bias, check_shapes
from lstm_jax.cells.pytrees import register_arrays
from lstm_jax.typing import PRNGKey, RecurrentWeights, StepGates, StepInput

BLOCKS = ("r", "z", "n")
LoopWeights = tuple[RecurrentWeights, Array | None]  # with the bias within the reset


@register_arrays
@dataclasses.dataclass(frozen=True)
class GRUParams:
    """Weights of one layer: `w_x` [D, 3H], `w_h` [H, 3H], `b` [3H] and `b_hn` [H].

    The biases are None in a layer without, `b_hn` also where the reset comes first.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_hn: Array | None = None


@register_arrays
@dataclasses.dataclass(frozen=True)
class GRUState:
    """What a layer remembers, and shows: `h` [..., H]."""

    h: Array


@dataclasses.dataclass(frozen=True)
class GRUCell(Cell):
    """The gated recurrent unit, see `lstm_jax.cells.gru` for its equations.

    Attributes:
        reset_after: whether the reset gate acts after the product with U_n.
    """

    reset_after: bool = True

    name: ClassVar[str] = "gru"
    blocks: ClassVar[tuple[str, ...]] = BLOCKS
    candidate: ClassVar[str] = "n"
    keeps: ClassVar[str] = "z"
    projects: ClassVar[bool] = True
    Params: ClassVar[type] = GRUParams
    biases: ClassVar[tuple[str, ...]] = ("b", "b_hn")

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> GRUParams:
        """Draw parameters: Glorot `w_x`, orthogonal `w_h` by block, biases of 0."""
        w_x, w_h = draw_blocks(key, input_size, hidden_size, len(BLOCKS))
        b = jnp.zeros(len(BLOCKS) * hidden_size, dtype)
        b_hn = jnp.zeros(hidden_size, dtype) if self.reset_after else None
        return GRUParams(w_x.astype(dtype), w_h.astype(dtype), b, b_hn)

    def sizes(self, params: GRUParams) -> tuple[int, int]:
        """Give D and H, the widths of the inputs and of the state.

        Raises:
            ValueError: the parameters do not fit together.
        """
        input_size, hidden_size = super().sizes(params)
        expected = {"b_hn": (hidden_size,) if self.reset_after else None}
        check_shapes(self.name, params, expected, hidden_size)
        return input_size, hidden_size

    def initial_state(self, zeros: Array) -> GRUState:
        """Make the state before the first step."""
        return GRUState(zeros)

    def step(self, params: GRUParams, state: GRUState, x: StepInput) -> GRUState:
        """Advance one step: h at t-1 and x_t give h at t."""
        z = add_bias(x @ params.w_x, params.b)
        return self.advance(self.loop_weights(params), state, z)

    def loop_weights(self, params: GRUParams) -> LoopWeights:
        """Pick the recurrent weights, and the bias within the reset."""
        return params.w_h, params.b_hn

    def advance(
        self,
        weights: LoopWeights,
        state: GRUState,
        z: StepGates,
        candidate: Array | None = None,
    ) -> GRUState:
        """Advance one step, given z = x @ w_x + b, in float32 or more."""
        _, z_kept, z_n = self._blocks(weights, state, z)
        kept, n = jax.nn.sigmoid(z_kept), jnp.tanh(z_n)
        if candidate is not None:
            n = n * candidate.astype(n.dtype)
        return GRUState(((1 - kept) * n + kept * state.h).astype(z.dtype))

    def preactivations(
        self,
        weights: LoopWeights,
        state: GRUState,
        z: StepGates,
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        return jnp.concatenate(self._blocks(weights, state, z), axis=-1)

    def _blocks(
        self,
        weights: LoopWeights,
        state: GRUState,
        z: StepGates,
    ) -> tuple[Array, Array, Array]:
        """What stands inside σ and tanh, of r, z and n."""
        w_h, b_hn = weights
        wide = jnp.promote_types(z.dtype, jnp.float32)
        x_r, x_z, x_n = jnp.split(z.astype(wide), len(BLOCKS), axis=-1)
        if not self.reset_after:
            gates, offered = jnp.split(w_h, [2 * state.h.shape[-1]], axis=-1)
            h_r, h_z = jnp.split((state.h @ gates).astype(wide), 2, axis=-1)
            r = jax.nn.sigmoid(x_r + h_r)
            h_n = (r.astype(state.h.dtype) * state.h) @ offered
            return x_r + h_r, x_z + h_z, x_n + h_n.astype(wide)
        h_r, h_z, h_n = jnp.split((state.h @ w_h).astype(wide), len(BLOCKS), axis=-1)
        r = jax.nn.sigmoid(x_r + h_r)
        return x_r + h_r, x_z + h_z, x_n + r * add_bias(h_n, b_hn)
