"""Files of pen strokes: JSON, CSV and InkML to strokes whose y grows upwards.

    JSON    [[[x, y], ...], ...], a list of strokes, or {"strokes": such a list};
            what follows x and y in a point, its time for one, is not read
    CSV     a table with the columns stroke, x and y, a point per row; a stroke is
            what follows on each other with the same name
    InkML   the <trace> elements; the x and y of a point are those that <traceFormat>
            says, else its first two numbers

Strokes come in the order in which they were drawn. On a screen y grows downwards, and
so it does in all three, unless the file of JSON has {"y": "up"} beside its strokes or
the channel Y of InkML has orientation="-ve".
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from experiments.handwriting.strokes import FARTHEST, Points
from experiments.tables import read_numbers
from lstm_jax import InputError

_LARGEST = 16 * 2**20  # bytes of a file
_NAMESPACE = "http://www.w3.org/2003/InkML"


class _Refused(ValueError):
    """What is wrong with a file, without its name."""


def read_strokes(path: Path) -> list[Points]:
    """Read the strokes of a `.json`, `.csv` or `.inkml` file, y upwards.

    Raises:
        InputError: it is missing, larger than 16 MiB, or no such file; or there is no
            stroke in it.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(_READERS)
        raise InputError(f"{path}: expected a file of {kinds}, found {path.suffix!r}")
    try:
        strokes, down = reader(_content(path))
        if not strokes:
            raise _Refused("none")
        points = [_checked(stroke, k) for k, stroke in enumerate(strokes, 1)]
    except _Refused as refused:
        found = " ".join(str(refused).split())
        raise InputError(f"{path}: expected strokes, found {found:.200}") from None
    return [stroke * [1.0, -1.0 if down else 1.0] for stroke in points]


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        raise _Refused(f"no file: {error.strerror or error}") from None
    if len(raw) > _LARGEST:
        raise _Refused(f"more than {_LARGEST:,} bytes")
    return raw


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused(f"no UTF-8: {error.reason} at byte {error.start}") from None


def _checked(stroke: Sequence[Sequence[Any]], number: int) -> Points:
    """A stroke as an array [N, 2] of numbers that can be reckoned with."""
    if not isinstance(stroke, list) or not stroke:
        raise _Refused(f"{stroke!r:.60} for stroke {number}")
    for point in stroke:
        if (
            not isinstance(point, (list, tuple))
            or len(point) < 2
            or not all(type(value) in (int, float) for value in point[:2])
            or not all(abs(value) <= FARTHEST for value in point[:2])
        ):
            raise _Refused(f"{point!r:.60} for a point of stroke {number}")
    return np.array([point[:2] for point in stroke], float)


def _from_json(raw: bytes) -> tuple[list, bool]:
    try:
        found = json.loads(_text(raw))
    except (ValueError, RecursionError) as error:
        raise _Refused(f"no JSON: {error}") from None
    down = True
    if isinstance(found, dict):
        way = found.get("y", "down")
        if way not in ("down", "up"):
            raise _Refused(f'"y": {way!r:.60}, neither "up" nor "down"')
        found, down = found.get("strokes"), way == "down"
    if not isinstance(found, list):
        raise _Refused(f"{found!r:.60}")
    return found, down


def _from_csv(raw: bytes) -> tuple[list, bool]:
    columns = ["stroke", "x", "y"]
    try:
        table = read_numbers(_text(raw))
        if set(columns) - set(table.names):
            raise _Refused(f"the columns {[*table.names]}, not {columns}")
        points = table.numbers(["x", "y"])
    except csv.Error as error:
        raise _Refused(f"no table: {error}") from None
    except _Refused:
        raise
    except ValueError as error:
        raise _Refused(str(error)) from None
    strokes: list[list] = []
    last = None
    for row, point in zip(table.rows, points, strict=True):
        if strokes and row["stroke"] == last:
            strokes[-1].append(point)
        else:
            strokes.append([point])
        last = row["stroke"]
    return strokes, True


def _numbers(words: Sequence[str], where: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        raise _Refused(f"{words!r:.60} for a point in {where}") from None


def _from_inkml(raw: bytes) -> tuple[list, bool]:
    ink = _Ink()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = ink.start
    parser.EndElementHandler = ink.end
    parser.CharacterDataHandler = ink.characters
    parser.StartDoctypeDeclHandler = ink.doctype
    try:
        parser.Parse(raw, True)
    except _Refused:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # of an encoding too
        raise _Refused(f"no XML: {error}") from None
    return ink.strokes, ink.down


class _Ink:
    """What is heard of an InkML file while it is parsed.

    A document type is refused, and with it all entities: InkML needs none, and they
    are how a small file becomes a large one.
    """

    def __init__(self) -> None:
        self.strokes: list[list[list[float]]] = []
        self.down = True
        self._channels: list[str] = []
        self._trace: list[str] | None = None

    def doctype(self, *_: object) -> None:
        raise _Refused("a document type, which InkML does without")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.removeprefix(_NAMESPACE).strip()
        if element == "traceFormat":
            self._channels = []
        elif element == "channel":
            channel = attributes.get("name", "")
            self._channels.append(channel)
            if channel == "Y":
                self.down = attributes.get("orientation") != "-ve"
        elif element == "trace":
            self._trace = []

    def characters(self, text: str) -> None:
        if self._trace is not None:
            self._trace.append(text)

    def end(self, name: str) -> None:
        if self._trace is not None and name.removeprefix(_NAMESPACE).strip() == "trace":
            where = f"trace {len(self.strokes) + 1}"
            points = "".join(self._trace).strip().strip(",").split(",")
            self.strokes.append([self._point(point, where) for point in points])
            self._trace = None

    def _point(self, text: str, where: str) -> list[float]:
        words = text.split()
        places = [0, 1]
        if {"X", "Y"} <= set(self._channels):
            places = [self._channels.index("X"), self._channels.index("Y")]
        if len(words) <= max(places):
            raise _Refused(f"{text!r:.60} for a point in {where}")
        return _numbers([words[place] for place in places], where)


_READERS: dict[str, Callable[[bytes], tuple[list, bool]]] = {
    ".json": _from_json,
    ".csv": _from_csv,
    ".inkml": _from_inkml,
}
