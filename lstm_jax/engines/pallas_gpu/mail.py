"""Blocks of a cluster that write into each other's shared memory, in NVIDIA's assembly.

A box is a barrier in the shared memory of a block (an mbarrier). A block says how many
bytes it expects there; others send (st.async), each word counts itself in at the box
of its receiver, and the receiver goes on when all are there. No barrier of the cluster
and no trip to the L2 cache is in between. Pallas has this for one receiver whose number
is known (`async_store_smem`); here a value goes to all, or to one that is computed.

A box opens again and again: its n-th time has the parity n % 2.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.mosaic.gpu import utils
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, llvm

Ref = Any
Value = Any  # of MLIR

BOXES = 2
_BOX = 8  # bytes
_SWIZZLE = 128  # bytes; rows of 16 bytes change places within eight lines of these
_SCALAR = plgpu.Layout.WG_SPLAT(())
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


def send_to_all(
    blocks: int,
    way: Any,  # noqa: ANN401 - of Pallas, without a public name
    value: Array,
    target: Ref,
    at: tuple,
    boxes: Ref,
    box: Array,
) -> None:
    """Write a value [R, n] into the same place of all blocks' memory; see `_send`.

    Args:
        blocks: how many there are, a power of two; the next one comes first.
        way: how the value lies in registers.
        value: numbers of 32 bits in every thread, or more.
        target: [..., columns] a factor of products, see `layout.Buffer`.
        at: its first row and column there.
        boxes: of each receiver.
        box: the one that counts the bytes.
    """
    first = jax.lax.axis_index("blocks")
    _send(range(1, blocks + 1), blocks, way, value, target, at, boxes, box, first, True)


def send_to(
    block: Array,
    way: Any,  # noqa: ANN401 - of Pallas, without a public name
    value: Array,
    target: Ref,
    at: tuple,
    boxes: Ref,
    box: Array,
) -> None:
    """Write a value into one block's memory, whose rows are not swizzled."""
    _send((0,), None, way, value, target, at, boxes, box, block, False)


def _send(
    receivers: Sequence[int],
    blocks: int | None,
    way: Any,  # noqa: ANN401 - of Pallas, without a public name
    value: Array,
    target: Ref,
    at: tuple,
    boxes: Ref,
    box: Array,
    first: Array,
    swizzled: bool,
) -> None:
    """Write to the blocks first + n for each n, modulo their number."""
    size, columns = jnp.dtype(value.dtype).itemsize, target.shape[-1]
    wide = _SWIZZLE // size
    tiles = (plgpu.TilingTransform((8, wide)), plgpu.SwizzleTransform(_SWIZZLE))
    kinds = (way, plgpu.RefType(tiles if swizzled else ()), plgpu.RefType())

    @plgpu.inline_mgpu(arg_types=kinds + (_SCALAR,) * 4)
    def write(
        _: object,
        value: Value,
        target: Value,
        boxes: Value,
        box: Value,
        row: Value,
        column: Value,
        first: Value,
    ) -> None:
        row, column, first = (a.registers.item() for a in (row, column, first))
        place = _swizzled if swizzled else _plain
        base = _address(target)
        words = []
        places = value.layout.thread_idxs(value.shape)
        for (r, c), register in zip(places, value.registers.flat, strict=True):
            line = arith.addi(row, arith.index_cast(_i32(), r))
            across = arith.addi(column, arith.index_cast(_i32(), c))
            offset = arith.addi(base, place(line, across, columns, size))
            words += _words(register, offset, size)
        # $0 the box, $1 the first receiver; then an address and a word each.
        operands = [_box(boxes, box), first]
        constraints = ["r", "r"]
        for address, word, kind in words:
            operands += [address, word]
            constraints += ["r", {"b32": "r", "b64": "l"}[kind]]
        lines = ["{ .reg .b32 place, there, to;"]
        for n in receivers:
            lines.append(f"add.u32 to, $1, {n};")
            if blocks is not None:
                lines.append(f"and.b32 to, to, {blocks - 1};")
            lines.append("mapa.shared::cluster.u32 there, $0, to;")
            for m, (_, _, kind) in enumerate(words):
                lines.append(f"mapa.shared::cluster.u32 place, ${2 + 2 * m}, to;")
                lines.append(
                    "st.async.shared::cluster.mbarrier::complete_tx::bytes."
                    f"{kind} [place], ${3 + 2 * m}, [there];"
                )
        _assembly([*lines, "}"], ",".join(constraints), *operands)

    write(value, target, boxes, box, *at, first)


def _words(register: Value, address: Value, size: int) -> list[tuple]:
    """A thread's part of a value: addresses and words of 32 or 64 bits."""
    [length] = ir.VectorType(register.type).shape
    bits = length * size * 8
    if bits <= 64:
        kind = f"b{bits}"
        whole = ir.IntegerType.get_signless(bits)
        return [(address, utils.bitcast(register, whole), kind)]
    i64 = ir.IntegerType.get_signless(64)
    parts = utils.bitcast(register, ir.VectorType.get((bits // 64,), i64))
    return [
        (
            arith.addi(address, _number(8 * n)),
            llvm.extractelement(parts, _number(n)),
            "b64",
        )
        for n in range(bits // 64)
    ]


def _plain(row: Value, column: Value, columns: int, size: int) -> Value:
    """Bytes from the beginning of an array [rows, columns]."""
    place = arith.addi(arith.muli(row, _number(columns)), column)
    return arith.muli(place, _number(size))


def _swizzled(row: Value, column: Value, columns: int, size: int) -> Value:
    """The same if it lies in tiles of 8 lines of 128 bytes, each line swizzled."""
    wide = _SWIZZLE // size
    low = arith.remui(row, _number(8))
    tile = arith.muli(arith.divui(row, _number(8)), _number(columns // wide))
    tile = arith.addi(tile, arith.divui(column, _number(wide)))
    line = arith.addi(arith.muli(tile, _number(8)), low)
    within = arith.muli(arith.remui(column, _number(wide)), _number(size))
    within = arith.xori(within, arith.muli(low, _number(16)))
    return arith.addi(arith.muli(line, _number(_SWIZZLE)), within)


def _box(boxes: Value, box: Value) -> Value:
    offset = arith.muli(box.registers.item(), _number(_BOX))
    return arith.addi(_address(boxes), offset)


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
