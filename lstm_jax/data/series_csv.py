"""Time series from CSV files, and forecasts to them."""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lstm_jax.errors import InputError

Layout = Literal["auto", "rows", "columns"]


def read_series(path: Path, layout: Layout = "auto") -> dict[str, np.ndarray]:
    """The series of a CSV file by name, oldest point first.

    A series is a row, its name in front as in the M4 files, or a column under its name.
    A first line of names and a first column of names or dates are told by not being
    numbers. Series may begin late or end early, but have no gaps.

    Args:
        path: the file.
        layout: whether series are rows or columns; `auto` takes the longer side of the
            table for time.

    Raises:
        InputError: it cannot be read, or something in it is no number.
    """
    lines = _cells(path)
    names = lines.pop(0) if not all(map(_is_number, lines[0][1:] or lines[0])) else None
    labels = [line[0] for line in lines] if _begin_with_labels(lines) else None
    if labels:
        lines = [line[1:] for line in lines]
        names = names[1:] if names else None
    width = max(map(len, lines), default=0)
    if layout == "rows" or (layout == "auto" and width > len(lines)):
        table, names = lines, labels
    else:
        table = list(itertools.zip_longest(*lines, fillvalue=""))
    if not names:
        names = [str(k + 1) for k in range(len(table))]
    if not table or len(set(names)) != len(table):
        raise InputError(
            f"{path}: expected series with different names, found {names[:9]}"
        )
    pairs = zip(names, table, strict=True)
    return {name: _numbers(path, name, cells) for name, cells in pairs}


def write_forecasts(
    path: Path, names: Sequence[str], levels: Sequence[float], quantiles: np.ndarray
) -> None:
    """Write forecasts as a table: series, step from 1 on, a column per quantile.

    Args:
        path: the file.
        names: of the N series.
        levels: of the quantiles, each from 0 to 1.
        quantiles: [N, horizon, Q].
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "step", *(f"q{level:g}" for level in levels)])
        for name, steps in zip(names, quantiles, strict=True):
            for step, values in enumerate(steps, 1):
                writer.writerow([name, step, *(f"{value:.6g}" for value in values)])


def _cells(path: Path) -> list[list[str]]:
    """The lines of the file that are not empty, cell by cell."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except OSError as error:
        raise InputError(
            f"{path}: expected a CSV file, found: {error.strerror}"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file, found: {error}") from None
    lines = [line for line in lines if any(line)]
    if not lines:
        raise InputError(f"{path}: expected a CSV file, found nothing in it")
    return lines


def _is_number(cell: str) -> bool:
    """Whether a cell may stand among numbers; an empty one may."""
    try:
        return math.isfinite(float(cell or 0))
    except ValueError:
        return False


def _begin_with_labels(lines: Sequence[Sequence[str]]) -> bool:
    """Whether the first of several columns is no series."""
    several = max(map(len, lines), default=0) > 1
    return several and not all(_is_number(line[0]) for line in lines)


def _numbers(path: Path, name: str, cells: Sequence[str]) -> np.ndarray:
    """The points of a series without the empty cells before and after it."""
    there = [k for k, cell in enumerate(cells) if cell]
    first, last = (there[0], there[-1]) if there else (0, -1)
    for k in range(first, last + 1):
        if not cells[k] or not _is_number(cells[k]):
            raise InputError(
                f"{path}: series {name}, point {k + 1}: "
                f"expected a number, found {cells[k]!r}"
            )
    if not there:
        raise InputError(f"{path}: series {name}: expected numbers, found none")
    return np.array([float(cell) for cell in cells[first : last + 1]])
