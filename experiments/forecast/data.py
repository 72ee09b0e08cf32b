"""Series to forecast: what is known and what came after, their dates and covariates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax import InputError
from lstm_jax.config import Configuration
from lstm_jax.data import (
    SeriesSpec,
    SeriesTable,
    Step,
    TimeAxis,
    WindowSpec,
    check_window_spec,
    hold_out,
    read_series_table,
)

Series = dict[str, np.ndarray]
HOURLY = WindowSpec()  # M4's, and what is taken where nothing is known
_MOST_READ = 168


@dataclasses.dataclass(frozen=True)
class Scaling(Configuration):
    """What covariates are shifted by and divided by; by name, as training saw them.

    Attributes:
        names: of C covariates.
        means: of each.
        spreads: their standard deviations, 1 for one that never changes.
    """

    names: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Data:
    """Series to forecast.

    Attributes:
        known: the points up to now, by name.
        truth: those after, by name; none if nobody knows them.
        table: what they were read from; None for the competition's files.
    """

    known: Series
    truth: Series
    table: SeriesTable | None = None

    @property
    def axis(self) -> TimeAxis | None:
        """The dates of the table, if it has any."""
        return self.table.axis if self.table else None

    @property
    def step(self) -> Step | None:
        """From one date to the next."""
        return self.axis.step if self.axis else None

    @property
    def shortest(self) -> int:
        """Known points of the shortest series."""
        return min(map(len, self.known.values()))

    def places(self) -> list[int]:
        """The row of time in which what comes after each known part begins."""
        starts = self.table.starts if self.table else {}
        return [starts.get(name, 0) + len(part) for name, part in self.known.items()]

    def dates(self, points: int) -> list[list[str]] | None:
        """The dates of so many points after each known part."""
        axis = self.axis
        if axis is None:
            return None
        return [[axis.label(at + k) for k in range(points)] for at in self.places()]

    def scaling(self) -> Scaling:
        """Scale covariates by what was known of them, when something was known last."""
        if self.table is None or not self.table.covariates:
            return Scaling()
        last = max(self.places())
        found = [(points[:last]) for points in self.table.covariates.values()]
        means = tuple(float(np.nanmean(points)) for points in found)
        spreads = tuple(float(np.nanstd(points)) or 1.0 for points in found)
        return Scaling(tuple(self.table.covariates), means, spreads)

    def beside(self, scaling: Scaling) -> tuple[np.ndarray, ...] | None:
        """The covariates of each series, [T, C], as a model sees them.

        Raises:
            InputError: one has no point where a series has one.
        """
        if not scaling.names:
            return None
        assert self.table is not None
        columns = [self.table.covariates[name] for name in scaling.names]
        units = (np.stack(columns, axis=1) - scaling.means) / scaling.spreads
        found = []
        for name, points in self.table.series.items():
            start = self.table.starts[name]
            part = units[start : start + len(points)]
            if np.isnan(part).any():
                row, column = np.argwhere(np.isnan(part))[0].tolist()
                axis = self.axis
                where = axis.label(start + row) if axis else f"point {start + row + 1}"
                raise InputError(
                    f"--covariates: expected {scaling.names[column]} wherever {name} "
                    f"has a point, found none at {where}"
                )
            found.append(part)
        return tuple(found)


def read_own(path: Path, spec: SeriesSpec, held_out: int, times: int = 1) -> Data:
    """Read a user's table, say what it is, and hold out the last points.

    Args:
        path: of the table.
        spec: what is known of it.
        held_out: how many points.
        times: how often as many will be held out, each time from what is left.
    """
    table = read_series_table(path, spec, times * held_out)
    for note in table.notes:
        print(note)
    if spec.covariates:
        names = ", ".join(spec.covariates)
        print(f"covariates: {names}; known up to each forecast, and not after it")
    if not held_out:
        return Data(table.series, {}, table)
    known, truth = hold_out(table.series, held_out)
    return Data(known, truth, table)


def check_asked(asked: WindowSpec) -> None:
    """Refuse a window of which what was asked for makes no sense.

    Raises:
        InputError: naming the flag.
    """
    seasons = asked.seasons or (1,)
    reads = asked.reads or max(seasons)
    check_window_spec(dataclasses.replace(asked, seasons=seasons, reads=reads))


def choose_window(asked: WindowSpec, data: Data, horizons: int) -> WindowSpec:
    """Fill in what was not asked for: seasons by the step between dates, and reads.

    Args:
        asked: no seasons and 0 reads where they were not asked for.
        data: of the run.
        horizons: how many of them training needs after the context.

    Raises:
        InputError: it makes no sense, or a series is too short.
    """
    room = data.shortest - horizons * asked.horizon
    step = data.step
    seasons = asked.seasons
    if not seasons:
        usual = step.seasons() if step else HOURLY.seasons
        fitting = tuple(season for season in usual if 2 * season <= room)
        seasons = (fitting or (1,)) if step else usual
        because = f"for steps of {step}" if step else "for want of dates"
        print(f"seasons of {_listed(seasons)} points, {because}; --seasons says others")
        if step and seasons != usual:
            print(f"those of {_listed(usual)} need longer series")
    longest = max(seasons)
    reads = asked.reads
    if not reads:
        few = step is not None and not asked.seasons
        reads = min(_MOST_READ, 4 * longest, room // 3) if few else HOURLY.reads
        reads = max(longest, min(reads, room - longest))
    window = dataclasses.replace(asked, seasons=seasons, reads=reads)
    check_window_spec(window)
    needed = window.context + horizons * window.horizon
    for name, points in data.known.items():
        if len(points) < needed:
            raise InputError(
                f"series {name}: expected {needed} points or more, found {len(points)} "
                "(without those held out); --horizon, --seasons and --reads decide it"
            )
    return window


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
