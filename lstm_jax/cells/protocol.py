"""What a recurrent layer repeats: one step of time, and the parameters it needs.

`lstm_jax.unroll` runs a cell over sequences, `lstm_jax.LSTM(..., cell=...)` makes a
layer of one, and so can every model. To add a cell, write a file such as `gru.py`, name
the cell in `cells/named.py`, and give it a row in `tests/engines/test_cells.py`.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.typing import PRNGKey

# A dataclass of arrays, among them w_x [D, NH], w_h [H, NH] and b [NH]; what they are
# in a cell of another make, its `sizes` says.
Params = Any
State = Any  # a dataclass of arrays [..., H], among them the output, h
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
    """

    name: ClassVar[str]
    blocks: ClassVar[tuple[str, ...]]
    candidate: ClassVar[str]
    keeps: ClassVar[str]
    projects: ClassVar[bool]
    Params: ClassVar[type]

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
        hidden_size, blocks = len(params.w_h), len(self.blocks)
        columns = blocks * hidden_size
        for name in ("w_x", "w_h", "b"):
            found = getattr(params, name).shape
            if found[-1] != columns:
                raise ValueError(
                    f"{self.name}: expected {name} to end in {blocks}H = {columns} "
                    f"columns for H = {hidden_size}, found {list(found)}"
                )
        return len(params.w_x), hidden_size

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
