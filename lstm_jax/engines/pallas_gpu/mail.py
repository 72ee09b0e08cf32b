"""Blocks of a cluster that write into each other's shared memory, in NVIDIA's assembly.

A box is a barrier in the shared memory of a block (an mbarrier). A block says how many
bytes it expects there; others send (st.async), each word counts itself in at the box
of its receiver, and the receiver goes on when all are there. No barrier of the cluster
and no trip to the L2 cache is in between. By hand, because with Pallas's own
`async_store_smem` every one of 128 threads arrives at the receiver's barrier for every
word; here bytes count, and a thread sends 16 of them at once.

A box opens again and again: its n-th time has the parity n % 2.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.experimental.mosaic.gpu import utils
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, llvm

from lstm_jax.engines.pallas_gpu.blocks import Ref, swizzled

Value = Any  # of MLIR

BOXES = 2
_BOX = 8  # bytes
_WORD = 16  # bytes that a thread sends at once
_THREADS = 128
_SWIZZLE = 128  # bytes of a line; its words change places within eight lines
_SCALAR = plgpu.Layout.WG_SPLAT(())
_SCALARS = (_SCALAR, _SCALAR)
_IN_ONE_THREAD = "{ .reg .pred p; .reg .b32 t; mov.u32 t, %tid.x; setp.eq.u32 p, t, 0;"


def open_boxes(boxes: Ref) -> None:
    """Make the boxes of this block; the cluster has to meet before the first letter."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(),))
    def make(_: object, boxes: Value) -> None:
        each = [
            f"@p mbarrier.init.shared::cta.b64 [$0+{_BOX * n}], 1;"
            for n in range(BOXES)
        ]
        lines = [_IN_ONE_THREAD, *each, "@p fence.mbarrier_init.release.cluster; }"]
        _assembly(lines, "r", _address(boxes))

    make(boxes)


