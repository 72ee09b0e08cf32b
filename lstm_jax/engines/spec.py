"""What is asked of an engine, as far as it is known before tracing."""

import dataclasses
import sys
from typing import NamedTuple

import jax
import jax.export
import numpy as np

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.ops.matmul import ROUNDED
from lstm_jax.typing import Size


class GPU(NamedTuple):
    """What a kernel has to know of a GPU.

    Attributes:
        compute_capability: NVIDIA's number for what it has: "9.0" is Hopper.
        multiprocessors: how many of them work side by side.
        shared_memory: bytes that a block of threads may have.
    """

    compute_capability: str
    multiprocessors: int
    shared_memory: int


@dataclasses.dataclass(frozen=True)
class RecurrenceSpec:
    """A recurrence that is to be run.

    Attributes:
        platform: "cpu", "tpu", "cuda" or "rocm".
        dtype: type of the weights and of the arithmetic.
        steps: T, time steps; a number, or a symbol of `jax.export`.
        rows: B, rows of the batch, likewise.
        hidden: H, units.
        lengths: whether rows end early.
        mask: whether a row's real steps may begin late, or have holes.
        resets: whether sequences begin inside a row.
        reverse: whether time is walked backwards.
        inputs: whether the inputs are there, or only their share of the gates.
        masks: whether regularizers act inside the loop.
        precision: `jax_default_matmul_precision`.
        device_kind: JAX's name for the kind of device; empty if not known.
        gpu: what is known of an NVIDIA GPU, if anything.
        devices: over how many of them XLA may spread the rows.
        explicit: whether where arrays lie is part of their types.
        partly_mapped: whether `shard_map` has some axes of the mesh, and XLA the rest.
        exported: whether `jax.export` asks, which refuses custom calls.
        cell: what is repeated.
    """

    platform: str
    dtype: str
    steps: Size
    rows: Size
    hidden: int
    lengths: bool = False
    mask: bool = False
    resets: bool = False
    reverse: bool = False
    inputs: bool = True
    masks: bool = False
    precision: str | None = None
    device_kind: str = ""
    gpu: GPU | None = None
    devices: int = 1
    explicit: bool = False
    partly_mapped: bool = False
    exported: bool = False
    cell: Cell = LSTM_CELL

    @property
    def factors(self) -> str:
        """The type in which matrices are multiplied: bfloat16 in mixed precision."""
        rounded = self.precision == ROUNDED and self.dtype == "float32"
        return "bfloat16" if rounded else self.dtype

    @property
    def symbolic(self) -> bool:
        """Whether T or B is a symbol of `jax.export`, and no number."""
        return not all(isinstance(n, int | np.integer) for n in (self.steps, self.rows))


def matmul_precision() -> str | None:
    """What `jax.default_matmul_precision` asks for where this is called."""
    return jax.config.jax_default_matmul_precision  # pyrefly: ignore[missing-attribute]


def being_exported() -> bool:
    """Whether `jax.export` is tracing.

    JAX tells it to the rules of lowering only, which come after the choice of an
    engine, so it is read from who has called.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == jax.export.export.__module__:
            return True
        frame = frame.f_back
    return False


def inside_shard_map() -> bool:
    """Whether every device has its own rows already: none are left to spread."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and set(mesh.manual_axes) == set(mesh.axis_names)


def inside_part_of_a_shard_map() -> bool:
    """Whether `shard_map` has some axes of the mesh, and XLA divides the others."""
    mesh = jax.sharding.get_abstract_mesh()
    return bool(mesh.manual_axes) and not inside_shard_map()


def explicit_sharding() -> bool:
    """Whether where arrays lie is part of their types: JAX's explicit sharding."""
    types = jax.sharding.get_abstract_mesh().axis_types
    return jax.sharding.AxisType.Explicit in types
