"""Time series as numbers of about the same size, and windows of them. NumPy only.

    context                                    horizon
    ┌───────────────────────────────────────┐  ┌───────┐
    ... the past that a forecast looks at ...  | its future
                                           end ┘

`end` is the number of points that are known: the forecast begins at points[end].
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lstm_jax.config import Configuration, OneOrMore, check_bounds
from lstm_jax.errors import InputError

_ROUNDING = 1e-12  # of a float64, relative, after some arithmetic
Named = Mapping[str, np.ndarray]  # series by name, float64, oldest point first


@dataclasses.dataclass(frozen=True)
class WindowSpec(Configuration):
    """Input window and horizon of a forecast, in points."""

    horizon: OneOrMore = 48
    """Forecast horizon: points to forecast at once."""
    seasons: tuple[int, ...] = (24, 168)
    """Seasonal periods in points, shortest first. Default: what the dates of a file
    suggest, otherwise 24 and 168, a day and a week of hours."""
    reads: int = 168
    """Past points that the network reads. Default: 168, or fewer if the seasons or the
    series are short."""

    @property
    def context(self) -> int:
        """Points needed before a forecast: those read, and each a season earlier."""
        return self.reads + self.seasons[-1]


def check_window_spec(window: WindowSpec) -> WindowSpec:
    """The frame itself.

    Raises:
        InputError: it makes no sense.
    """
    check_bounds(window)
    seasons = window.seasons
    if not seasons or seasons[0] < 1 or list(seasons) != sorted(set(seasons)):
        raise InputError(f"--seasons: expected rising numbers from 1, found {seasons}")
    if window.reads < seasons[-1]:
        raise InputError(
            f"--reads: expected the longest season, {seasons[-1]}, or more, "
            f"found {window.reads}"
        )
    return window


def need_points(series: Named, count: int) -> None:
    """Refuse series that are too short.

    Raises:
        InputError: one has less than `count` points.
    """
    for name, points in series.items():
        if len(points) < count:
            raise InputError(
                f"series {name}: expected {count} points or more, found {len(points)}"
            )


def hold_out(
    series: Named, count: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Cut off the last points of every series: what is known, and what came after.

    Raises:
        InputError: a series has no more points than these.
    """
    need_points(series, count + 1)
    known = {name: points[:-count] for name, points in series.items()}
    return known, {name: points[-count:] for name, points in series.items()}


