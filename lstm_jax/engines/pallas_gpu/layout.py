"""How a recurrence is laid out on a Hopper GPU, and what shared memory that takes.

A multiprocessor computes on its shared memory, some 227 KiB; all else lies beyond the
L2 cache. C blocks, each on a multiprocessor, make all steps of R rows together. Every
block has U = H / C of the units: their columns of w_h stay in its shared memory, their
cells in its registers, from the first step to the last.

             block 0         block 1             block C-1
           +-----------+   +-----------+       +-----------+
    w_h    | [H, 4U]   |   | [H, 4U]   |  ...  | [H, 4U]   |   stays: shared memory
    c, dc  | [R, U]    |   | [R, U]    |       | [R, U]    |   stays: registers
           +-----------+   +-----------+       +-----------+

    forward, a step                          backward, a step
    z  = z_t + h w_h     [R, 4U]             dc  = dc + dh * (o (1 - tanh²c))   [R, U]
    c  = f c + i g       [R, U]              dz  = [dc, dc, dc, dh] * slope     [R, 4U]
    h  = o tanh(c)       [R, U]              sum = dz w_hᵀ                      [R, H]
    then every block tells all others        then every block tells each other one
    its h, and has all of h, [R, H]          its share of sum, and adds up its own, dh

The matrix unit multiplies 64 rows of one factor at once. These are columns of w_h, and
the few rows of the batch are the columns of the product: (w_hᵀ hᵀ)ᵀ. Both ways a block
needs its own columns of w_h alone, and what it tells is R H numbers.

Up to 16 blocks are a cluster, and write into each other's shared memory. What needs
more has blocks anywhere on the card, which meet in global memory. Other rows have
other blocks, and never hear of these.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES

TILE = 64  # rows of the product of a warpgroup
_OWN_BYTES = 64  # of the units of a block: 32 of 16 bits, 16 of 32 bits; measured
_LEAST = 16  # units of a block: fewer do not fill its registers
_FEWEST = 4  # blocks: fewer read more weights each, and were slower
_CLUSTER = 16  # blocks, the most that the card can
# How many clusters of so many blocks have a place at once, on 132 multiprocessors:
# these come in groups of 16 or 18, some with fewer.
_PLACES = {4: 28, 8: 14, 16: 6}
_MULTIPROCESSORS = 132
_GRID = 128  # blocks that work together, at most
_GROUPS = (8, 16, 32, 64)  # rows; the matrix unit takes multiples of 8
_SUMS = 64 * 64  # numbers that a block sends at once: 32 registers of each thread
_ROW_BYTES = 1024  # of w_h that are multiplied without a loop
_COPIED_ROWS = 256  # that one copy can have
_ALIGNMENT = 1024  # bytes: where Mosaic lets a buffer begin
_BARRIER = 8  # bytes
_RESERVED = 1024  # bytes of shared memory of a block, beside what it may have


@dataclasses.dataclass(frozen=True)
class Layout:
    """Who works on what.

    Attributes:
        rows: B, filled up to whole groups.
        units: H, filled up to whole blocks.
        group: R, rows of the blocks that work together.
        blocks: C, how many these are.
        halved: whether half as many sums as usual are sent at once, to save memory.
    """

    rows: int
    units: int
    group: int
    blocks: int
    halved: bool = False

    @property
    def groups(self) -> int:
        """How many groups of rows there are."""
        return self.rows // self.group

    @property
    def own(self) -> int:
        """U, units of a block."""
        return self.units // self.blocks

    @property
    def cluster(self) -> bool:
        """Whether blocks that work together are a cluster."""
        return self.blocks <= _CLUSTER

    @property
    def piece(self) -> int:
        """Units whose sums are sent together; a divisor of H."""
        piece, most = self.units, _SUMS // (1 + self.halved)
        while piece * self.group > most and piece > TILE:
            piece //= 2
        return piece

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

    @property
    def mail(self) -> bool:
        """Whether blocks write into each other's memory; no interpreter has that."""
        return self.layout.cluster and self.interpret is None


