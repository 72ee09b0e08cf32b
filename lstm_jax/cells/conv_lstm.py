"""The convolutional LSTM: a memory that is a picture, each place of it like the next.

    i_t = σ(W_xi ∗ X_t + W_hi ∗ H_{t-1} + b_i)
    f_t = σ(W_xf ∗ X_t + W_hf ∗ H_{t-1} + b_f)
    g_t = tanh(W_xc ∗ X_t + W_hc ∗ H_{t-1} + b_c)
    C_t = f_t * C_{t-1} + i_t * g_t
    o_t = σ(W_xo ∗ X_t + W_ho ∗ H_{t-1} + b_o)
    H_t = o_t * tanh(C_t)

with ∗ a convolution over places and * the element-wise product (Shi et al. 2015, whose
gates also have peepholes W_c * C, one weight for each place; as in Keras' `ConvLSTM2D`
there are none here). Around the picture are zeros, and all maps are of its size.

So that it is a cell like the others, a picture stands in a vector: inputs [..., D] are
maps [height, width, channels] row by row, D = height · width · channels, and so are h
and c. Of the parameters `w_x` is [K, K, channels of x, 4F], `w_h` [K, K, F, 4F] and `b`
[4F], for F channels of h and kernels of K by K, with columns in the order of `GATES`.
The products that convolutions are called are correlations, as everywhere in the field.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES, LSTMState, apply_gates, zero_lstm_state
from lstm_jax.cells.protocol import Cell, add_bias
from lstm_jax.cells.pytrees import register_arrays
from lstm_jax.typing import PRNGKey, StepGates, StepInput


@register_arrays
@dataclasses.dataclass(frozen=True)
class ConvLSTMParams:
    """Kernels of one layer: `w_x` [K, K, E, 4F], `w_h` [K, K, F, 4F], and `b` [4F]."""

    w_x: Array
    w_h: Array
    b: Array | None


@dataclasses.dataclass(frozen=True)
class ConvLSTMCell(Cell):
    """The LSTM on pictures, see `lstm_jax.cells.conv_lstm` for its equations.

    Attributes:
        height: rows of the picture.
        width: its columns.
        kernel: K, how many places across a gate looks at; odd.

    Raises:
        ValueError: a size that is none, or an even kernel.
    """

    height: int
    width: int
    kernel: int = 3

    name: ClassVar[str] = "conv_lstm"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = False
    Params: ClassVar[type] = ConvLSTMParams

    def __post_init__(self) -> None:
        """Refuse sizes that make no sense."""
        if min(self.height, self.width) < 1 or self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(
                "conv_lstm: expected height and width of 1 or more and an odd kernel, "
                f"found {self.height}, {self.width} and {self.kernel}"
            )

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> ConvLSTMParams:
        """Draw parameters: Glorot kernels, each gate by itself; a forget bias of 1.

        Raises:
            ValueError: a size that is no multiple of height times width.
        """
        sources = [self._channels(size) for size in (input_size, hidden_size)]
        channels = sources[1]
        glorot = jax.nn.initializers.glorot_uniform(
            in_axis=(0, 1, 2), dtype=jnp.float32
        )
        kernels = [
            jnp.concatenate(
                [
                    glorot(one, (self.kernel, self.kernel, source, channels))
                    for one in jax.random.split(each, len(GATES))
                ],
                axis=-1,
            )
            for each, source in zip(jax.random.split(key), sources, strict=True)
        ]
        b = jnp.repeat(jnp.array([gate == "f" for gate in GATES]), channels)
        return ConvLSTMParams(*(a.astype(dtype) for a in (*kernels, b)))

    def sizes(self, params: ConvLSTMParams) -> tuple[int, int]:
        """Give D and H of kernels.

        Raises:
            ValueError: they do not fit together.
        """
        sources, channels = params.w_x.shape[2], params.w_h.shape[2]
        square, columns = (self.kernel, self.kernel), len(GATES) * channels
        for name, array, expected in (
            ("w_x", params.w_x, (*square, sources, columns)),
            ("w_h", params.w_h, (*square, channels, columns)),
            ("b", params.b, (columns,)),
        ):
            if array is not None and array.shape != expected:
                raise ValueError(
                    f"{self.name}: expected {name} {list(expected)} for {channels} "
                    f"channels, found {list(array.shape)}"
                )
        places = self.height * self.width
        return places * sources, places * channels

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step."""
        return zero_lstm_state(zeros)

    def step(self, params: ConvLSTMParams, state: LSTMState, x: StepInput) -> LSTMState:
        """Advance one step: (h, c) at t-1 and x_t give (h, c) at t."""
        return self.advance(params, state, x)

    def loop_weights(self, params: ConvLSTMParams) -> ConvLSTMParams:
        """Pick all of them: the maps of x and h are convolved together."""
        return params

    def advance(
        self,
        weights: ConvLSTMParams,
        state: LSTMState,
        z: StepInput,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step; z is the input itself, x."""
        gates = self.preactivations(weights, state, z)
        return apply_gates(gates, state.c, candidate)

    def preactivations(
        self, weights: ConvLSTMParams, state: LSTMState, z: StepInput
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        leading = z.shape[:-1]
        pictures = (-1, self.height, self.width)
        maps = jnp.concatenate(
            [
                z.reshape(*pictures, weights.w_x.shape[2]),
                state.h.reshape(*pictures, weights.w_h.shape[2]),
            ],
            axis=-1,
        )
        kernels = jnp.concatenate([weights.w_x, weights.w_h], axis=2)
        z = add_bias(convolve(maps, kernels), weights.b)
        gates = jnp.split(z, len(GATES), axis=-1)
        return jnp.concatenate([gate.reshape(*leading, -1) for gate in gates], axis=-1)

    def _channels(self, size: int) -> int:
        """How many maps a vector of this size holds."""
        places = self.height * self.width
        if size < places or size % places:
            raise ValueError(
                f"{self.name}: expected a multiple of {self.height} x {self.width} = "
                f"{places} numbers, found {size}"
            )
        return size // places


def convolve(maps: Array, kernels: Array) -> Array:
    """Correlate pictures with kernels, zeros around them; the size stays.

    As one matrix product of the K · K neighbours of every place: on a CPU the gradients
    of XLA's own convolution take many times as long.

    Args:
        maps: [N, height, width, E].
        kernels: [K, K, E, F], K odd.

    Returns:
        [N, height, width, F].
    """
    size = len(kernels)
    _, height, width, _ = maps.shape
    edge = (size // 2, size // 2)
    padded = jnp.pad(maps, ((0, 0), edge, edge, (0, 0)))
    neighbours = [
        padded[:, row : row + height, column : column + width]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(neighbours, axis=-1) @ kernels.reshape(-1, kernels.shape[-1])