@dataclasses.dataclass(frozen=True)
class Panel:
    """Many series, each scaled by what was known of it when it was scaled.

    Attributes:
        values: the series, or their logarithms if `log`.
        scale: [N], what is one unit of a series: see `scale_series`.
        change: [N], the same of the series themselves, the scale of MASE.
        known: [N], how many points the scale was taken from.
        log: whether to work with logarithms, where a change is a share.
        beside: the covariates of each series, [T, C], as a model sees them; they reach
            at least as far as it does.
    """

    values: tuple[np.ndarray, ...]
    scale: np.ndarray
    change: np.ndarray
    known: np.ndarray
    log: bool
    beside: tuple[np.ndarray, ...] | None = None

    def windows(
        self, rows: np.ndarray, ends: np.ndarray, window: WindowSpec
    ) -> tuple[np.ndarray, np.ndarray]:
        """The past of each (series, end), as a model sees it, and its level.

        Args:
            rows: [B], which series.
            ends: [B], how many of its points are known.
            window: how many of them are looked at.

        Returns:
            (value - level) / scale, [B, context] in float32, and the level [B]: the
            mean over the last and longest season.
        """
        size = window.context
        pairs = zip(rows, ends, strict=True)
        past = np.stack([self.values[row][end - size : end] for row, end in pairs])
        level = past[:, -window.seasons[-1] :].mean(axis=1)
        units = (past - level[:, None]) / self.scale[rows][:, None]
        return units.astype(np.float32), level

    def covariates(
        self, rows: np.ndarray, ends: np.ndarray, reads: int
    ) -> np.ndarray | None:
        """What stood beside the points that are read, [B, reads, C]; None if nothing.

        Nothing that comes after the end of a window is in it.
        """
        if self.beside is None:
            return None
        pairs = zip(rows, ends, strict=True)
        beside = [self.beside[row][end - reads : end] for row, end in pairs]
        return np.stack(beside).astype(np.float32)

    def futures(
        self, rows: np.ndarray, ends: np.ndarray, level: np.ndarray, horizon: int
    ) -> np.ndarray:
        """What came after, in the units of the window before it, [B, horizon]."""
        pairs = zip(rows, ends, strict=True)
        after = np.stack([self.values[row][end : end + horizon] for row, end in pairs])
        units = (after - level[:, None]) / self.scale[rows][:, None]
        return units.astype(np.float32)

    def importance(
        self, rows: np.ndarray, level: np.ndarray, yardstick: tuple[float, float]
    ) -> np.ndarray:
        """What an error of one unit adds to OWA, [B], to first order.

        sMAPE is 100 times an error's share of the level. So the pinball loss can weigh
        windows as the competition weighs their errors.

        Args:
            rows: [B], the series of each window.
            level: [B], of each window.
            yardstick: sMAPE and MASE that OWA divides by.
        """
        unit = self.scale[rows]
        # A series around 0 has no relative error; one unit stands in for its level.
        size = np.exp(level) if self.log else np.maximum(np.abs(level), unit)
        share, error = (unit, unit * size) if self.log else (unit / size, unit)
        smape, mase = 100 * share, error / self.change[rows]
        return ((smape / yardstick[0] + mase / yardstick[1]) / 2).astype(np.float32)

    def restore(
        self, units: np.ndarray, rows: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """From the units of a model, [B, horizon, Q], to those of the series."""
        values = units * self.scale[rows][:, None, None] + level[:, None, None]
        return np.exp(values) if self.log else values

    def extended(self, more: Named) -> "Panel":
        """The same series with points added at their ends; the scale stays."""
        added = _transformed(more, self.log)
        pairs = zip(self.values, added, strict=True)
        longer = tuple(np.concatenate(pair) for pair in pairs)
        return dataclasses.replace(self, values=longer)


def scale_series(
    series: Named,
    window: WindowSpec,
    log: bool,
    beside: tuple[np.ndarray, ...] | None = None,
) -> Panel:
    """Scale every series by its mean absolute change from one season to the next.

    The shortest season counts. That is how far the seasonal naive forecast errs on
    average, so errors in these units are those of MASE (of the logarithm, if `log`).

    Args:
        series: N of them.
        window: says what the seasons are.
        log: whether to take their logarithms.
        beside: their covariates, see `Panel`.
    """
    values, season = _transformed(series, log), window.seasons[0]
    scale = np.array([_unit(points, season) for points in values])
    change = np.array([_unit(points, season) for points in series.values()])
    known = np.array([len(points) for points in values])
    return Panel(values, scale, change, known, log, beside)


def all_positive(series: Named) -> bool:
    """Whether every point of every series has a logarithm."""
    return all(points.min() > 0 for points in series.values())


def _transformed(series: Named, log: bool) -> tuple[np.ndarray, ...]:
    if not log:
        return tuple(series.values())
    for name, points in series.items():
        if points.min() <= 0:
            raise InputError(
                f"series {name}: expected numbers above 0, as in training, "
                f"found {points.min():g}"
            )
    return tuple(np.log(points) for points in series.values())


def seasonal_change(points: np.ndarray, season: int) -> float:
    """The mean of |y_t - y_(t-m)|, the scale of MASE; 0 for what is mere rounding."""
    change = float(np.mean(np.abs(points[season:] - points[:-season])))
    return change if change > _ROUNDING * float(np.abs(points).max()) else 0.0


def _unit(points: np.ndarray, season: int) -> float:
    """Of a series that repeats itself exactly, or never moves, too."""
    spread = float(np.std(points))
    known = spread > _ROUNDING * float(np.abs(points).max())
    return seasonal_change(points, season) or (spread if known else 1.0)
