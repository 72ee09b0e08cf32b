"""Time series with labelled windows: files, zips and streams to arrays. NumPy only.

A benchmark is laid out as NAB is: `data/GROUP/NAME.csv` of timestamps and values, and
`labels/combined_windows.json`, the first and the last timestamp of every window.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import lzma
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.lines import points_of, seconds_of
from experiments.results import DataFile
from lstm_jax import InputError

LABELS = "labels/combined_windows.json"
PROBATION, LONGEST_PROBATION = 0.15, 750  # NAB's: points that are not scored
_UNREADABLE = (
    *(OSError, EOFError, RuntimeError),  # the last: encrypted, or packed in a new way
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
Window = tuple[int, int]  # first and last point
Contents = dict[str, bytes]


@dataclasses.dataclass(frozen=True)
class Series:
    """One time series.

    Attributes:
        name: GROUP/NAME, or what its file is called.
        seconds: [N], the time of every point since 1970.
        values: [N].
        windows: where something is wrong, by the labels; none if there are none.
    """

    name: str
    seconds: NDArray[np.float64]
    values: NDArray[np.float64]
    windows: tuple[Window, ...] = ()

    @property
    def group(self) -> str:
        """The folder it is in; empty if there is none."""
        return self.name.rpartition("/")[0]

    @property
    def probation(self) -> int:
        """How many leading points are learned from and not scored."""
        return probation_of(len(self.values))

    def leading(self) -> Series:
        """The part that is learned from; it has no labels."""
        known = slice(self.probation)
        return Series(self.name, self.seconds[known], self.values[known])


def probation_of(points: int) -> int:
    """How many leading points of a series NAB does not score."""
    return min(math.floor(PROBATION * points), LONGEST_PROBATION)


def read_benchmark(path: Path) -> list[Series]:
    """Read all series of a zip or a folder, and the windows of each, by name.

    Raises:
        InputError: it is no zip and no folder, or not laid out as NAB is.
    """
    contents = _contents(path)
    labels = _windows(contents.pop(LABELS, None), path)
    found = []
    for name, content in sorted(contents.items()):
        short = name.removeprefix("data/")
        if short not in labels:
            raise InputError(f"{path}: expected windows of {short} in {LABELS}")
        seconds, values = read_points(content.split(b"\n"), name)
        windows = _positions(labels[short], seconds, name)
        found.append(Series(short[: -len(".csv")], seconds, values, windows))
    if not found:
        raise InputError(f"{path}: expected data/GROUP/NAME.csv, found none")
    return found


def describe_benchmark(path: Path) -> DataFile:
    """All files of a benchmark as one: packed or not, its checksum is the same.

    It is that of a line for each, in the order of their names, as sha256sum writes it.
    """
    contents = _contents(path)
    sums = {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()}
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    size = sum(map(len, contents.values()))
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return DataFile(f"{path.name}, {len(sums) - 1} series", size, digest)


def read_points(
    lines: Iterable[bytes], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the times and the values of a whole table, see `points_of`.

    Raises:
        InputError: naming the line, or there is none.
    """
    points = [(point.seconds, point.value) for point in points_of(lines, name)]
    if not points:
        raise InputError(f"{name}: expected a point, found none")
    seconds, values = np.array(points).T
    return seconds, values


def _contents(path: Path) -> Contents:
    """The files of a benchmark by their names inside of it."""
    try:
        if path.is_dir():
            files = {str(p.relative_to(path)): p for p in path.rglob("*")}
            return {n: p.read_bytes() for n, p in files.items() if _belongs(n)}
        with zipfile.ZipFile(path) as packed:
            return {n: packed.read(n) for n in packed.namelist() if _belongs(n)}
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: expected a folder or a zip with data/ and labels/, "
            f"found: {reason}"
        ) from None


def _belongs(name: str) -> bool:
    in_data = name.startswith("data/") and name.lower().endswith(".csv")
    return name == LABELS or in_data


def _windows(content: bytes | None, path: Path) -> Mapping[str, object]:
    try:
        labels = json.loads(content or b"")
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict):
        raise InputError(f"{path}: expected windows by file in {LABELS}, found none")
    return labels


def _positions(
    windows: object, seconds: NDArray[np.float64], name: str
) -> tuple[Window, ...]:
    """Windows of times as windows of points."""
    try:
        assert isinstance(windows, list)
        ends = [tuple(seconds_of(time[:19]) for time in window) for window in windows]
        found = [tuple(int(np.flatnonzero(seconds == s)[0]) for s in e) for e in ends]
        pairs = [(first, last) for first, last in found]
        assert all(first <= last for first, last in pairs)
    except (AssertionError, IndexError, TypeError, ValueError):
        raise InputError(
            f"{LABELS}: expected pairs of times of {name}, found {windows!r:.80}"
        ) from None
    return tuple(sorted(pairs))
