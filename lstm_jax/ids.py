"""Arrays of ids on disk: written piece by piece, mapped when read, with a checksum.

The file is NumPy's own (`.npy`). Beside it lies its SHA-256 as `sha256sum -c` reads it.
"""

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.files import replace_file, writing

_PIECE = 1 << 22  # ids, or bytes, looked at at a time


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
    draft = path.with_name(f"{path.name}.draft")
    count = 0
    with writing(path):
        draft.unlink(missing_ok=True)
        with open(draft, "xb") as file:
            digest = hashlib.sha256(start.getvalue())
            file.write(start.getvalue())
            for piece in pieces:
                count += len(piece)
                raw = np.ascontiguousarray(piece, dtype).view(np.uint8).data
                digest.update(raw)
                file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        if count != total:
            draft.unlink()
            raise InputError(
                f"{path}: expected {total} symbols as counted before, found {count}; "
                "the text was changed meanwhile"
            )
        os.replace(draft, path)
    line = f"{digest.hexdigest()}  {path.name}\n"
    replace_file(_checksum_of(path), line.encode())


def read_ids(path: Path, symbols: int) -> np.ndarray:
    """Map ids into memory, after all of the file was read once to verify it.

    Args:
        path: where.
        symbols: V; every id must be smaller.

    Raises:
        InputError: there is no such file, it is damaged, or of another vocabulary.
    """
    try:
        # Not np.load: that would also open an archive.
        ids = np.lib.format.open_memmap(path, mode="r")
        damaged = _is_damaged(path)
    except FileNotFoundError:
        raise InputError(f"{path}: expected encoded text, found no file") from None
    except (OSError, ValueError, OverflowError, MemoryError) as error:
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
    largest = max(
        (ids[k : k + _PIECE].max() for k in range(0, len(ids), _PIECE)), default=0
    )
    if largest >= symbols:
        raise InputError(
            f"{path}: expected ids below {symbols}, the size of the vocabulary, "
            f"found {largest}"
        )
    return ids


def _is_damaged(path: Path) -> bool:
    """Whether the file differs from its checksum, if it has one."""
    checksum = _checksum_of(path)
    if not checksum.exists():
        return False
    with open(checksum, "rb") as file:
        expected = file.read(64)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest().encode() != expected


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256")
