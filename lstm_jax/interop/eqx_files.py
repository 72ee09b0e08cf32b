"""Files of `eqx.tree_serialise_leaves`: arrays one after the other, without names.

Each leaf of a tree that is an array or a number stands there as an .npy of its own, in
the order of the fields, depth first; other leaves leave no trace. There may be a line
of JSON before them, hyperparameters, as Equinox's documentation has it. So what an
array is follows from shapes alone, and whatever does is told to the user:

    cell        [4H, D], [4H, H] and [4H] if it has a bias: an LSTM
                [3H, D], [3H, H], [3H] and [H] if it has biases: a GRU
    layers      cells in turn, each as wide as the next one's inputs
    directions  two cells of equal sizes whose inputs are not of their own width

The numbers of a file are not verified by anything: it has no checksum.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.weights import Array
from lstm_jax.storage.files import open_regular

_MAGIC = b"\x93NUMPY"
_LARGEST_LINE = 1 << 20  # bytes
_NAMES = ("weight_ih", "weight_hh", "bias", "bias_n")


class _Cell(NamedTuple):
    """The leaves [first, end) of a file as a cell of D inputs and H units."""

    first: int
    end: int
    gates: int
    inputs: int
    units: int


def read_eqx(path: Path) -> dict[str, Array]:
    """Read the leaves of a tree, those of cells by the names of their fields.

    Raises:
        InputError: cells that can't be told from other arrays.
    """
    arrays = []
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        _skip_line_of_json(file)
        while file.tell() < size:
            arrays.append(_read_npy(file))
    cells = list(_cells(arrays))
    named = {
        f"leaf {k} {list(array.shape)}": array
        for k, array in enumerate(arrays)
        if not any(cell.first <= k < cell.end for cell in cells)
    }
    for place, cell in zip(_places(cells), cells, strict=True):
        leaves = zip(_NAMES, arrays[cell.first : cell.end], strict=False)
        named |= {f"{place}/{name}": array for name, array in leaves}
    return named


def _skip_line_of_json(file: BinaryIO) -> None:
    """Go to the first array.

    Raises:
        InputError: there is something else before it.
    """
    begin = file.read(len(_MAGIC))
    file.seek(0)
    if begin == _MAGIC or not begin:
        return
    line = file.readline(_LARGEST_LINE)
    try:
        json.loads(line)
    except ValueError:
        raise InputError(
            f"expected arrays, or a line of JSON before them, found {line[:20]!r}"
        ) from None


def _read_npy(file: BinaryIO) -> Array:
    """The next array of a file, with the type that JAX gives a bfloat16."""
    array = np.lib.format.read_array(file, allow_pickle=False)
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.dtype("V2") else array


def _cells(arrays: Sequence[Array]) -> Iterator[_Cell]:
    """Find the cells among arrays.

    Raises:
        InputError: arrays that are one cell or another.
    """
    k = 0
    while k < len(arrays):
        cell = _cell_at(arrays, k)
        if cell is not None and cell.end == k + 2:
            # Is this one without a bias, or the next one, with it?
            after = _cell_at(arrays, k + 1)
            if after is not None and after.end > k + 3:
                raise InputError(
                    f"leaf {k}: expected arrays whose shapes tell cells from others, "
                    f"found {list(arrays[k].shape)} before a cell of the same width: "
                    "write the cells alone, or .npz by their names"
                )
        if cell is not None:
            yield cell
        k = k + 1 if cell is None else cell.end


def _cell_at(arrays: Sequence[Array], k: int) -> _Cell | None:
    """The cell that begins with this array, if any does."""
    shapes = [array.shape for array in arrays[k : k + 4]]
    if len(shapes) < 2 or len(shapes[0]) != 2 or len(shapes[1]) != 2:
        return None
    (rows, inputs), (others, units) = shapes[:2]
    gates = rows // units if units else 0
    if rows != others or rows != gates * units or gates not in (3, 4) or not inputs:
        return None
    end = k + 2
    if shapes[2:3] == [(rows,)]:
        end += 1
        if gates == 3:
            if shapes[3:] != [(units,)]:
                return None
            end += 1
    return _Cell(k, end, gates, inputs, units)


def _places(cells: Sequence[_Cell]) -> Iterator[str]:
    """Where each cell lies: a stack, a layer of it, and a direction if it has two."""
    stack, depth, width, k = -1, 0, 0, 0
    while k < len(cells):
        both = _is_pair(cells, k)
        gates = cells[k].gates
        goes_on = k > 0 and cells[k].inputs == width and cells[k - 1].gates == gates
        stack, depth = (stack, depth + 1) if goes_on else (stack + 1, 0)
        name = "layers" if stack == 0 else f"layers_{chr(ord('a') + stack)}"
        for way in ("/forward", "/backward") if both else ("",):
            yield f"{name}/{depth}{way}"
        width = cells[k].units * (2 if both else 1)
        k += 2 if both else 1


def _is_pair(cells: Sequence[_Cell], k: int) -> bool:
    """Whether a cell and the next one read the same in both directions."""
    if k + 1 >= len(cells) or cells[k][2:] != cells[k + 1][2:]:
        return False
    above = cells[k + 2].inputs if k + 2 < len(cells) else 0
    return cells[k].inputs != cells[k].units or above == 2 * cells[k].units


def write_eqx(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a file for `eqx.tree_deserialise_leaves` of cells in the same order.

    Of a layer of two directions the forward cell comes first.

    Raises:
        InputError: two directions that would be read as two layers.
    """
    cells = list(_cells(list(arrays.values())))
    places = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
    if list(_places(cells)) != places:
        raise InputError(
            ".eqx: expected layers whose sizes tell them from directions, found a "
            "layer of two directions as wide as its inputs: write .safetensors or .npz"
        )
    with open(path, "wb") as file:
        for array in arrays.values():
            np.save(file, np.ascontiguousarray(array))
