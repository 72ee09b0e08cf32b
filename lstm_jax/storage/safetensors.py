"""The safetensors format: named arrays in one file that executes nothing.

Eight bytes say how long the header is; the header is JSON, {name: {dtype, shape,
data_offsets}}; then come the numbers, one array after the other, little-endian
(as are all machines that JAX runs on). Other libraries read it (https://github.com/huggingface/safetensors).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TypeGuard

import jax.numpy as jnp
import numpy as np

from lstm_jax.storage.arrays import Stored, difference

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_TYPES = {short: name for name, short in _NAMES.items()}
_ALIGNMENT = 8  # bytes; the header is filled up with spaces
_LARGEST_HEADER = 1 << 24  # bytes; about a hundred for each array are needed


def parts_of(arrays: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """The file, part by part: no second copy of the arrays is made."""
    header, end = {}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    yield len(text).to_bytes(8, "little")
    yield text
    for array in arrays.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_arrays(
    file: BinaryIO,
    wanted: Mapping[str, Stored],
    renamed: Callable[[str], str] = str,
) -> dict[str, np.ndarray]:
    """The arrays of a file; room is made for them once they are those that are wanted.

    Args:
        file: open, at its beginning.
        wanted: what has to be in it, by name.
        renamed: what an array of the file is called today.

    Raises:
        Difference: they are others.
        ValueError: this is no such file, or a damaged one.
    """
    entries, begin = _read_header(file)
    places = {renamed(name): place for name, place in entries.items()}
    found = {name: stored for name, (stored, _) in places.items()}
    if problem := difference(wanted, found):
        raise Difference(problem)
    return {
        name: _read(file, begin + start, stored)
        for name, (stored, start) in places.items()
    }


def read_all(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of a file, whatever they are; never more than the file is large.

    Args:
        file: open, at its beginning.

    Raises:
        ValueError: this is no such file, or a damaged one.
    """
    entries, begin = _read_header(file)
    size = file.seek(0, os.SEEK_END)
    for name, (stored, start) in entries.items():
        end = begin + start + stored.nbytes
        if end > size:
            raise ValueError(f"{name} to byte {end:,} in a file of {size:,}")
    total = sum(stored.nbytes for stored, _ in entries.values())
    if begin + total > size:  # some lie over each other
        raise ValueError(
            f"arrays of {total:,} bytes over each other in {size - begin:,}"
        )
    return {
        name: _read(file, begin + start, stored)
        for name, (stored, start) in entries.items()
    }


def _read_header(file: BinaryIO) -> tuple[dict[str, tuple[Stored, int]], int]:
    """What the arrays are and where they begin, and where the numbers do."""
    length = int.from_bytes(file.read(8), "little")
    if length > _LARGEST_HEADER:
        raise ValueError(f"a header of {length:,} bytes")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("a header that is no JSON object")
    header.pop("__metadata__", None)
    return {name: _place_of(name, entry) for name, entry in header.items()}, 8 + length


class Difference(ValueError):
    """The arrays of a file are not those that are wanted; the message names one."""


def _place_of(name: str, entry: object) -> tuple[Stored, int]:
    """What an array is, and where its numbers begin."""
    if isinstance(entry, dict) and sorted(entry) == ["data_offsets", "dtype", "shape"]:
        short, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        known = isinstance(short, str) and short in _TYPES
        if known and _are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2:
            stored = Stored(_TYPES[short], tuple(shape))
            if offsets[1] - offsets[0] == stored.nbytes:
                return stored, offsets[0]
    raise ValueError(f"{name} as {entry!r:.80}")


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size < 2**63 for size in value
    )


def _read(file: BinaryIO, start: int, stored: Stored) -> np.ndarray:
    file.seek(start)
    raw = file.read(stored.nbytes)
    return np.frombuffer(raw, jnp.dtype(stored.dtype)).reshape(stored.shape)