class Buffer(NamedTuple):
    """An array in the shared memory of a block.

    Attributes:
        shape: of the array.
        dtype: of its numbers.
        factor: whether it lies swizzled, as the matrix unit reads factors.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike
    factor: bool = False


class Memory(NamedTuple):
    """What a block has in shared memory, by name.

    Attributes:
        buffers: its arrays. Mosaic swizzles them as it likes: the last axis but one
            must not be cut, or the wrong places are read (jax 0.11, seen on a card).
        barriers: how many copies each waits for.
    """

    buffers: dict[str, Buffer]
    barriers: dict[str, int]


def forward_memory(
    args: KernelArgs, factors: DTypeLike, z: DTypeLike, keep: bool, flags: bool
) -> Memory:
    """What a block of the forward kernel has."""
    sizes, gates = args.layout, len(GATES)
    rows, own, chunks = sizes.group, sizes.own, sizes.chunks(factors)
    slots = 2 if args.mail else 1
    buffers = {
        "w": Buffer((chunks, gates * own, sizes.units // chunks), factors, factor=True),
        "h": Buffer((slots, rows, sizes.units), factors, factor=True),
        "sums": Buffer((gates * own // TILE, rows, TILE), jnp.float32),
        "z": Buffer((gates, rows, own), z),
        "own_h": Buffer((rows, own), factors),
        "own_c": Buffer((rows, own), jnp.float32),
    }
    if keep:
        buffers["gates"] = Buffer((gates, rows, own), z)
    barriers = {"begun": chunks + 2, "h_there": 1, "z_there": gates + flags}
    return _with_the_others(args, buffers, barriers, flags, z)


def backward_memory(
    args: KernelArgs, factors: DTypeLike, z: DTypeLike, flags: bool
) -> Memory:
    """What a block of the backward kernel has."""
    sizes, gates = args.layout, len(GATES)
    rows, own = sizes.group, sizes.own
    pieces = sizes.units // sizes.piece
    all_rows = sizes.blocks * rows
    buffers = {
        "w": Buffer((1, sizes.units, gates * own), factors, factor=True),
        "dz": Buffer((rows, gates * own), factors, factor=True),
        "gates": Buffer((gates, rows, own), z),
        "c": Buffer((rows, own), jnp.float32),
        "dh": Buffer((rows, own), factors),
        "own_dz": Buffer((gates, rows, own), factors),
        "sums": Buffer(
            (min(2, pieces), sizes.piece // TILE, rows, TILE), factors, args.mail
        ),
        "told": Buffer(((2 if args.mail else 1) * all_rows, own), factors),
    }
    barriers = {"begun": 1, "state_there": 1, "all_there": gates + 2 + flags}
    if not args.mail:
        barriers["told_there"] = len(copies(all_rows))
    return _with_the_others(args, buffers, barriers, flags, z)


def copies(rows: int) -> list[range]:
    """Rows in parts that one copy can have."""
    starts = range(0, rows, _COPIED_ROWS)
    return [range(n, min(n + _COPIED_ROWS, rows)) for n in starts]


def needed(memory: Memory) -> int:
    """Bytes of shared memory."""
    sizes = (
        math.prod(each.shape) * jnp.dtype(each.dtype).itemsize
        for each in memory.buffers.values()
    )
    barriers = _BARRIER * len(memory.barriers)
    return sum(_whole(n, _ALIGNMENT) for n in sizes) + barriers


def layout(
    rows: int,
    units: int,
    factors: str,
    z: str | None = None,
    multiprocessors: int = 132,
    shared_memory: int = 232448,
) -> Layout | None:
    """The layout for B rows and H units; None if there is none.

    Rows are as few as leave a place for all blocks at once. Where none do, clusters
    wait for a place, as few as memory allows; blocks that meet in global memory must
    not wait, as those that have a place would wait for them.

    Args:
        rows: B.
        units: H.
        factors: type of the factors of products.
        z: type of the inputs' share of the gates, if another.
        multiprocessors: of the card.
        shared_memory: bytes that a block may have.
    """
    room = shared_memory + _RESERVED
    own = _OWN_BYTES // jnp.dtype(factors).itemsize
    own = min(own, _whole(units, TILE) // _FEWEST)
    while own >= _LEAST:
        blocks = _FEWEST
        while blocks * own < units:
            blocks *= 2
        fitting = None
        for group in _GROUPS if blocks <= _GRID else ():
            sizes = Layout(_whole(rows, group), blocks * own, group, blocks)
            if _most(sizes, factors, z or factors) > room:
                sizes = dataclasses.replace(sizes, halved=True)
            each = room // _most(sizes, factors, z or factors)
            if not each:
                break
            if sizes.groups <= _places(blocks, multiprocessors, each):
                return sizes
            fitting = sizes
        if fitting and fitting.cluster and blocks <= multiprocessors:
            return fitting
        own //= 2
    return None


def _with_the_others(
    args: KernelArgs,
    buffers: dict[str, Buffer],
    barriers: dict[str, int],
    flags: bool,
    z: DTypeLike,
) -> Memory:
    """What both kernels have, too: flags, and what blocks hear of each other by."""
    if flags:
        buffers["flags"] = Buffer((args.layout.group, args.layout.own), z)
    if args.mail:
        buffers["boxes"] = Buffer((4,), jnp.int32)  # two barriers of 64 bits
    if args.mail or args.interpret is not None:
        barriers["meet"] = 1
    return Memory(buffers, barriers)


def _places(blocks: int, multiprocessors: int, each: int) -> int:
    """How many groups of blocks can work at once, if a multiprocessor can have `each`.

    That is made use of only by the largest clusters, which find few places.
    """
    if blocks > _CLUSTER:
        return multiprocessors // blocks
    places = _PLACES[blocks] * multiprocessors // _MULTIPROCESSORS
    return places * min(each, 2) if blocks == _CLUSTER else places


def _most(sizes: Layout, factors: str, z: str) -> int:
    """Bytes that a block of the larger kernel takes at most."""
    args = KernelArgs(sizes, 1, False, None)
    forward = forward_memory(args, factors, z, keep=True, flags=True)
    backward = backward_memory(args, factors, z, flags=True)
    return max(needed(forward), needed(backward)) + _RESERVED


def _whole(count: int, unit: int) -> int:
    return -(-count // unit) * unit
