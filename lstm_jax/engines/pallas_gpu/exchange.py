"""How blocks that work together tell each other h, and their shares of dh.

There are two ways of one meaning. `Mail` is for clusters: blocks write into each
other's memory. `Board` is for the others: what is told goes through global memory,
where a semaphore says when it is there; in Pallas's interpreter, which has neither mail
nor semaphores, a barrier of the cluster.

A slot is used at every second step. Nobody writes to it too early: a block tells of
step n + 2 when it has heard of n + 1 from all, who by then have used what they heard
of n.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lstm_jax.engines.pallas_gpu import mail
from lstm_jax.engines.pallas_gpu.blocks import (
    Place,
    Ref,
    Refs,
    load,
    turn_back,
)
from lstm_jax.engines.pallas_gpu.layout import TILE, KernelArgs, copies


class Mail(NamedTuple):
    """Blocks of a cluster write into each other's memory.

    Attributes:
        args: what is known while it is traced.
        at: which block this is.
        m: its memory.
    """

    args: KernelArgs
    at: Place
    m: Refs

    def begin(self, h_there: Ref | None = None) -> None:
        """Make the boxes, before anybody writes to one, and wait for the first h."""
        if h_there is not None:
            plgpu.barrier_wait(h_there)
        mail.open_boxes(self.m["boxes"])
        plgpu.commit_smem()
        plgpu.barrier_arrive(self.m["meet"])
        plgpu.barrier_wait(self.m["meet"])

    def all_h(self, n: Array) -> Ref:
        """What step n multiplies: all of h [R, H]."""
        return self.m["h"].at[_half(n)]

    def tell_h(self, n: Array) -> None:
        """Tell all blocks this one's h [R, U] after step n."""
        sizes, factor, boxes = self.args.layout, self.m["h"], self.m["boxes"]
        box = 1 - _half(n)

        @pl.when(n + 1 < self.args.steps)
        def send() -> None:
            mail.tell(self.m["own_h"], factor, boxes, box, self.at.block)
            size = sizes.group * sizes.units * jnp.dtype(factor.dtype).itemsize
            mail.expect(boxes, box, size)

    def h_is_written(self, n: Array) -> None:
        """Go on: nobody reads what was written to global memory."""

    def gather_h(self, n: Array, source: Ref) -> None:
        """Have all of h after step n, unless that is the last one."""

        @pl.when(n + 1 < self.args.steps)
        def receive() -> None:
            mail.wait(self.m["boxes"], 1 - _half(n), _parity(n))
            plgpu.commit_smem()

    def tell_sums(self, n: Array, first: int, sums: Array) -> None:
        """Tell blocks their shares of the sums [piece, R] from unit `first` on."""
        sizes = self.args.layout
        number = first // sizes.piece
        slot = self.m["sums"].at[number % 2]
        turn_back(slot, sums)
        plgpu.commit_smem()
        first //= sizes.own
        mail.share(
            slot, self.m["told"], self.m["boxes"], _half(n), self.at.block, first
        )

    def sums_are_told(self, n: Array) -> None:
        """Wait for as many shares as there are blocks."""
        told = self.m["told"]
        rows, own = told.shape
        size = rows // 2 * own * jnp.dtype(told.dtype).itemsize
        mail.expect(self.m["boxes"], _half(n), size)

    def dh(self, n: Array) -> Array:
        """The sum of all blocks' shares [R, U] of step n."""
        sizes = self.args.layout
        box = _half(n)
        mail.wait(self.m["boxes"], box, _parity(n))
        return _added_up(self.args, self.m["told"], box * sizes.blocks)


