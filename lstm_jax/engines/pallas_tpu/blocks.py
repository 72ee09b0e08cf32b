"""A kernel for a TPU called block by block, with what it needs all the time in VMEM.

A kernel is called once for every block of time steps, in the order of the walk. The
blocks of the sequences change from call to call; w_h and the state have one block for
all, which therefore stays in VMEM. Where the last state is to be written is where the
kernel keeps the state; it is moved to HBM after the last call. See `layout.py` for the
sizes.

Time steps that fill no block are a shorter last one: what lies beyond is not visited.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES
from lstm_jax.engines.pallas_tpu.layout import Layout

Ref = Any  # an array in VMEM that is read and written by index


class KernelArgs(NamedTuple):
    """What is known of a recurrence while it is traced.

    Attributes:
        layout: what is held in VMEM.
        steps: T, time steps.
        reverse: whether time is walked backwards.
        precision: of the products.
        interpret: whether Pallas's interpreter runs the kernels, on any device.
    """

    layout: Layout
    steps: int
    reverse: bool
    precision: jax.lax.Precision
    interpret: bool


def call(
    args: KernelArgs,
    backwards: bool,
    kernel: Callable[..., None],
    inputs: Any,  # noqa: ANN401 - trees of arrays; None is one without leaves
    outputs: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Call a kernel block by block; arrays [T, ...] are sequences, others stay."""
    blocks = pl.cdiv(args.steps, args.layout.block)

    def spec(a: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
        def place(n: Array) -> tuple[Array, ...]:
            zero = jnp.int32(0)  # a plain 0 has 64 bits where those are enabled
            if a.ndim < 3:
                return zero, zero
            return blocks - 1 - n if backwards else n, zero, zero

        shape = a.shape if a.ndim < 3 else (args.layout.block, *a.shape[1:])
        return pl.BlockSpec(shape, place)

    def once(a: Array) -> pl.BlockSpec:
        """What stays is moved once, and needs no second copy to be moved into."""
        whole = a.ndim < 3
        return dataclasses.replace(
            spec(a), pipeline_mode=pl.Buffered(1) if whole else None
        )

    axes = jax.typeof(inputs[0]).manual_axis_type
    return pl.pallas_call(
        kernel,
        grid=(blocks,),
        in_specs=jax.tree.map(once, inputs),
        out_specs=jax.tree.map(spec, outputs),
        out_shape=jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, manual_axis_type=axes),
            outputs,
        ),
        cost_estimate=_cost(args, inputs, outputs),
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=args.layout.needed),
        interpret=args.interpret,
    )(*inputs)


def _cost(args: KernelArgs, inputs: Any, outputs: Any) -> pl.CostEstimate:  # noqa: ANN401
    """What XLA is told, which can't look inside."""
    arrays = jax.tree.leaves((inputs, outputs))
    units_in_all = args.steps * args.layout.rows * args.layout.units
    return pl.CostEstimate(
        flops=2 * len(GATES) * args.layout.units * units_in_all,
        transcendentals=(len(GATES) + 1) * units_in_all,
        bytes_accessed=sum(a.size * a.dtype.itemsize for a in arrays),
    )


def for_each_step(
    args: KernelArgs, backwards: bool, step: Callable[[Array], None]
) -> None:
    """The steps of the block at hand, in the order of the walk."""
    n = pl.program_id(0)
    block = pl.num_programs(0) - 1 - n if backwards else n
    count = jnp.minimum(args.layout.block, args.steps - block * args.layout.block)

    def one(n: Array, _: None) -> None:
        step(count - 1 - n if backwards else n)

    jax.lax.fori_loop(jnp.int32(0), count, one, None)


def sequence(args: KernelArgs, width: int, dtype: DTypeLike) -> jax.ShapeDtypeStruct:
    """What a kernel writes: an array [T, B, width]."""
    return jax.ShapeDtypeStruct((args.steps, args.layout.rows, width), dtype)
