"""The LSTM's common variants, each an option of one cell.

    i_t = σ(W_i · [h_{t-1}, x_t] + p_i * c_{t-1} + b_i)
    f_t = σ(W_f · [h_{t-1}, x_t] + p_f * c_{t-1} + b_f)
    g_t = tanh(W_g · [h_{t-1}, x_t] + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = σ(W_o · [h_{t-1}, x_t] + p_o * c_t + b_o)
    h_t = W_hr · (o_t * tanh(c_t))

Peepholes, p, let the gates see the cell state (Gers & Schmidhuber 2000). The projection
W_hr [P, H] makes the output, and what is fed back, narrower than the memory: the LSTMP
of Sak, Senior & Beaufays 2014, `proj_size` in PyTorch. With coupled gates, the CIFG of
Greff et al. 2017, there is no block i, for i_t = 1 - f_t. (Greff's f_t = 1 - i_t is the
same cell with the signs of W, p and b of that gate changed, as σ(-z) = 1 - σ(z).)

`clip` bounds what goes into σ and tanh of the gates and of the candidate, as ONNX' LSTM
has it; `cell_clip` bounds c_t, as TensorFlow's `LSTMCell` has it. Without any option it
is the cell of `lstm.py`. Where there are peepholes, gates and bounds together, the
peephole is added first.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES, LSTMState, draw_blocks, zero_lstm_state
from lstm_jax.cells.protocol import Cell, add_bias, check_shapes
from lstm_jax.cells.pytrees import register_arrays
from lstm_jax.typing import PRNGKey, StepGates, StepInput

Activation = Callable[[Array], Array] | str
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "tanh": jnp.tanh,
    "hard_tanh": jax.nn.hard_tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "linear": lambda z: z,
}


@register_arrays
@dataclasses.dataclass(frozen=True)
class VariantParams:
    """Weights of one layer; N blocks of columns, 4 or, with coupled gates, 3.

    `w_x` [D, NH], `w_h` [P, NH] and `b` [NH] or None. Peepholes are `p` [3H], for i, f
    and o; with coupled gates [2H], for f and o. The projection is `w_hr` [H, P];
    without one P is H.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    p: Array | None = None
    w_hr: Array | None = None


