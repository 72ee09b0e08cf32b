"""How good forecasts are, as the M4 competition counts. NumPy only.

Makridakis, Spiliotis and Assimakopoulos (2020), "The M4 Competition: 100,000 time
series and 61 forecasting methods", International Journal of Forecasting 36(1). Every
score is taken of a series first, then averaged over the series.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class PointScores:
    """Of point forecasts, [N] each: sMAPE in percent, and MASE.

    A series that repeats itself exactly gives MASE no scale: its own is NaN, and means
    leave it out.
    """

    smape: np.ndarray
    mase: np.ndarray

    def means(self) -> tuple[float, float]:
        """Mean sMAPE and mean MASE."""
        return float(np.mean(self.smape)), float(np.nanmean(self.mase))

    def owa(self, yardstick: tuple[float, float]) -> float:
        """Overall weighted average: the means as shares of a yardstick's, averaged.

        M4's yardstick is what Naive2 reached.
        """
        ours = zip(self.means(), yardstick, strict=True)
        return sum(mean / theirs for mean, theirs in ours) / 2

    def described(self, yardstick: tuple[float, float]) -> str:
        """OWA, and in brackets what it consists of."""
        smape, mase = self.means()
        return f"{self.owa(yardstick):.4f} (sMAPE {smape:.3f}, MASE {mase:.3f})"


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
    scales = np.array([seasonal_change(points, season) for points in known])
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


def seasonal_change(points: np.ndarray, season: int) -> float:
    """The scale of MASE: mean |y_t - y_(t-m)| of the training part; NaN if it is 0."""
    return float(np.mean(np.abs(points[season:] - points[:-season]))) or math.nan


@dataclasses.dataclass(frozen=True)
class IntervalScores:
    """Of intervals: the share of points inside, and the mean scaled interval score."""

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
        costs.append(cost / seasonal_change(points, season))
    return IntervalScores(float(np.mean(inside)), float(np.nanmean(costs)))
