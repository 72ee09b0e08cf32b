"""The sounds of a folder, also those in zips there, and what else is in it."""

from __future__ import annotations

import os
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lstm_jax import InputError

SOUNDS = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".rf64", ".w64", ".mp2", ".amr"),
    *(".aac", ".m4a", ".webm", ".wma"),
)
_ARCHIVES = (".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_LARGEST = 2**32  # bytes of a file, and of all that one zip holds
_DAMAGED = (
    *(OSError, EOFError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
_SMALL, _RATIO = 2**26, 200  # a packed file may be small, or that much larger unpacked


class SoundFile(NamedTuple):
    """A file of sound: its path below the folder, or in a zip there, and its bytes."""

    path: PurePosixPath
    content: bytes


def sound_files(folder: Path, left_out: list[str]) -> Iterator[SoundFile]:
    """Read every file of sound below a folder, also inside zips there, one by one.

    Endings count in capitals too. What is packed in another way is not read.

    Args:
        folder: where to look; or a zip.
        left_out: is told of archives that are not read.

    Raises:
        InputError: there is no such folder, a file can't be read, or one of the zips is
            damaged, encrypted, or unpacks to more than sounds do.
    """
    if folder.is_file() and folder.suffix.lower() == ".zip":
        yield from _zipped(folder, left_out)
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of sounds, found none")
    # Names like these are what macOS keeps beside a file: no sounds.
    paths = [p for p in sorted(folder.rglob("*")) if not p.name.startswith("._")]
    for path in paths:
        if path.suffix.lower() in SOUNDS and path.is_file():
            yield SoundFile(_readable(path.relative_to(folder)), _read(path))
    for path in paths:
        if not path.is_file():
            continue
        if path.suffix.lower() == ".zip":
            yield from _zipped(path, left_out)
        elif path.suffix.lower() in _ARCHIVES:
            left_out.append(
                f"{_readable(path.relative_to(folder))} is an archive, but no zip"
            )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: expected a sound of 4 GiB at most")
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected a file of sound, found: {error.strerror}"
        ) from None


def _zipped(path: Path, left_out: list[str]) -> Iterator[SoundFile]:
    """Read the sounds of one zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            wanted, total = [], 0
            for member in sorted(archive.infolist(), key=lambda each: each.filename):
                inner = _readable(PurePosixPath(member.filename.replace("\\", "/")))
                if member.is_dir() or inner.name.startswith("._"):
                    continue
                if inner.suffix.lower() in (".zip", *_ARCHIVES):
                    left_out.append(f"{inner} is an archive in {path.name}")
                elif inner.suffix.lower() in SOUNDS:
                    _refuse_unusual(member, path)
                    wanted.append((inner, member))
                    total += member.file_size
            if total > _LARGEST:
                raise InputError(
                    f"{path}: expected sounds of 4 GiB at most, found {total:,} bytes; "
                    "unpack it"
                )
            for inner, member in wanted:
                with archive.open(member) as file:
                    # With a number it unpacks no more than that, whatever is packed.
                    yield SoundFile(inner, file.read(member.file_size + 1))
    except InputError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or "one that ends too early"
        raise InputError(f"{path}: expected a zip file, found: {reason}") from None


def _refuse_unusual(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse what needs a password or a rare method, or is larger than sounds are."""
    packed, size = member.compress_size, member.file_size
    found = ""
    if member.flag_bits & 1:
        found = "encrypted"
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"packed by a method other than deflate ({member.compress_type})"
    elif size > max(_SMALL, _RATIO * packed):
        found = f"{size:,} bytes packed into {packed:,}"
    if found:
        raise InputError(
            f"{path}: expected sounds, found {member.filename!r} {found}; unpack it"
        )


def _readable(path: PurePosixPath | Path) -> PurePosixPath:
    """A path in Unicode, composed; what is no UTF-8 in it is read as Latin-1."""
    raw = os.fsencode(path)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return PurePosixPath(unicodedata.normalize("NFC", text))
