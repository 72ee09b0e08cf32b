"""How good forecasts are, as the M4 competition counts. NumPy only.

Makridakis, Spiliotis and Assimakopoulos (2020), "The M4 Competition: 100,000 time
series and 61 forecasting methods", International Journal of Forecasting 36(1). Every
score is taken of a series first, then averaged over the series.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from lstm_jax.data import seasonal_change

_LEAST = 1e-6  # below it a share of the yardstick is no longer a weight


@dataclasses.dataclass(frozen=True)
class PointScores:
    """Of point forecasts, [N] each: sMAPE in percent, and MASE.

    A series that repeats itself exactly gives MASE no scale: its own is NaN, and means
    leave it out.
    """

    smape: np.ndarray
    mase: np.ndarray

    def means(self) -> tuple[float, float]:
        """Mean sMAPE and mean MASE; NaN if no series has a MASE."""
        known = self.mase[~np.isnan(self.mase)]
        mase = float(np.nanmean(self.mase)) if known.size else math.nan
        return float(np.mean(self.smape)), mase

    def owa(self, yardstick: tuple[float, float]) -> float | None:
        """Overall weighted average: the means as shares of a yardstick's, averaged.

        M4's yardstick is what Naive2 reached. None if it is no yardstick, see `reason`.
        """
        if reason(yardstick):
            return None
        ours = zip(self.means(), yardstick, strict=True)
        return sum(mean / theirs for mean, theirs in ours) / 2

    def described(self, yardstick: tuple[float, float]) -> str:
        """OWA, and in brackets what it consists of; where there is none, why."""
        smape, mase = self.means()
        owa, why = self.owa(yardstick), reason(yardstick)
        return (
            f"{worded(owa, 4)} (sMAPE {smape:.3f}, MASE {worded(mase, 3)}"
            f"{f'; {why}' if why else ''})"
        )


def worded(number: float | None, digits: int) -> str:
    """A number in words: — where there is none."""
    missing = number is None or not math.isfinite(number)
    return "—" if missing else f"{number:.{digits}f}"


def reason(yardstick: tuple[float, float]) -> str | None:
    """Why there is no OWA by a yardstick, Naive2's sMAPE and MASE; None if there is."""
    smape, mase = yardstick
    if math.isnan(mase):
        return "MASE has no scale, every series repeats itself exactly"
    if smape <= 0 or mase <= 0:
        return "OWA has no yardstick, Naive2 makes no error"
    return None


def weights_of(yardstick: tuple[float, float]) -> tuple[float, float]:
    """The yardstick that errors are weighed by while training.

    Where Naive2 makes no error, or MASE has no scale, what is usual stands for it.
    """
    usual = (10.0, 1.0)  # percent, and seasonal changes
    pairs = zip(yardstick, usual, strict=True)
    smape, mase = (mine if mine > _LEAST else other for mine, other in pairs)
    return smape, mase


def score_points(
    forecasts: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    known: Iterable[np.ndarray],
    season: int,
) -> PointScores:
    """Score point forecasts.

    Args:
        forecasts: N series of as many points as the truths.
        truths: what came.
        known: the training parts, of which MASE takes its scale.
        season: m of MASE.
    """
    pairs = list(zip(forecasts, truths, strict=True))
    errors = [np.abs(truth - forecast).mean() for forecast, truth in pairs]
    scales = np.array([mase_scale(points, season) for points in known])
    return PointScores(
        smape=np.array([smape(*pair) for pair in pairs]), mase=errors / scales
    )


def smape(forecast: np.ndarray, truth: np.ndarray) -> float:
    """The symmetric mean absolute percentage error, from 0 to 200.

    200 |y - ŷ| / (|y| + |ŷ|) on average; 0 where both are 0.
    """
    size = np.abs(truth) + np.abs(forecast)
    error = np.abs(truth - forecast)
    return float(200 * np.mean(error / np.where(size > 0, size, 1)))


def mase_scale(points: np.ndarray, season: int) -> float:
    """The mean seasonal change of the training part; NaN if there is none."""
    return seasonal_change(points, season) or math.nan


@dataclasses.dataclass(frozen=True)
class IntervalScores:
    """Of intervals: the share of points inside, and the mean scaled interval score.

    The latter is NaN if no series has a scale.
    """

    coverage: float
    msis: float


def score_intervals(
    lower: Iterable[np.ndarray],
    upper: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    known: Iterable[np.ndarray],
    season: int,
    share: float = 0.95,
) -> IntervalScores:
    """Score intervals that ought to hold a share of the points.

    MSIS is the width plus 2 / (1 - share) times how far points lie outside, on average,
    over the scale of MASE (Gneiting and Raftery 2007; M4's competitors' guide).
    """
    inside, costs = [], []
    for low, high, truth, points in zip(lower, upper, truths, known, strict=True):
        inside.append(np.mean((low <= truth) & (truth <= high)))
        outside = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        cost = np.mean(high - low + 2 / (1 - share) * outside)
        costs.append(cost / mase_scale(points, season))
    msis = float(np.nanmean(costs)) if not np.isnan(costs).all() else math.nan
    return IntervalScores(float(np.mean(inside)), msis)
