"""How a recurrence is laid out on a Hopper GPU, and what shared memory that takes.

A multiprocessor computes on its shared memory, some 227 KiB; all else lies beyond the
L2 cache. A cluster of C blocks, each on a multiprocessor of its own, makes all steps of
R rows. Every block has U = H / C of the units: their columns of w_h stay in its shared
memory, their cells in its registers, from the first step to the last.

             block 0         block 1             block C-1
           +-----------+   +-----------+       +-----------+
    w_h    | [H, 4U]   |   | [H, 4U]   |  ...  | [H, 4U]   |   stays: shared memory
    c, dc  | [R, U]    |   | [R, U]    |       | [R, U]    |   stays: registers
           +-----------+   +-----------+       +-----------+

    forward, a step                          backward, a step
    z  = z_t + h w_h     [R, 4U]             dc  = dc + dh * (o (1 - tanh²c))   [R, U]
    c  = f c + i g       [R, U]              dz  = [dc, dc, dc, dh] * slope     [R, 4U]
    h  = o tanh(c)       [R, U]              sum = dz w_hᵀ                      [R, H]
    blocks tell each other h: every          blocks tell each other their sums: every
    one gathers all of it, [R, H]            one adds up its own U of C, [R, U]

The matrix unit multiplies 64 rows of one factor at once. These are columns of w_h, and
the few rows of the batch are the columns of the product: (w_hᵀ hᵀ)ᵀ. Both ways a block
needs its own columns of w_h only, and what travels is R H numbers per block.

Other clusters have other rows and never hear of each other.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES

TILE = 64  # rows of the product of a warpgroup
_GROUPS = (8, 16, 32, 64)  # rows of a cluster; the matrix unit takes multiples of 8
_CLUSTERS = (1, 2, 4, 8, 16)  # blocks of a cluster; 16 is the most that the card can
_SUMS = 64 * 128  # numbers that a block sends at once: 64 registers of each thread
_ROW_BYTES = 1024  # of w_h that are multiplied without a loop
_ALIGNMENT = 1024  # bytes: where Mosaic lets a buffer begin
_BARRIER = 8  # bytes


@dataclasses.dataclass(frozen=True)
class Layout:
    """Who works on what.

    Attributes:
        rows: B, filled up to whole groups.
        units: H, filled up to whole blocks.
        group: R, rows of a cluster.
        blocks: C, blocks of a cluster.
    """

    rows: int
    units: int
    group: int
    blocks: int

    @property
    def clusters(self) -> int:
        """How many there are."""
        return self.rows // self.group

    @property
    def own(self) -> int:
        """U, units of a block."""
        return self.units // self.blocks

    @property
    def piece(self) -> int:
        """Units whose sums are sent together; a divisor of H."""
        piece = self.units
        while piece * self.group > _SUMS and piece > TILE:
            piece //= 2
        return piece

    def meetings(self, barriers: "Barriers") -> "Barriers":
        """The barriers of a block, with the one at which a cluster meets."""
        return barriers | ({"meet": 1} if self.blocks > 1 else {})

    def chunks(self, factors: DTypeLike) -> int:
        """How often w_h is cut along H, so that no product is too long to unroll."""
        return max(1, self.units * jnp.dtype(factors).itemsize // _ROW_BYTES)


class KernelArgs(NamedTuple):
    """What is known of a recurrence while it is traced.

    Attributes:
        layout: who works on what.
        steps: T, time steps.
        reverse: whether time is walked backwards.
        interpret: parameters of Pallas's interpreter, to run it on any device, or None.
    """

    layout: Layout
    steps: int
    reverse: bool
    interpret: Any


class Buffer(NamedTuple):
    """An array in the shared memory of a block.

    Attributes:
        shape: of the array.
        dtype: of its numbers.
        factor: whether the matrix unit reads it, which wants its rows swizzled.
        gates: whether it has an axis of gates before the last one. Of what Mosaic
            swizzles by itself, a gate would be read at wrong places (jax 0.11, 0.12).
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    factor: bool = False
    gates: bool = False


Buffers = dict[str, Buffer]
Barriers = dict[str, int]  # how many copies each waits for


