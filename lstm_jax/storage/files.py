"""Files written whole or not at all, and JSON that knows whether it was damaged.

Nothing here follows a symbolic link to write, or reads a file of unreasonable size.
"""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lstm_jax.errors import InputError

Fields = dict[str, Any]  # a JSON object
CHECKSUM = "sha256"  # the key under which a JSON object keeps its own
_PIECE = 1 << 22  # bytes read at a time
_LARGEST_JSON = 1 << 26  # bytes; a vocabulary of all of Unicode takes 16 MB


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that something could not be written: a full disk, for one."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: could not be written: {reason}") from None


def write_parts(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a new file, to the disk itself. Returns its SHA-256.

    Raises:
        FileExistsError: there is something, be it a link.
        OSError: the disk is full, for one.
    """
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for part in parts:
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def replace_parts(path: Path, parts: Iterable[bytes | memoryview]) -> str:
    """Write a file whole or not at all: aside, to the disk, and into its place.

    Returns:
        Its SHA-256.

    Raises:
        InputError: it could not be written; what was there before is still there.
    """
    draft = path.with_name(f"{path.name}.draft")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: could not be written: no regular file")
    with writing(path):
        draft.unlink(missing_ok=True)
        try:
            digest = write_parts(draft, parts)
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    return digest


def replace_file(path: Path, raw: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: it could not be written; what was there before is still there.
    """
    replace_parts(path, [raw])


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk itself, where folders can be opened."""
    with contextlib.suppress(PermissionError):  # Windows
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read, and no pipe or device, which may never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("no regular file")
    return open(path, "rb")


def sha256_of(file: BinaryIO) -> str:
    """The SHA-256 of a file from where it is, read piece by piece."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


def synced_sha256_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file under a folder by its path in it, once on the disk."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        with open_regular(path) as file:
            os.fsync(file.fileno())
            sums[path.relative_to(folder).as_posix()] = sha256_of(file)
    return sums


def write_json(path: Path, record: Fields, indent: int | None = None) -> None:
    """Write a JSON object and its checksum."""
    text = json.dumps(seal(record), indent=indent)
    replace_file(path, f"{text}\n".encode())


def replace_json(path: Path, record: Fields) -> None:
    """Write a JSON object for people and scripts, without a checksum."""
    replace_file(path, f"{json.dumps(record, indent=2)}\n".encode())


def read_json(path: Path, what: str, largest: int = _LARGEST_JSON) -> Fields:
    """The JSON object of a file, without its checksum.

    Args:
        path: where.
        what: is expected there, for the message.
        largest: bytes that it may have.

    Raises:
        InputError: there is no file, it is too large, no JSON object, or its checksum
            is that of something else.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > largest:
                raise ValueError(f"{size:,} bytes, more than {largest:,}")
            return unseal(json.loads(file.read()))
    except FileNotFoundError:
        raise InputError(f"expected {what} at {path}, found no file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"expected {what} in {path}, found a damaged file: {error}"
        ) from None


def seal(record: Fields) -> Fields:
    """A JSON object with its checksum in it."""
    return {CHECKSUM: _digest(record), **record}


def unseal(record: object) -> Fields:
    """A JSON object without its checksum. One that has none is taken as it is.

    Raises:
        ValueError: the checksum is that of something else, or this is no object.
    """
    if not isinstance(record, dict):
        raise ValueError(f"no JSON object but {record!r:.60}")
    rest = {name: value for name, value in record.items() if name != CHECKSUM}
    if CHECKSUM in record and record[CHECKSUM] != _digest(rest):
        raise ValueError(
            f"its {CHECKSUM} is that of other contents (an edit on purpose takes that "
            "line out)"
        )
    return rest


def _digest(record: Fields) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def read_object(path: Path) -> Fields:
    """Read the JSON object that a finished run has left.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: expected a finished run, found: {error.strerror}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    if not isinstance(fields, dict):
        kind = type(fields).__name__
        raise InputError(f"{path}: expected a JSON object, found {kind}")
    return fields
