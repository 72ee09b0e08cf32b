"""Blocks of threads on a Hopper GPU: what they hold, multiply and tell each other.

A block is one warpgroup, 128 threads with the registers of a multiprocessor to
themselves. Refs are arrays in global memory, if inputs or outputs, or in shared memory.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jax.typing import DTypeLike

from lstm_jax.engines.pallas_gpu.layout import (
    TILE,
    Barriers,
    Buffer,
    Buffers,
    KernelArgs,
    Layout,
)

Ref = Any  # an array in memory, which is read and written by index
Barrier = Any  # of a block's memory: opens when what was ordered has come


class Place(NamedTuple):
    """Which block this is.

    Attributes:
        cluster: its cluster.
        block: its number there.
        rows: R of the batch, those of the cluster.
        units: U of the units, its own.
    """

    cluster: Array
    block: Array
    rows: Any
    units: Any


def place(sizes: Layout) -> Place:
    """Tell a block which one it is."""
    cluster, block = jax.lax.axis_index("clusters"), jax.lax.axis_index("blocks")
    rows = pl.ds(cluster * sizes.group, sizes.group)
    return Place(cluster, block, rows, pl.ds(block * sizes.own, sizes.own))


def call(
    args: KernelArgs,
    kernel: Callable[..., None],
    inputs: Any,  # noqa: ANN401 - trees of arrays; None is one without leaves
    outputs: Any,  # noqa: ANN401
    memory: tuple[Buffers, Barriers],
    exact: bool,
) -> Any:  # noqa: ANN401
    """Run a kernel on all blocks: `kernel(*inputs, *outputs, **memory)`.

    Args:
        args: what is known while it is traced.
        kernel: reads and writes refs.
        inputs: arrays.
        outputs: their shapes and types.
        memory: buffers and barriers of a block, by name. A cluster of several blocks
            has a barrier `meet` more.
        exact: whether tanh is better than the card's instruction, whose error is 5e-4.
    """
    buffers, barriers = memory
    scratch = {name: _shared(buffer) for name, buffer in buffers.items()}
    for name, copies in barriers.items():
        scratch[name] = plgpu.Barrier(num_arrivals=copies)
    if args.layout.blocks > 1:
        scratch["meet"] = plgpu.ClusterBarrier(collective_axes=("blocks",))
    return plgpu.kernel(
        kernel,
        out_type=outputs,
        scratch_types=scratch,
        grid=(args.layout.clusters,),
        grid_names=("clusters",),
        cluster=(args.layout.blocks,),
        cluster_names=("blocks",),
        compiler_params=plgpu.CompilerParams(
            approx_math=not exact,
            lowering_semantics=plgpu.LoweringSemantics.Warpgroup,
        ),
        interpret=args.interpret,
    )(*inputs)


def load(sizes: Layout, ref: Ref) -> Array:
    """Rows of a block's units [R, U], in registers as all threads share them, float32.

    All that is done to units one by one lies in this way, whose tiles are as wide as a
    block's units, up to 64.
    """
    wide = min(sizes.own, TILE)
    tall = 16 if wide == 16 and sizes.group % 16 == 0 else 8
    way = plgpu.Layout.TILED(
        plgpu.Tiling(((tall, wide), (tall // 4, wide), (tall * wide // 128,))),
        warp_dims=(-5,),
        lane_dims=(-3, -2),
        vector_dim=-1,
    )
    value = plgpu.load(  # pyrefly: ignore[missing-argument] - of jax 0.10
        ref, layout=way, optimized=False
    )
    return value.astype(jnp.float32)


def store_gates(ref: Ref, gates: Sequence[Array]) -> None:
    """Write arrays [R, U] as [R, 4, U], in which rows may share a bank of memory."""
    for q, gate in enumerate(gates):
        target, gate = ref.at[:, q, :], gate.astype(ref.dtype)
        if hasattr(plgpu, "store"):  # from jax 0.12 on, which else refuses that
            plgpu.store(target, gate, optimized=False)
        else:
            target[...] = gate


def load_units(sizes: Layout, tiles: Ref, first: int) -> Array:
    """A block's units [R, U] out of sums [n, R, 64], from column `first` on."""
    if sizes.own <= TILE:
        tile, first = divmod(first, TILE)
        return load(sizes, tiles.at[tile, :, pl.ds(first, sizes.own)])
    parts = range(first // TILE, (first + sizes.own) // TILE)
    return jnp.concatenate([load(sizes, tiles.at[n]) for n in parts], axis=1)


def multiply(
    sizes: Layout,
    weights: Ref,
    factor: Ref,
    piece: int,
    take: Callable[[int, Array], None],
) -> None:
    """The product factor @ weightsᵀ, turned round, in pieces of M.

    Args:
        sizes: who works on what.
        weights: [n, M, K / n].
        factor: [R, K].
        piece: how many of M are multiplied together.
        take: what to do with a piece that begins at m, given (m, sums [piece, R]).
    """
    chunks, whole, long = weights.shape

    for first in range(0, whole, piece):

        def sums(acc: Ref, first: int = first) -> Array:
            def one(n: Array | int, _: None = None) -> None:
                start = (
                    n * long if isinstance(n, int) else pl.multiple_of(n * long, long)
                )
                rows = factor.at[:, pl.ds(start, long)].transpose((1, 0))
                plgpu.wgmma(acc, weights.at[n, pl.ds(first, piece)], rows)

            if chunks == 1:
                one(0)
            else:  # unrolled, it would take too many registers
                jax.lax.fori_loop(0, chunks, one, None)
            return acc[...]

        kind = plgpu.ACC((piece, sizes.group), jnp.float32)
        take(first, pl.run_scoped(sums, kind))


def turn_back(tiles: Ref, sums: Array) -> None:
    """Write sums [64 n, R] as [n, R, 64]."""
    sums = plgpu.layout_cast(sums.astype(tiles.dtype), plgpu.Layout.WGMMA_TRANSPOSED)
    for n in range(len(sums) // TILE):
        tiles.at[n].transpose((1, 0))[...] = sums[n * TILE : (n + 1) * TILE]


def arrive(meet: Barrier | None) -> None:
    """Tell the cluster that this block is done with a step."""
    if meet is not None:
        plgpu.barrier_arrive(meet)


def wait(meet: Barrier | None) -> None:
    """Wait until all blocks of the cluster are."""
    if meet is not None:
        plgpu.barrier_wait(meet)


def write(source: Ref, target: Ref) -> None:
    """Copy to global memory, and wait until it is there."""
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(source, target)
    plgpu.wait_smem_to_gmem(0)


def _shared(buffer: Buffer) -> Any:  # noqa: ANN401 - a type of Pallas that has no public name
    if buffer.gates:
        plain = (plgpu.TilingTransform((buffer.shape[-1],)),)
        return plgpu.SMEM(buffer.shape, buffer.dtype, transforms=plain)
    if not buffer.factor:
        return plgpu.SMEM(buffer.shape, buffer.dtype)
    row = buffer.shape[-1] * jnp.dtype(buffer.dtype).itemsize
    swizzle = next(n for n in (128, 64, 32) if row % n == 0)
    wide = swizzle // jnp.dtype(buffer.dtype).itemsize
    transforms = plgpu.TilingTransform((8, wide)), plgpu.SwizzleTransform(swizzle)
    return plgpu.SMEM(buffer.shape, buffer.dtype, transforms=transforms)


def columns_of_blocks(sizes: Layout, w_h: Array, chunks: int) -> Array:
    """Every block's columns of w_h [H, 4H], turned round: [C, n, 4U, H / n]."""
    blocks, own, units = sizes.blocks, sizes.own, sizes.units
    parts = w_h.reshape(chunks, units // chunks, -1, blocks, own)
    parts = parts.transpose(3, 0, 2, 4, 1)
    return parts.reshape(blocks, chunks, -1, units // chunks)


def rows_of_blocks(sizes: Layout, w_h: Array) -> Array:
    """The same columns as they are: [C, 1, H, 4U]."""
    parts = w_h.reshape(sizes.units, -1, sizes.blocks, sizes.own)
    parts = parts.transpose(2, 0, 1, 3)
    return parts.reshape(sizes.blocks, 1, sizes.units, -1)


def over_units(sizes: Layout, flags: Array | None, dtype: DTypeLike) -> Array | None:
    """Flags [T, B] for each of a block's units [T, B, U]: as registers want them."""
    if flags is None:
        return None
    return jnp.broadcast_to(flags[..., None], (*flags.shape, sizes.own)).astype(dtype)