def forward_memory(
    sizes: Layout, factors: DTypeLike, z: DTypeLike, keep: bool, flags: bool
) -> tuple[Buffers, Barriers]:
    """What a block of the forward kernel has in shared memory."""
    rows, own, gates = sizes.group, sizes.own, len(GATES)
    chunks = sizes.chunks(factors)
    buffers = {
        "w": Buffer((chunks, gates * own, sizes.units // chunks), factors, factor=True),
        "h": Buffer((rows, sizes.units), factors, factor=True),
        "sums": Buffer((gates * own // TILE, rows, TILE), jnp.float32),
        "z": Buffer((rows, gates, own), z, gates=True),
        "own_h": Buffer((rows, own), factors),
        "own_c": Buffer((rows, own), jnp.float32),
    }
    if keep:
        buffers["gates"] = Buffer((rows, gates, own), z, gates=True)
    if flags:
        buffers["flags"] = Buffer((rows, own), z)
    return buffers, {"begun": chunks + 2, "h_there": 1, "z_there": 1 + flags}


def backward_memory(
    sizes: Layout, factors: DTypeLike, z: DTypeLike, flags: bool
) -> tuple[Buffers, Barriers]:
    """What a block of the backward kernel has in shared memory."""
    rows, own, gates = sizes.group, sizes.own, len(GATES)
    slots = min(2, sizes.units // sizes.piece)
    exchanged = sums_dtype(sizes, factors)
    buffers = {
        "w": Buffer((1, sizes.units, gates * own), factors, factor=True),
        "dz": Buffer((rows, gates * own), factors, factor=True),
        "gates": Buffer((rows, gates, own), z, gates=True),
        "c": Buffer((rows, own), jnp.float32),
        "dh": Buffer((rows, own), factors),
        "own_dz": Buffer((rows, gates, own), factors, gates=True),
        "sums": Buffer((slots, sizes.piece // TILE, rows, TILE), exchanged),
    }
    if flags:
        buffers["flags"] = Buffer((rows, own), z)
    barriers = {"begun": 1, "state_there": 1, "all_there": 3 + flags}
    if sizes.blocks > 1:
        buffers["others"] = Buffer((sizes.blocks * rows, own), exchanged)
        barriers["others_there"] = len(copies(sizes.blocks * rows))
    return buffers, barriers


def sums_dtype(sizes: Layout, factors: DTypeLike) -> DTypeLike:
    """The type of a block's sums: that of the factors where they have to travel."""
    return factors if sizes.blocks > 1 else jnp.float32


def copies(rows: int) -> list[range]:
    """Rows in parts that one copy can have: at most 256."""
    return [range(n, min(n + 256, rows)) for n in range(0, rows, 256)]


def needed(buffers: Iterable[Buffer], barriers: Barriers) -> int:
    """Bytes of shared memory, barriers included."""
    sizes = (math.prod(b.shape) * jnp.dtype(b.dtype).itemsize for b in buffers)
    return sum(_whole(n, _ALIGNMENT) for n in sizes) + _BARRIER * len(barriers)


def layout(
    rows: int,
    units: int,
    dtype: str,
    multiprocessors: int = 132,
    shared_memory: int = 232448,
) -> Layout | None:
    """The layout for B rows and H units; None if there is none.

    As few blocks as can hold w_h, for what they tell each other takes the time; then as
    few rows to a cluster as leave every block a multiprocessor of its own.

    Args:
        rows: B.
        units: H.
        dtype: of the factors of products.
        multiprocessors: of the card.
        shared_memory: bytes that a block may have.
    """
    for blocks in _CLUSTERS:
        own = _own(units, blocks)
        for group in _GROUPS:
            sizes = Layout(_whole(rows, group), own * blocks, group, blocks)
            if sizes.clusters * blocks <= multiprocessors:
                if _most(sizes, dtype) <= shared_memory:
                    return sizes
                break
    return None


def _own(units: int, blocks: int) -> int:
    """The fewest units of a block that registers take, and whole tiles of H."""
    least = -(-units // blocks)
    narrow = [n for n in (16, 32) if n >= least and n * blocks % TILE == 0]
    return next(iter(narrow), _whole(least, TILE))


def _most(sizes: Layout, factors: str) -> int:
    """Bytes that the larger kernel needs at most: z and gates may be float32."""
    z = jnp.float32
    forward = forward_memory(sizes, factors, z, keep=True, flags=True)
    backward = backward_memory(sizes, factors, z, flags=True)
    return max(needed(b.values(), sizes.meetings(n)) for b, n in (forward, backward))


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
