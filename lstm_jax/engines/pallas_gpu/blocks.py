"""Blocks of threads on a Hopper GPU: what they hold, and how they multiply.

A block is one warpgroup, 128 threads. Refs are arrays in global memory, if inputs or
outputs, or in shared memory.
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
    Buffer,
    KernelArgs,
    Layout,
    Memory,
)

Ref = Any  # an array in memory that is read and written by index, or a barrier
Refs = dict[str, Ref]


class Place(NamedTuple):
    """Which block this is.

    Attributes:
        group: that of its rows.
        block: its number among the blocks of the group.
        rows: R of the batch.
        units: U of the units, its own.
    """

    group: Array
    block: Array
    rows: Any
    units: Any


def place(sizes: Layout) -> Place:
    """Tell a block which one it is."""
    group, block = jax.lax.axis_index("groups"), jax.lax.axis_index("blocks")
    rows = pl.ds(group * sizes.group, sizes.group)
    return Place(group, block, rows, pl.ds(block * sizes.own, sizes.own))


def call(
    args: KernelArgs,
    kernel: Callable[..., None],
    inputs: Any,  # noqa: ANN401 - trees of arrays; None is one without leaves
    outputs: Any,  # noqa: ANN401
    memory: Memory,
) -> Any:  # noqa: ANN401
    """Run a kernel on all blocks: `kernel(*inputs, *outputs, **memory)`.

    Args:
        args: what is known while it is traced.
        kernel: reads and writes refs.
        inputs: arrays.
        outputs: their shapes and types.
        memory: of a block; a barrier `meet` is that of the cluster.
    """
    scratch = {name: _shared(buffer) for name, buffer in memory.buffers.items()}
    for name, count in memory.barriers.items():
        scratch[name] = plgpu.Barrier(num_arrivals=count)
    if "meet" in memory.barriers:
        scratch["meet"] = plgpu.ClusterBarrier(collective_axes=("blocks",))
    groups, blocks = args.layout.groups, args.layout.blocks
    mesh: dict[str, Any] = {
        "grid": (groups, blocks),
        "grid_names": ("groups", "blocks"),
    }
    if "meet" in memory.barriers:
        mesh = {
            "grid": (groups,),
            "grid_names": ("groups",),
            "cluster": (blocks,),
            "cluster_names": ("blocks",),
        }
    return plgpu.kernel(
        kernel,
        out_type=outputs,
        scratch_types=scratch,
        compiler_params=plgpu.CompilerParams(
            approx_math=True,  # tanh as one instruction, whose error is that of TF32
            lowering_semantics=plgpu.LoweringSemantics.Warpgroup,
        ),
        interpret=args.interpret,
        **mesh,
    )(*inputs)


def registers(sizes: Layout) -> Any:  # noqa: ANN401 - of Pallas, without a public name
    """How a block's units [R, U] lie in the registers of its threads.

    All that is done to units one by one lies in this way.
    """
    wide = min(sizes.own, TILE)
    tall = 16 if wide == 16 and sizes.group % 16 == 0 else 8
    return plgpu.Layout.TILED(
        plgpu.Tiling(((tall, wide), (tall // 4, wide), (tall * wide // 128,))),
        warp_dims=(-5,),
        lane_dims=(-3, -2),
        vector_dim=-1,
    )


def load(sizes: Layout, ref: Ref) -> Array:
    """A block's units [R, U], in float32."""
    value = plgpu.load(  # pyrefly: ignore[missing-argument] - of jax 0.10
        ref, layout=registers(sizes), optimized=False
    )
    return value.astype(jnp.float32)


def load_gates(sizes: Layout, tiles: Ref) -> list[Array]:
    """Each gate's units [R, U] out of sums [4U / 64, R, 64]."""
    places = [divmod(q * sizes.own, TILE) for q in range(4)]
    own = sizes.own
    return [load(sizes, tiles.at[n, :, pl.ds(column, own)]) for n, column in places]


def store_gates(ref: Ref, gates: Sequence[Array]) -> None:
    """Write arrays [R, U] as [4, R, U]."""
    for q, gate in enumerate(gates):
        ref[q] = gate.astype(ref.dtype)


def bring_gates(
    source: Ref, t: Array | int, at: Place, target: Ref, there: Ref
) -> None:
    """Copy a block's part of [T, B, 4, H] to its memory, [4, R, U]."""
    for q in range(4):
        plgpu.copy_gmem_to_smem(source.at[t, at.rows, q, at.units], target.at[q], there)


def keep_gates(source: Ref, target: Ref, t: Array | int, at: Place) -> None:
    """Copy [4, R, U] to a block's part of [T, B, 4, H]."""
    for q in range(4):
        plgpu.copy_smem_to_gmem(source.at[q], target.at[t, at.rows, q, at.units])


def write(source: Ref, target: Ref) -> None:
    """Copy to global memory, and wait until it is there."""
    plgpu.commit_smem()
    plgpu.copy_smem_to_gmem(source, target)
    plgpu.wait_smem_to_gmem(0)


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
                start = 0 if chunks == 1 else pl.multiple_of(n * long, long)
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


def swizzled(dtype: DTypeLike) -> tuple:
    """How Pallas says that an array lies as the matrix unit reads it, and `mail`.

    In tiles of 8 lines of 128 bytes, whose words of 16 bytes change places.
    """
    wide = 128 // jnp.dtype(dtype).itemsize
    return plgpu.TilingTransform((8, wide)), plgpu.SwizzleTransform(128)


def _shared(buffer: Buffer) -> Any:  # noqa: ANN401 - of Pallas, without a public name
    """An array in shared memory."""
    if not buffer.factor:
        return plgpu.SMEM(buffer.shape, buffer.dtype)
    kind = swizzled(buffer.dtype)
    return plgpu.SMEM(buffer.shape, buffer.dtype, transforms=kind)