@dataclasses.dataclass(frozen=True)
class VariantCell(Cell):
    """An LSTM with options; see `lstm_jax.cells.variant` for its equations.

    Attributes:
        peepholes: whether the gates see the cell state.
        proj_size: P, the width of the output h; 0 for H, without a projection.
        clip: the largest absolute value that goes into a gate's or the candidate's
            activation; 0 for no bound.
        cell_clip: the largest absolute value of the cell state; 0 for no bound.
        gate_activation: of the gates: a name of `ACTIVATIONS` or a function.
        candidate_activation: of the candidate g.
        output_activation: of the cell state, where it is shown.

    Raises:
        ValueError: a bound below 0, or an activation that does not exist.
    """

    peepholes: bool = False
    proj_size: int = 0
    clip: float = 0.0
    cell_clip: float = 0.0
    gate_activation: Activation = "sigmoid"
    candidate_activation: Activation = "tanh"
    output_activation: Activation = "tanh"

    name: ClassVar[str] = "variant"
    blocks: ClassVar[tuple[str, ...]] = GATES
    candidate: ClassVar[str] = "g"
    keeps: ClassVar[str] = "f"
    projects: ClassVar[bool] = True
    Params: ClassVar[type] = VariantParams

    def __post_init__(self) -> None:
        """Refuse options that make no sense."""
        for field in ("proj_size", "clip", "cell_clip"):
            if not getattr(self, field) >= 0:
                raise ValueError(
                    f"{field}: expected 0 or more, found {getattr(self, field)}"
                )
        for name in self._activations:
            if isinstance(name, str) and name not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise ValueError(
                    f"activation: expected one of {known} or a function, found {name!r}"
                )

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> VariantParams:
        """Draw Glorot `w_x`, orthogonal `w_h`, forget bias 1 and Glorot `w_hr`.

        Peepholes begin at 0, so the gates begin as those of a plain LSTM.

        Raises:
            ValueError: an output wider than the memory.
        """
        if self.proj_size > hidden_size:
            raise ValueError(
                f"proj_size: expected 1 to {hidden_size}, the hidden units, "
                f"found {self.proj_size}"
            )
        w_x, w_h = draw_blocks(key, input_size, hidden_size, len(self.blocks))
        b = jnp.repeat(jnp.array([name == "f" for name in self.blocks]), hidden_size)
        p = jnp.zeros((len(self.blocks) - 1) * hidden_size) if self.peepholes else None
        w_hr = None
        if self.proj_size:
            w_h = w_h[: self.proj_size]  # rows of orthogonal blocks are orthonormal
            glorot = jax.nn.initializers.glorot_uniform(dtype=jnp.float32)
            shape = (hidden_size, self.proj_size)
            w_hr = glorot(jax.random.fold_in(key, 1), shape)
        drawn = VariantParams(w_x, w_h, b, p, w_hr)
        return jax.tree.map(lambda array: array.astype(dtype), drawn)

    def sizes(self, params: VariantParams) -> tuple[int, int]:
        """Give D and H, the widths of the inputs and of the memory.

        Raises:
            ValueError: the parameters do not fit together.
        """
        count = len(self.blocks)
        hidden_size = max(params.w_h.shape[-1:], default=0) // count
        outputs = self.proj_size or hidden_size
        expected = {
            "w_x": (None, count * hidden_size),
            "w_h": (outputs, count * hidden_size),
            "b": (count * hidden_size,),
            "p": ((count - 1) * hidden_size,) if self.peepholes else None,
            "w_hr": (hidden_size, outputs) if self.proj_size else None,
        }
        check_shapes(self.name, params, expected, hidden_size)
        return len(params.w_x), hidden_size

    def output_size(self, hidden_size: int) -> int:
        """Give P, the width of h."""
        return self.proj_size or hidden_size

    def initial_state(self, zeros: Array) -> LSTMState:
        """Make the state before the first step: h [..., P] and c [..., H]."""
        state = zero_lstm_state(zeros)
        return LSTMState(state.h[..., : self.output_size(zeros.shape[-1])], state.c)

    def step(self, params: VariantParams, state: LSTMState, x: StepInput) -> LSTMState:
        """Advance one step: (h, c) at t-1 and x_t give (h, c) at t."""
        return self.advance(params, state, add_bias(x @ params.w_x, params.b))

    def loop_weights(self, params: VariantParams) -> VariantParams:
        """Pick the parameters that the step multiplies the state by."""
        return params

    def advance(
        self,
        weights: VariantParams,
        state: LSTMState,
        z: StepGates,
        candidate: Array | None = None,
    ) -> LSTMState:
        """Advance one step, given z = x @ w_x + b; c keeps its own type."""
        return self._open(weights, state, z, candidate)[1]

    def preactivations(
        self, weights: VariantParams, state: LSTMState, z: StepGates
    ) -> StepGates:
        """Give what stands inside σ and tanh, block by block."""
        return self._open(weights, state, z, None)[0]

    @property
    def _activations(self) -> tuple[Activation, Activation, Activation]:
        return self.gate_activation, self.candidate_activation, self.output_activation

    def _open(
        self,
        weights: VariantParams,
        state: LSTMState,
        z: StepGates,
        candidate: Array | None,
    ) -> tuple[StepGates, LSTMState]:
        """What stands inside σ and tanh, and the state after the step."""
        gate, offer, show = (
            ACTIVATIONS[name] if isinstance(name, str) else name
            for name in self._activations
        )
        wide = state.c.dtype
        fed = jnp.split((z + state.h @ weights.w_h).astype(wide), len(self.blocks), -1)
        inside = dict(zip(self.blocks, fed, strict=True))
        peepholes: dict[str, Array] = {}
        if weights.p is not None:
            gates = [name for name in self.blocks if name != self.candidate]
            parts = jnp.split(weights.p.astype(wide), len(gates))
            peepholes = dict(zip(gates, parts, strict=True))

        def reach(name: str, c: Array) -> Array:
            if name in peepholes:
                inside[name] = inside[name] + peepholes[name] * c
            inside[name] = _bounded(inside[name], self.clip)
            return inside[name]

        f = gate(reach("f", state.c))
        i = gate(reach("i", state.c)) if "i" in inside else 1 - f
        g = offer(reach("g", state.c))
        if candidate is not None:
            g = g * candidate.astype(g.dtype)
        c = _bounded(f * state.c + i * g, self.cell_clip)
        h = gate(reach("o", c)) * show(c)
        if weights.w_hr is not None:
            h = h @ weights.w_hr.astype(wide)
        after = LSTMState(h=h.astype(z.dtype), c=c)
        return jnp.concatenate([inside[name] for name in self.blocks], axis=-1), after


@dataclasses.dataclass(frozen=True)
class CoupledCell(VariantCell):
    """The variant with coupled gates: it writes as much as it forgets, i = 1 - f."""

    name: ClassVar[str] = "coupled"
    blocks: ClassVar[tuple[str, ...]] = ("f", "g", "o")


def _bounded(a: Array, most: float) -> Array:
    return jnp.clip(a, -most, most) if most else a
