"""What a recurrent layer repeats: one step of time, and the parameters it needs.

`lstm_jax.unroll` runs a cell over sequences, `lstm_jax.LSTM(..., cell=...)` makes a
layer of one, and so can every model. To add a cell, write a file such as `gru.py`, name
the cell in `cells/named.py`, and give it a row in `tests/engines/test_cells.py`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.typing import PRNGKey

# A dataclass of arrays, among them w_x [D, NH], w_h [H, NH] and b [NH] or None; what
# they are in a cell of another make, its `sizes` says.
Params = Any
State = Any  # a dataclass of arrays [..., H], among them the output, h
Shape = tuple[int | None, ...]  # None stands for any size
LoopWeights = Any  # the parameters that every step needs anew


@runtime_checkable
class Cell(Protocol):
    """One step of time. Cells are values: frozen, hashable, without parameters.

    Attributes:
        name: what messages and configurations call it.
        blocks: the N blocks of H columns in w_x, w_h and b, in their order.
        candidate: the block that is not a gate but what is offered to the memory.
        keeps: the gate that says what share of the memory is kept.
        projects: whether x enters a step as z = x @ w_x + b and not otherwise, so that
            the products of all steps can be made at once, before the loop.
        Params: the dataclass of its parameters.
        biases: which of them are biases, and may be None.
    """

    name: ClassVar[str]
    blocks: ClassVar[tuple[str, ...]]
    candidate: ClassVar[str]
    keeps: ClassVar[str]
    projects: ClassVar[bool]
    Params: ClassVar[type]
    biases: ClassVar[tuple[str, ...]] = ("b",)

    def init(
        self,
        key: PRNGKey,
        input_size: int,
        hidden_size: int,
        dtype: DTypeLike = jnp.float32,
    ) -> Params:
        """Draw parameters for inputs [D] and a state [H]."""
        ...

    def sizes(self, params: Params) -> tuple[int, int]:
        """Give D and H, the widths of the inputs and of the state.

        Raises:
            ValueError: the parameters do not fit together.
        """
        hidden_size = max(params.w_h.shape[:1], default=0)
        columns = len(self.blocks) * hidden_size
        expected = {
            "w_x": (None, columns),
            "w_h": (hidden_size, columns),
            "b": (columns,),
        }
        check_shapes(self.name, params, expected, hidden_size)
        return len(params.w_x), hidden_size

    def output_size(self, hidden_size: int) -> int:
        """Give the width of h, for H units."""
        return hidden_size

    def initial_state(self, zeros: Array) -> State:
        """Make the state before the first step of zeros [..., H] in h's type."""
        ...

    def step(self, params: Params, state: State, x: Array) -> State:
        """Advance one step: the equations, from x [..., D]."""
        ...

    def loop_weights(self, params: Params) -> LoopWeights:
        """Pick what `advance` needs of the parameters."""
        ...

    def advance(
        self,
        weights: LoopWeights,
        state: State,
        z: Array,
        candidate: Array | None = None,
    ) -> State:
        """Advance one step, given what is made before the loop.

        Args:
            weights: of `loop_weights`.
            state: before the step.
            z: x @ w_x + b [..., NH], or x itself if the cell does not project.
            candidate: factors [..., H] of the candidate, for recurrent dropout.
        """
        ...

    def preactivations(self, weights: LoopWeights, state: State, z: Array) -> Array:
        """Give what stands inside each gate's sigmoid, and the candidate's tanh.

        The arguments are those of `advance`; returned are the blocks, [..., NH].
        """
        ...


def add_bias(z: Array, b: Array | None) -> Array:
    """Give z + b, or z itself where a layer has no bias."""
    return z if b is None else z + b


def check_shapes(
    name: str, params: Params, expected: Mapping[str, Shape | None], hidden_size: int
) -> None:
    """Hold the parameters of a layer to the shapes that its cell needs.

    Args:
        name: of the cell.
        params: the parameters. Where there is no bias, `b` is None.
        expected: the shape of each; None for one that has to be absent.
        hidden_size: H, which the others follow from.

    Raises:
        ValueError: one has another shape, or no elements.
    """
    if hidden_size < 1:
        found = _of(params, "w_h")
        raise ValueError(f"{name}: expected w_h of 1 unit or more, found {found}")
    for field, shape in expected.items():
        array = getattr(params, field)
        if array is None and (shape is None or field.startswith("b")):
            continue
        if array is None or shape is None or not _fits(array.shape, shape):
            letters = ["D" if size is None else str(size) for size in shape or ()]
            sizes = f"[{', '.join(letters)}] for H = {hidden_size}" if shape else "None"
            found = _of(params, field)
            raise ValueError(f"{name}: expected {field} {sizes}, found {found}")


def _fits(found: tuple[int, ...], shape: Shape) -> bool:
    return len(found) == len(shape) and all(
        n > 0 and size in (None, n) for n, size in zip(found, shape, strict=True)
    )


def _of(params: Params, field: str) -> str:
    array = getattr(params, field)
    return "None" if array is None else str(list(array.shape))
