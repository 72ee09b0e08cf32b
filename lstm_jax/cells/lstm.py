"""The LSTM cell: six equations, and the parameters they need.

With h the hidden state (short-term memory), c the cell state (long-term memory),
[h, x] the concatenation of the previous hidden state and the input, σ the logistic
sigmoid and * the element-wise product, one step is

    f_t = σ(W_f · [h_{t-1}, x_t] + b_f)       what to forget
    i_t = σ(W_i · [h_{t-1}, x_t] + b_i)       what to write
    g_t = tanh(W_g · [h_{t-1}, x_t] + b_g)    the candidate, written C̃_t in many books
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = σ(W_o · [h_{t-1}, x_t] + b_o)       what to show
    h_t = o_t * tanh(c_t)

(Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins
2000.) The four W lie side by side in one matrix, split into the rows that multiply x
(`w_x`) and those that multiply h (`w_h`), so that all gates cost one product each.
The columns come in the order of `GATES`. That is the order of PyTorch, Keras and
cuDNN; `torch.nn.LSTM` stores the transposes, `weight_ih = w_x.T`,
`weight_hh = w_h.T`, and a bias in two parts, `bias_ih + bias_hh = b`.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from lstm_jax.cells.protocol import Cell, add_bias
from lstm_jax.cells.pytrees import register_arrays
from lstm_jax.typing import (
    PRNGKey,
    RecurrentWeights,
    StepGates,
    StepInput,
    StepState,
)

GATES = ("i", "f", "g", "o")


@register_arrays
@dataclasses.dataclass(frozen=True)
class LSTMParams:
    """Weights of one layer: `w_x` [D, 4H], `w_h` [H, 4H] and `b` [4H] or None."""

    w_x: Array
    w_h: Array
    b: Array | None = None


@register_arrays
@dataclasses.dataclass(frozen=True)
class LSTMState:
    """What a layer remembers: `h` [..., H], shown outside, and `c` [..., H], not."""

    h: Array
    c: Array


def lstm_step(params: LSTMParams, state: LSTMState, x: StepInput) -> LSTMState:
    """Advance one step: (h, c) at t-1 and x_t give (h, c) at t. The output is h."""
    z = x @ params.w_x + state.h @ params.w_h  # W · [h, x], all gates
    return apply_gates(add_bias(z, params.b), state.c)


def apply_gates(
    z: StepGates, c: StepState, candidate: Array | None = None, capped: bool = False
) -> LSTMState:
    """The rest of the step, from the gates' pre-activations z and the last cell state.

    h takes the type of z, c keeps its own: with bfloat16 weights c stays float32,
    because a sum over thousands of steps does not survive eight bits of mantissa.
    `candidate` are factors of the candidate g, for regularization. `capped` lets i be
    at most 1 - f, so that the cell never holds more than 1 (Melis et al. 2018).
    """
    z_i, z_f, z_g, z_o = jnp.split(z.astype(c.dtype), len(GATES), axis=-1)
    f = jax.nn.sigmoid(z_f)
    i = jax.nn.sigmoid(z_i)
    g = jnp.tanh(z_g)
    if capped:
        i = jnp.minimum(i, 1 - f)
    if candidate is not None:
        g = g * candidate.astype(g.dtype)
    c = f * c + i * g
    o = jax.nn.sigmoid(z_o)
    h = o * jnp.tanh(c)
    return LSTMState(h=h.astype(z.dtype), c=c)


def init_lstm(
    key: PRNGKey,
    input_size: int,
    hidden_size: int,
    dtype: DTypeLike = jnp.float32,
) -> LSTMParams:
    """Random parameters: Glorot `w_x`, orthogonal `w_h`, forget bias 1.

    Every gate is drawn by itself, so a gate's [H, H] block of `w_h` is an orthogonal
    matrix (Saxe et al. 2014) and the limit of its `w_x` block is √(6 / (D + H))
    (Glorot & Bengio 2010). The forget bias of 1 lets gradients pass from the start
    (Jozefowicz et al. 2015); it is stored in `b`, nothing is added at run time.

    Raises:
        ValueError: a size is smaller than 1.
    """
    w_x, w_h = draw_blocks(key, input_size, hidden_size, len(GATES))
    b = jnp.repeat(jnp.array([gate == "f" for gate in GATES]), hidden_size)
    return LSTMParams(w_x.astype(dtype), w_h.astype(dtype), b.astype(dtype))


def draw_blocks(
    key: PRNGKey, input_size: int, hidden_size: int, count: int
) -> tuple[Array, Array]:
    """Glorot [D, NH] and orthogonal [H, NH] of N = `count` blocks, each by itself.

    Raises:
        ValueError: a size is smaller than 1.
    """
    if input_size < 1 or hidden_size < 1:
        raise ValueError(
            "init_lstm: input_size and hidden_size must be at least 1, "
            f"found {input_size} and {hidden_size}"
        )
    key_x, key_h = jax.random.split(key)
    glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
    orthogonal = jax.nn.initializers.orthogonal(dtype=jnp.float32)
    w_x = _each_block(glorot, key_x, (input_size, hidden_size), count)
    w_h = _each_block(orthogonal, key_h, (hidden_size, hidden_size), count)
    return w_x, w_h


def _each_block(
    draw: Initializer, key: PRNGKey, shape: tuple[int, int], count: int
) -> Array:
    """One matrix per block, drawn by itself, side by side.

    One after the other: jaxlib 0.10 spreads a batch of QR decompositions over the very
    threads that wait for it, so that as many layers as threads would wait for ever.
    """
    keys = jax.random.split(key, count)
    blocks = jax.lax.map(lambda key: draw(key, shape), keys)
    return jnp.concatenate(blocks, axis=-1)


def zero_lstm_state(zeros: Array) -> LSTMState:
    """Make the state before the first step; c is float32 or more, whatever h is."""
    cell_dtype = jnp.promote_types(zeros.dtype, jnp.float32)
    return LSTMState(h=zeros, c=jnp.zeros_like(zeros, cell_dtype))


@dataclasses.dataclass(frozen=True)
class LSTMCell(Cell):
    """The textbook LSTM: the functions above, as a cell."""

    name: ClassVar[str] = "lstm"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = True
    Params: ClassVar[type] = LSTMParams

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> LSTMParams:
        """Draw parameters, see `init_lstm`."""
        return init_lstm(key, input_size, hidden_size, dtype)

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step."""
        return zero_lstm_state(zeros)

    def step(self, params: LSTMParams, state: LSTMState, x: StepInput) -> LSTMState:
        """Advance one step, see `lstm_step`."""
        return lstm_step(params, state, x)

    def loop_weights(self, params: LSTMParams) -> RecurrentWeights:
        """Pick the recurrent weights."""
        return params.w_h

    def advance(
        self,
        weights: RecurrentWeights,
        state: LSTMState,
        z: StepGates,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step, given z = x @ w_x + b."""
        return apply_gates(z + state.h @ weights, state.c, candidate)

    def preactivations(
        self, weights: RecurrentWeights, state: LSTMState, z: StepGates
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        return z + state.h @ weights


LSTM_CELL = LSTMCell()
