"""Time series from CSV files, and forecasts to them."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lstm_jax.config import Configuration
from lstm_jax.data.dates import read_dates, read_index
from lstm_jax.data.series_layout import (
    Grid,
    Header,
    Layout,
    choose_layout,
    refuse_pairs,
    take_apart,
)
from lstm_jax.data.table_numbers import (
    DecimalSign,
    decimal_sign,
    is_missing,
    plain_numbers,
    quantity_of,
)
from lstm_jax.data.table_rows import Row, read_table
from lstm_jax.data.time_axis import TimeAxis
from lstm_jax.errors import InputError

Fill = Literal["none", "linear", "previous", "zero"]


@dataclasses.dataclass(frozen=True)
class SeriesSpec(Configuration):
    """Format of a table of series, where the file leaves it open."""

    target: tuple[str, ...] = ()
    """Names of the series to forecast. Default: all but the covariates."""
    covariates: tuple[str, ...] = ()
    """Names of series that are inputs only. They are read up to the last known point;
    no future values are needed."""
    fill: Fill = "none"
    """How to fill missing points and dates: by linear interpolation, with the previous
    point, or with zero. Default: refuse them. Points that forecasts are scored by may
    not be missing."""
    layout: Layout = "auto"
    """Whether each series is a row or a column of the table."""
    header: Header = "auto"
    """Whether the first row is a header."""
    decimal: DecimalSign = "auto"
    """Decimal separator, if the numbers leave it open: . or ,"""
    dates: str | None = None
    """Name of the date column, if there are several candidates."""
    date_format: str | None = None
    """Date format, if the dates are ambiguous: %d/%m/%Y or %m/%d/%Y."""


class Cells(NamedTuple):
    """Cells of a row or of a column, and where each stands: its line and its column."""

    texts: list[str]
    lines: list[int]
    columns: list[int]

    def where(self, k: int) -> str:
        """The place of the k-th, as a message says it."""
        return f"line {self.lines[k]}, column {self.columns[k]}"


@dataclasses.dataclass(frozen=True)
class SeriesTable:
    """Series that were read from a table.

    Attributes:
        series: by name, oldest point first.
        covariates: by name, likewise; each as long as the table, NaN where it has
            begun too late or ended too early.
        starts: in which row of time each series begins, counted from 0.
        length: how many rows of time the table has.
        axis: the dates of these; None if there are none.
        notes: what a user should know of how it was read.
    """

    series: dict[str, np.ndarray]
    covariates: dict[str, np.ndarray]
    starts: dict[str, int]
    length: int
    axis: TimeAxis | None
    notes: tuple[str, ...]

    def ends(self) -> dict[str, int]:
        """In which row of time what comes after each series begins."""
        return {
            name: self.starts[name] + len(self.series[name]) for name in self.series
        }


def read_series(path: Path, layout: Layout = "auto") -> dict[str, np.ndarray]:
    """The series of a CSV file by name, oldest point first, see `read_series_table`."""
    return read_series_table(path, SeriesSpec(layout=layout)).series


def read_series_table(
    path: Path, spec: SeriesSpec | None = None, held_out: int = 0
) -> SeriesTable:
    """Read a table of time series, in rows or in columns.

    Separators, encodings, decimal signs, headers, dates and the layout are found from
    what the table says as a whole. What it does not say is asked for by a flag. Series
    may begin late or end early. Nothing else is passed over: a gap, a cell that is no
    number, a row of another length or a date out of step is refused by line and
    column, or filled if `spec` says how.

    Args:
        path: the file.
        spec: what is known of it.
        held_out: points at the end of each series that forecasts are held against: none
            may be missing, and gaps before them are filled as if they were unknown.

    Raises:
        InputError: it can't be read, or not in one way only, or what is held out has a
            gap.
    """
    spec = spec or SeriesSpec()
    rows, separator = read_table(path, spec.decimal)
    if separator == "," and spec.decimal == spec.header == "auto":
        refuse_pairs(rows, path)
    known = {"header": spec.header, "dates": spec.dates, "layout": spec.layout}
    grid = take_apart(rows, separator, path, **known)
    layout = choose_layout(grid, spec.layout, path)
    named = _in_columns(grid, path) if layout == "columns" else _in_rows(grid)
    named = _wanted(_by_name(named, path), spec, path)
    axis, places = _time(_times(grid, layout), grid, layout, spec, path)
    decimal = spec.decimal
    if decimal == "auto":
        texts = {text for cells in named.values() for text in cells.texts}
        decimal = decimal_sign(texts, separator, path)
    reader = _Reader(path, decimal, spec.fill, places)
    found = {name: reader.read(name, row) for name, row in named.items()}
    covariates = {name: found.pop(name) for name in spec.covariates}
    origins = _origins(found, held_out, path)
    first = min(origins.values())  # covariates are read beside all series
    for name, points in {**found, **covariates}.items():
        reader.fill(name, points, origins.get(name, first))
    starts = {name: _first(points) for name, points in found.items()}
    length = max(map(len, found.values()))
    words = f"{path}: {len(found)} series in {layout}, up to {length} points"
    if axis:
        words += f", {axis.label(0)} to {axis.label(length - 1)}, {axis.step} apart"
    notes = [words, *(["decimal commas"] if decimal == "," else []), *reader.notes]
    if axis is None and layout == "columns" and grid.labels is not None:
        kind = "steps in time" if grid.index else "dates that can't be read, or names"
        notes.append(f"column {grid.labels + 1} is no series: {kind}")
    if axis or layout == "columns":
        notes += _ragged(found)
    series = {name: points[~np.isnan(points)] for name, points in found.items()}
    return SeriesTable(series, covariates, starts, length, axis, tuple(notes))


def write_forecasts(
    path: Path,
    names: Sequence[str],
    levels: Sequence[float],
    quantiles: np.ndarray,
    dates: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write forecasts as a table: series, step from 1 on, a column per quantile.

    Args:
        path: the file.
        names: of the N series.
        levels: of the quantiles, each from 0 to 1.
        quantiles: [N, horizon, Q].
        dates: of the steps of each series, [N, horizon], a column after the step.
    """
    dated = [] if dates is None else ["date"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = (f"q{level:g}" for level in levels)
        writer.writerow(["series", "step", *dated, *columns])
        for n, (name, steps) in enumerate(zip(names, quantiles, strict=True)):
            for k, values in enumerate(steps):
                date = [] if dates is None else [dates[n][k]]
                numbers = (f"{value:.6g}" for value in values)
                writer.writerow([name, k + 1, *date, *numbers])


def _in_columns(grid: Grid, path: Path) -> list[tuple[str, Cells]]:
    width = grid.width
    for row in grid.body:
        if not row.blank and len(row.cells) < width:
            raise InputError(
                f"{path}: line {row.line}: expected {width} cells, found "
                f"{len(row.cells)}"
            )
    above = grid.names_above(rows=False)
    names = [name if grid.header else str(n) for n, (_, name) in enumerate(above, 1)]
    return [(name, _column(grid, k)) for name, (k, _) in zip(names, above, strict=True)]


def _in_rows(grid: Grid) -> list[tuple[str, Cells]]:
    points = [k for k, _ in grid.names_above(rows=True)]
    rows = [row for row in grid.body if not row.blank]
    names = [
        str(n) if grid.labels is None else " ".join(grid.names(row))
        for n, row in enumerate(rows, 1)
    ]
    return [(name, _row(row, points)) for name, row in zip(names, rows, strict=True)]


def _column(grid: Grid, k: int) -> Cells:
    texts = [row.cells[k] if k < len(row.cells) else "" for row in grid.body]
    return Cells(texts, [row.line for row in grid.body], [k + 1] * len(texts))


def _row(row: Row, points: Sequence[int]) -> Cells:
    texts = [row.cells[k] if k < len(row.cells) else "" for k in points]
    return Cells(texts, [row.line] * len(texts), [k + 1 for k in points])


def _by_name(named: Sequence[tuple[str, Cells]], path: Path) -> dict[str, Cells]:
    """Series by name, which each has, and none has twice."""
    found: dict[str, Cells] = {}
    for name, cells in named:
        where = cells.where(0)
        if not name and not any(cells.texts):
            continue
        if not name:
            raise InputError(f"{path}: {where}: expected a name of the series")
        if name in found:
            raise InputError(
                f"{path}: {where}: expected series with different names, found "
                f"{name!r:.60} again"
            )
        found[name] = cells
    return found


def _wanted(
    named: Mapping[str, Cells], spec: SeriesSpec, path: Path
) -> dict[str, Cells]:
    """The series to be forecast, and then the covariates."""
    for flag, names in (("target", spec.target), ("covariates", spec.covariates)):
        for name in names:
            if name not in named:
                known = ", ".join(list(named)[:20])
                raise InputError(
                    f"--{flag}: expected a series of {path} ({known}), found {name}"
                )
    rest = [name for name in named if name not in spec.covariates]
    target = spec.target or rest
    if not target or set(target) & set(spec.covariates):
        raise InputError(
            f"--covariates: expected other series than those to be forecast, found "
            f"{', '.join(spec.covariates)}"
        )
    return {name: named[name] for name in (*target, *spec.covariates)}


def _times(grid: Grid, layout: Layout) -> Cells | None:
    """The cells that may be dates, one for each row of time."""
    if layout == "columns":
        return None if grid.labels is None else _column(grid, grid.labels)
    if grid.header is None:
        return None
    return _row(grid.header, [k for k, _ in grid.names_above(rows=True)])


def _time(
    cells: Cells | None, grid: Grid, layout: Layout, spec: SeriesSpec, path: Path
) -> tuple[TimeAxis | None, list[int]]:
    """The dates of a table, and the places of its rows in time, where it has them."""
    if cells is None:
        if spec.date_format:
            raise InputError(f"--date-format: expected dates in {path}, found none")
        return None, []
    labels = cells.texts
    lines = [f"{path}: {cells.where(k)}" for k in range(len(labels))]
    found, axis = None, None
    if layout == "columns" and grid.index:
        found = read_index(labels, lines)
    elif dated := read_dates(labels, lines, spec.date_format):
        axis, found = dated
    elif spec.dates:
        raise InputError(
            f"--dates: expected dates, found {labels[0]!r:.40} in {lines[0]}"
        )
    if found is None:
        return None, []
    wrong = next((k for k, place in enumerate(found) if place != k), None)
    if wrong is not None and spec.fill == "none":
        step = f"{axis.step} after" if axis else "the next one after"
        raise InputError(
            f"{lines[wrong]}: expected {step} {labels[wrong - 1]}, found "
            f"{labels[wrong]}; --fill fills gaps"
        )
    return axis, found


class _Reader:
    """Reads the points of series, and remembers what there is to say about them."""

    def __init__(
        self, path: Path, decimal: str, fill: Fill, places: Sequence[int]
    ) -> None:
        self._path, self._decimal, self._fill = path, decimal, fill
        self._places = places
        self.notes: list[str] = []

    def read(self, name: str, cells: Cells) -> np.ndarray:
        """The points of a series; NaN where there are none."""
        there = [k for k, text in enumerate(cells.texts) if not is_missing(text)]
        if not there:
            raise InputError(
                f"{self._path}: series {name}: expected numbers, found none"
            )
        if self._fill == "none":
            gap = next((k for k, at in enumerate(there, there[0]) if k != at), None)
            if gap is not None:
                refused = self._refused(cells, gap, name, "a number")
                hint = "--fill linear, previous or zero fills gaps"
                raise InputError(f"{refused}; {hint}")
        texts = [cells.texts[k] for k in there]
        numbers = plain_numbers(texts) if self._decimal == "." else None
        if numbers is None:
            numbers = self._quantities(name, cells, there)
        values = np.full(len(cells.texts), np.nan)
        values[there] = numbers
        if not self._places:
            return values
        points = np.full(self._places[-1] + 1, np.nan)
        points[self._places] = values
        return points

    def fill(self, name: str, points: np.ndarray, origin: int) -> None:
        """Fill the gaps of a series in place.

        A line to a point from the origin on is level instead, for it isn't known yet.
        """
        there, gaps = np.flatnonzero(~np.isnan(points)), _gaps(points)
        if not gaps.size:
            return
        after = np.searchsorted(there, gaps)
        before = points[there[after - 1]]
        line = np.interp(gaps, there, points[there])
        points[gaps] = {
            "linear": np.where(there[after] < origin, line, before),
            "previous": before,
            "zero": np.zeros(len(gaps)),
        }[self._fill]
        self.notes.append(f"{name}: {len(gaps)} missing points filled, {self._fill}")

    def _quantities(self, name: str, cells: Cells, there: Sequence[int]) -> list[float]:
        """Numbers as people write them, all in one unit."""
        values, unit = [], None
        for k in there:
            found = quantity_of(cells.texts[k], self._decimal)
            if found is None:
                comma = " with a decimal comma" if self._decimal == "," else ""
                raise self._refused(cells, k, name, f"a number{comma}")
            if unit not in (None, found.unit):
                first = f"{cells.where(there[0])}, {cells.texts[there[0]]}"
                raise self._refused(cells, k, name, f"a number in the unit of {first}")
            unit = found.unit
            values.append(found.value)
        if unit:
            self.notes.append(f"{name}: numbers in {unit}")
        return values

    def _refused(self, cells: Cells, k: int, name: str, expected: str) -> InputError:
        found = repr(cells.texts[k])[:40] if cells.texts[k] else "none"
        return InputError(
            f"{self._path}: {cells.where(k)}, series {name}: expected {expected}, "
            f"found {found}"
        )


def _first(points: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isnan(points))[0])