def expect(boxes: Ref, box: Array, size: int) -> None:
    """Let a box wait for so many bytes; some may be there already."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), _SCALAR))
    def arrive(_: object, boxes: Value, box: Value) -> None:
        line = f"@p mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], {size}; }}"
        _assembly([_IN_ONE_THREAD, line], "r", _box(boxes, box))

    arrive(boxes, box)


def wait(boxes: Ref, box: Array, parity: Array) -> None:
    """Wait until all that was expected is there."""

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), _SCALAR, _SCALAR))
    def again(_: object, boxes: Value, box: Value, parity: Value) -> None:
        lines = (
            "{ .reg .pred p; again:",
            "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [$0], $1;",
            "@!p bra again; }",
        )
        _assembly(lines, "r,r", _box(boxes, box), parity.registers.item())

    again(boxes, box, parity)


def tell(source: Ref, target: Ref, boxes: Ref, box: Array, block: Array) -> None:
    """Write this block's h [R, U] to its place in all of h [R, H] of every block.

    Args:
        source: h, whose rows lie one behind the other.
        target: [2, R, H], a factor of products; the box says which of the two.
        boxes: of each receiver.
        box: the one that counts the bytes.
        block: the number of this one.
    """
    rows, own = source.shape
    units = target.shape[-1]
    blocks = units // own
    part = _Part(rows, own, jnp.dtype(source.dtype).itemsize)
    whole = plgpu.RefType(swizzled(target.dtype))

    @plgpu.inline_mgpu(arg_types=(plgpu.RefType(), whole, plgpu.RefType(), *_SCALARS))
    def write(
        _: object, source: Value, target: Value, boxes: Value, box: Value, block: Value
    ) -> None:
        there = _box(boxes, box)
        box, block = box.registers.item(), block.registers.item()

        def one(word: Value, receiver: Value) -> None:
            row, column = part.place(word)
            place = _in_lines(
                _sum(_times(box, rows), row),
                _sum(_times(block, own), column),
                units,
                part.size,
            )
            _send(
                _sum(_address(source), part.offset(row, column)),
                _sum(_address(target), place),
                there,
                receiver,
            )

        part.for_each_word(blocks, block, one)

    write(source, target, boxes, box, block)


def share(
    source: Ref, target: Ref, boxes: Ref, box: Array, block: Array, first: int
) -> None:
    """Write to each block its share of this one's sums, [R, U].

    Args:
        source: sums [n, R, 64] of 64 n units, swizzled as factors are.
        target: [2 C R, U], the shares of all C blocks, twice: the box says which.
        boxes: of each receiver.
        box: the one that counts the bytes.
        block: the number of this one.
        first: the number of the block whose units come first.
    """
    tiles, rows, wide = source.shape
    both, own = target.shape
    blocks = both // (2 * rows)
    part = _Part(rows, own, jnp.dtype(source.dtype).itemsize)
    sums = plgpu.RefType(swizzled(source.dtype))

    @plgpu.inline_mgpu(arg_types=(sums, plgpu.RefType(), plgpu.RefType(), *_SCALARS))
    def write(
        _: object, source: Value, target: Value, boxes: Value, box: Value, block: Value
    ) -> None:
        there = _box(boxes, box)
        box, block = box.registers.item(), block.registers.item()
        above = _times(_sum(_times(box, blocks), block), rows)

        def one(word: Value, receiver: Value) -> None:
            row, column = part.place(word)
            unit = _sum(_times(receiver, own), column)
            tile = arith.divui(unit, _number(wide))
            unit = arith.remui(unit, _number(wide))
            lines = _sum(_times(tile, rows), row)
            _send(
                _sum(_address(source), _in_lines(lines, unit, wide, part.size)),
                _sum(_address(target), part.offset(_sum(above, row), column)),
                there,
                _sum(receiver, _number(first)),
            )

        part.for_each_word(tiles * wide // own, block, one)

    write(source, target, boxes, box, block)


class _Part(NamedTuple):
    """A block's units [R, U], in words."""

    rows: int
    own: int
    size: int  # bytes of a number

    def for_each_word(
        self,
        receivers: int,
        block: Value,
        send: Callable[[Value, Value], None],
    ) -> None:
        """Send every word to every receiver, beginning with that of this number.

        Each thread has some words; sizes are powers of two.
        """
        words = self.rows * self.own * self.size // _WORD
        thread = utils.thread_idx()
        for first in range(0, words * receivers, _THREADS):
            number = _sum(thread, _number(first))
            word = arith.remui(number, _number(words))
            receiver = _sum(arith.divui(number, _number(words)), block)
            receiver = arith.remui(receiver, _number(receivers))
            if words * receivers >= _THREADS:
                send(word, receiver)
                continue
            some = _number(words * receivers)
            less = arith.CmpIPredicate.ult
            with utils.when(arith.cmpi(less, thread, some)):
                send(word, receiver)

    def place(self, word: Value) -> tuple[Value, Value]:
        """The row and column at which a word begins."""
        numbers = _WORD // self.size
        each = _number(self.own // numbers)
        column = arith.remui(word, each)
        return arith.divui(word, each), _times(column, numbers)

    def offset(self, row: Value, column: Value) -> Value:
        """Bytes from the beginning, where rows lie one behind the other."""
        return _times(_sum(_times(row, self.own), column), self.size)


def _send(source: Value, place: Value, box: Value, block: Value) -> None:
    """Send a word from an address to the place and box of another block's memory."""
    _assembly(
        (
            "{ .reg .b32 a<4>, place, there;",
            "ld.shared.v4.b32 {a0, a1, a2, a3}, [$0];",
            "mapa.shared::cluster.u32 place, $1, $3;",
            "mapa.shared::cluster.u32 there, $2, $3;",
            "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32",
            "[place], {a0, a1, a2, a3}, [there]; }",
        ),
        "r,r,r,r",
        source,
        place,
        box,
        block,
    )


def _in_lines(row: Value, column: Value, columns: int, size: int) -> Value:
    """Bytes from the beginning of [rows, columns], a factor of products.

    It lies in tiles of 8 lines of 128 bytes, whose words change places.
    """
    wide = _SWIZZLE // size
    low = arith.remui(row, _number(8))
    tile = _times(arith.divui(row, _number(8)), columns // wide)
    tile = _sum(tile, arith.divui(column, _number(wide)))
    line = _sum(_times(tile, 8), low)
    within = _times(arith.remui(column, _number(wide)), size)
    within = arith.xori(within, _times(low, _WORD))
    return _sum(_times(line, _SWIZZLE), within)


def _sum(a: Value, b: Value) -> Value:
    return arith.addi(a, b)


def _times(a: Value, b: int) -> Value:
    return arith.muli(a, _number(b))


def _box(boxes: Value, box: Value) -> Value:
    return _sum(_address(boxes), _times(box.registers.item(), _BOX))


def _address(ref: Value) -> Value:
    return llvm.ptrtoint(_i32(), utils.memref_ptr(ref))


def _number(value: int) -> Value:
    return arith.constant(_i32(), value)


def _i32() -> Value:
    return ir.IntegerType.get_signless(32)


def _assembly(lines: Sequence[str], constraints: str, *operands: Value) -> None:
    llvm.inline_asm(
        ir.Type.parse("!llvm.void"),
        list(operands),
        " ".join(lines),
        constraints,
        has_side_effects=True,
    )
