"""Arrays of ids on disk: written piece by piece, mapped when read, with a checksum.

The file is NumPy's own (`.npy`). Beside it lies its SHA-256 as `sha256sum -c` reads it.
"""

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.storage.files import open_regular, replace_file, replace_parts, sha256_of

_PIECE = 1 << 22  # ids looked at at a time


def write_ids(
    path: Path, dtype: np.dtype, total: int, pieces: Iterable[np.ndarray]
) -> None:
    """Write ids that come piece by piece; only one piece is held in memory.

    Raises:
        InputError: there are not `total` ids, or the disk is full.
    """
    start = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": (total,)}
    np.lib.format.write_array_header_1_0(start, description)
    counted = _counted(path, total, pieces)
    raws = (np.ascontiguousarray(piece, dtype).view(np.uint8).data for piece in counted)
    digest = replace_parts(path, itertools.chain([start.getvalue()], raws))
    replace_file(_checksum_of(path), _checksum_line(digest, path))


def _counted(
    path: Path, total: int, pieces: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """The pieces, if they are as many ids as was said."""
    count = 0
    for piece in pieces:
        count += len(piece)
        yield piece
    if count != total:
        raise InputError(
            f"{path}: expected {total} symbols as counted before, found {count}; "
            "the text was changed meanwhile"
        )


def read_ids(path: Path, symbols: int) -> np.ndarray:
    """Map ids into memory, after all of the file was read once to verify it.

    Args:
        path: where.
        symbols: V; every id must be smaller.

    Raises:
        InputError: there is no such file, it is damaged, or of another vocabulary.
    """
    try:
        # Not np.load: that would also open an archive. Its parser of headers raises
        # whatever the parsers of Python raise.
        ids = np.lib.format.open_memmap(path, mode="r")
        damaged = _is_damaged(path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected encoded text, found no file") from None
    except Exception as error:
        raise InputError(
            f"{path}: expected encoded text, found: {error!s:.200}"
        ) from None
    if damaged:
        raise InputError(
            f"{path}: expected encoded text with the sha256 in "
            f"{_checksum_of(path).name}, found another: one of both is damaged"
        )
    if ids.ndim != 1 or ids.dtype.kind != "u":
        raise InputError(
            f"{path}: expected a row of ids, found {ids.dtype}{list(ids.shape)}"
        )
    largest = _largest(path, ids.offset, ids.dtype)
    if largest >= symbols:
        raise InputError(
            f"{path}: expected ids below {symbols}, the size of the vocabulary, "
            f"found {largest}"
        )
    return ids


def _largest(path: Path, offset: int, dtype: np.dtype) -> int:
    """The largest id, read and not mapped: a mapped file counts as memory in use."""
    largest = 0
    with open_regular(path) as file:
        file.seek(offset)
        while len(piece := np.fromfile(file, dtype, _PIECE)):
            largest = max(largest, int(piece.max()))
    return largest


def _is_damaged(path: Path) -> bool:
    """Whether the file differs from its checksum, if it has one."""
    checksum = _checksum_of(path)
    if not checksum.exists():
        return False
    with open_regular(path) as file:
        expected = _checksum_line(sha256_of(file), path)
    with open_regular(checksum) as file:
        return file.read(len(expected) + 1) != expected


def _checksum_line(digest: str, path: Path) -> bytes:
    """As `sha256sum` writes it, and checks it."""
    return f"{digest}  {path.name}\n".encode()


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