def _gaps(points: np.ndarray) -> np.ndarray:
    """The places between the first and the last point where there is none."""
    there = np.flatnonzero(~np.isnan(points))
    inside = np.arange(there[0], there[-1])
    return inside[np.isnan(points[inside])]


def _origins(
    series: Mapping[str, np.ndarray], held_out: int, path: Path
) -> dict[str, int]:
    """Where what is held out of each series begins.

    Raises:
        InputError: it has a gap: no forecast is held against what a gap is filled with.
    """
    origins = {}
    for name, points in series.items():
        end = len(points) - _first(points[::-1])
        origins[name] = end - held_out
        gaps = _gaps(points)
        if gaps.size and gaps[-1] >= origins[name]:
            raise InputError(
                f"{path}: series {name}: expected no gap in the last {held_out} points"
                f", which are held out, found one; the last {end - 1 - gaps[-1]} have "
                "none"
            )
    return origins


def _ragged(series: Mapping[str, np.ndarray]) -> list[str]:
    """Say which series begin later or end earlier than the table."""
    notes = []
    for words, order in (("begin late", 1), ("end early", -1)):
        away = {name: _first(points[::order]) for name, points in series.items()}
        names = [f"{name} by {count}" for name, count in away.items() if count]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            notes.append(f"these {words}: {', '.join(names[:5])}{more}")
    return notes
