"""Recordings of the user's own: a table of files and of what is said in them."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from experiments.speech.audio import decode_sound, read_sound, resample
from experiments.speech.files import SoundFile, sound_files
from experiments.speech.wav import Sound
from lstm_jax import InputError
from lstm_jax.data import bytes_of

FILE_COLUMNS = ("file", "path", "file_name", "filename", "wav", "audio", "clip")
TRANSCRIPT_COLUMNS = (
    *("transcript", "transcription", "sentence", "text", "words", "word", "label"),
)
_DELIMITERS = ",\t;|"
_BOMS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_COPIES = "of a name that was there, left out"


class Line(NamedTuple):
    """A line of the table: its number, the file, and what is said in it."""

    number: int
    file: PurePosixPath
    transcript: str


class Clip(NamedTuple):
    """A recording [N] and its transcript; `name` is what messages call it."""

    name: str
    transcript: str
    samples: np.ndarray


def read_table(path: Path) -> list[Line]:
    """Read a table: columns by their names in the first line, CSV, TSV and the like.

    Spaces around a transcript do not count, nor how many are between two words;
    characters are composed (NFC).

    Args:
        path: UTF-8, UTF-16 with its mark, or else Latin-1; `.gz` is unpacked.

    Raises:
        InputError: it is missing or no such table; a line has too many or too few
            cells or lacks one of the two; a file is there twice.
    """
    text = _decoded(path, b"".join(bytes_of(path)))
    delimiter, file, transcript, width = _columns(path, text)
    quoted = delimiter in ",;"
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    rows = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    lines: dict[PurePosixPath, Line] = {}
    try:
        next(rows)
        for cells in rows:
            if not any(map(str.strip, cells)):
                continue
            where = f"{path}, line {rows.line_num}"
            if len(cells) < width or any(map(str.strip, cells[width:])):
                hint = "; a cell with a comma in it is put in quotes" * quoted
                raise InputError(
                    f"{where}: expected {width} cells, found {len(cells)}{hint}"
                )
            name = unicodedata.normalize("NFC", cells[file]).strip()
            said = " ".join(unicodedata.normalize("NFC", cells[transcript]).split())
            if not name or not said:
                raise InputError(f"{where}: expected a file and a transcript")
            line = Line(rows.line_num, PurePosixPath(name.replace("\\", "/")), said)
            if line.file in lines:
                first = lines[line.file].number
                raise InputError(f"{where}: {line.file} was there in line {first}")
            lines[line.file] = line
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}") from None
    if not lines:
        raise InputError(f"{path}: expected a line for each recording, found none")
    return list(lines.values())


def read_clips(
    table: Path, folder: Path, longest: float, rate: int, notes: dict[str, list[str]]
) -> list[Clip]:
    """Read the recordings of a table, in its order.

    A file is named by its path below the folder, or by the end of it that is enough to
    tell it; its ending may be left away.

    Args:
        table: see `read_table`.
        folder: where the recordings are, as files or in zips.
        longest: seconds of a recording; longer ones are left out.
        rate: that they are resampled to.
        notes: is told, by a reason, what was not read whole.

    Raises:
        InputError: one is missing, or can't be read.
    """
    lines = read_table(table)
    archives: list[str] = []
    sounds = _matched(lines, sound_files(folder, archives), notes)
    if archives:
        notes["left out"] = archives
    clips = []
    for line in lines:
        sound = sounds.get(line.number)
        beside = folder / line.file  # a path that leads out of the folder
        if sound is None and beside.is_file():
            sound = read_sound(beside)
        if sound is None:
            missing = sum(other.number not in sounds for other in lines)
            raise InputError(
                f"{table}, line {line.number}: expected {line.file} in {folder}, "
                f"found no such sound ({missing} missing in all)"
            )
        if sound.lost:
            notes.setdefault("cut short", []).append(str(line.file))
        if sound.seconds > longest:
            notes.setdefault(f"longer than {longest:g} s, left out", []).append(
                str(line.file)
            )
            continue
        samples = resample(sound, rate).samples
        clips.append(Clip(str(line.file), line.transcript, samples))
    return clips


class _Found(NamedTuple):
    """The file of a line: by its whole path or the end of it, and its bytes' hash."""

    path: PurePosixPath
    exact: bool
    digest: bytes


def _matched(
    lines: Sequence[Line], files: Iterable[SoundFile], notes: dict[str, list[str]]
) -> dict[int, Sound]:
    """The sound of each line, by its number."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        by_name.setdefault(line.file.name, []).append(line)
    found: dict[int, _Found] = {}
    sounds: dict[int, Sound] = {}
    for path, content in files:
        names = path, path.with_suffix("")
        fitting = [
            (len(line.file.parts), line)
            for name in names
            for line in by_name.get(name.name, [])
            if name.parts[-len(line.file.parts) :] == line.file.parts
        ]
        if not fitting:
            notes.setdefault("not in the table, left out", []).append(str(path))
            continue
        _, line = max(fitting)
        new = _Found(path, line.file in names, hashlib.sha256(content).digest())
        old = found.get(line.number)
        if old and (old.exact or not new.exact):
            if old.exact == new.exact and old.digest != new.digest:
                raise InputError(
                    f"{line.file}: expected one such file, found {old.path} and {path}"
                )
            notes.setdefault("of a name that was there, left out", []).append(str(path))
            continue
        if old:
            notes.setdefault("of a name that was there, left out", []).append(
                str(old.path)
            )
        found[line.number] = new
        sounds[line.number] = decode_sound(content, str(path))
    return sounds


def _decoded(path: Path, raw: bytes) -> str:
    """The text of a file, by its mark if it has one."""
    marked = [name for mark, name in _BOMS.items() if raw.startswith(mark)]
    try:
        return raw.decode(*marked or ["utf-8"])
    except UnicodeDecodeError:
        if marked:
            raise InputError(f"{path}: expected a text in {marked[0]}") from None
        return raw.decode("latin-1")


def _columns(path: Path, text: str) -> tuple[str, int, int, int]:
    """The delimiter, the places of the two columns, and how many there are."""
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    for delimiter in _DELIMITERS:
        cells = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
        files = [cells.index(name) for name in FILE_COLUMNS if name in cells]
        spoken = [cells.index(name) for name in TRANSCRIPT_COLUMNS if name in cells]
        if files and spoken:
            return delimiter, files[0], spoken[0], len(cells)
    raise InputError(
        f"{path}: expected a first line with columns file and transcript, found "
        f"{first[:80]!r}"
    )