class Board(NamedTuple):
    """Blocks tell each other through global memory.

    Attributes:
        args: what is known while it is traced.
        at: which block this is.
        m: its memory.
        arrivals: a semaphore for each group, that counts blocks which are done with a
            step; None in the interpreter.
        board: sums of all blocks, of two steps, [2 groups H / 64, C R, 64]; None
            forward, where h goes through the outputs.
    """

    args: KernelArgs
    at: Place
    m: Refs
    arrivals: Ref | None
    board: Ref | None = None

    def begin(self, h_there: Ref | None = None) -> None:
        """Go on: there is nothing to make, and `all_h` waits."""

    def all_h(self, n: Array) -> Ref:
        """What step n multiplies: all of h [R, H]."""
        plgpu.barrier_wait(self.m["h_there"])
        return self.m["h"].at[0]

    def tell_h(self, n: Array) -> None:
        """Go on: others read what is written to global memory."""

    def h_is_written(self, n: Array) -> None:
        """Tell the others that this block's h is there."""
        plgpu.wait_smem_to_gmem(0)
        self._arrive()

    def gather_h(self, n: Array, source: Ref) -> None:
        """Have all of h after step n, unless that is the last one."""
        self._wait(n)

        @pl.when(n + 1 < self.args.steps)
        def receive() -> None:
            plgpu.copy_gmem_to_smem(source, self.m["h"].at[0], self.m["h_there"])

    def tell_sums(self, n: Array, first: int, sums: Array) -> None:
        """Write the sums [piece, R] from unit `first` on to the board."""
        sizes = self.args.layout
        number = first // sizes.piece
        slot = self.m["sums"].at[number % 2]
        plgpu.wait_smem_to_gmem(min(number, 1), wait_read_only=True)
        turn_back(slot, sums)
        plgpu.commit_smem()
        tiles = pl.ds(self._tiles(n) + first // TILE, sizes.piece // TILE)
        rows = pl.ds(self.at.block * sizes.group, sizes.group)
        assert self.board is not None
        plgpu.copy_smem_to_gmem(slot, self.board.at[tiles, rows])

    def sums_are_told(self, n: Array) -> None:
        """Tell the others that this block's sums are there."""
        plgpu.wait_smem_to_gmem(0)
        self._arrive()

    def dh(self, n: Array) -> Array:
        """The sum of all blocks' shares [R, U] of step n."""
        self._wait(n)
        sizes = self.args.layout
        tile, column = _in_tiles(self.at.block * sizes.own, sizes.own)
        assert self.board is not None
        for some in copies(sizes.blocks * sizes.group):
            rows = pl.ds(some.start, len(some))
            plgpu.copy_gmem_to_smem(
                self.board.at[self._tiles(n) + tile, rows, pl.ds(column, sizes.own)],
                self.m["told"].at[rows],
                self.m["told_there"],
            )
        plgpu.barrier_wait(self.m["told_there"])
        return _added_up(self.args, self.m["told"], 0)

    def _tiles(self, n: Array) -> Array:
        """Where on the board the sums of this group and step begin."""
        sizes = self.args.layout
        group = _half(n) * sizes.groups + self.at.group
        return group * (sizes.units // TILE)

    def _arrive(self) -> None:
        if self.arrivals is None:
            plgpu.barrier_arrive(self.m["meet"])
        else:
            plgpu.semaphore_signal(self.arrivals.at[self.at.group], memory_scope="gpu")

    def _wait(self, n: Array) -> None:
        """Wait until all blocks are done with step n."""
        if self.arrivals is None:
            plgpu.barrier_wait(self.m["meet"])
        else:
            plgpu.semaphore_wait(
                self.arrivals.at[self.at.group],
                (n + 1) * self.args.layout.blocks,
                decrement=False,
                memory_scope="gpu",
            )


def exchange(
    args: KernelArgs, at: Place, m: Refs, board: Ref | None = None
) -> Mail | Board:
    """The way of the blocks of a layout."""
    if args.mail:
        return Mail(args, at, m)
    arrivals = None
    if args.interpret is None:
        kind = plgpu.SemaphoreType.REGULAR((args.layout.groups,))
        arrivals = pl.get_global(kind)
    return Board(args, at, m, arrivals, board)


def board_shape(args: KernelArgs) -> tuple[int, int, int]:
    """That of `Board.board`; the smallest one where nobody uses it."""
    sizes = args.layout
    if args.mail:
        return 1, 8, TILE
    tiles = 2 * sizes.groups * (sizes.units // TILE)
    return tiles, sizes.blocks * sizes.group, TILE


def _in_tiles(unit: Array, own: int) -> tuple[Array, Array | int]:
    """The tile of 64 units that one is in, and its column there."""
    tile = jax.lax.div(unit, jnp.int32(TILE))
    return tile, jax.lax.rem(unit, jnp.int32(TILE)) if own % TILE else 0


def _added_up(args: KernelArgs, told: Ref, first: Array | int) -> Array:
    """The sum of C shares [R, U], beginning with one of those in memory."""
    sizes = args.layout

    def share(n: int) -> Array:
        return load(sizes, told.at[pl.ds((first + n) * sizes.group, sizes.group)])

    total = share(0)
    for n in range(1, sizes.blocks):
        total = total + share(n)
    return total


def _parity(n: Array) -> Array:
    """How often, modulo 2, the box of a step was open before."""
    return _half(jax.lax.div(n, jnp.int32(2)))


def _half(n: Array) -> Array:
    """The slot of a step: 0 or 1."""
    return jax.lax.rem(n, jnp.int32(2))
