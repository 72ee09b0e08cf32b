"""Forecasts that need no learning: what a model has to beat."""

import math
from collections.abc import Callable

import numpy as np

from experiments.forecast.metrics import PointScores, score_points
from lstm_jax.data import Named

Method = Callable[[np.ndarray, int, int], np.ndarray]  # points, horizon, season


def seasonal_naive(points: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The last season again and again, [horizon]."""
    return np.resize(points[-season:], horizon)


def rolling_baseline(
    method: Method, known: np.ndarray, truth: np.ndarray, stride: int, season: int
) -> np.ndarray:
    """Forecasts of all of the truth, [F], each origin `stride` points after the last.

    At each origin the truth before it is known too. A stride of 1 is one step ahead.
    """
    points = np.concatenate([known, truth])
    origins = range(len(known), len(points), stride)
    parts = [method(points[:origin], stride, season) for origin in origins]
    return np.concatenate(parts)[: len(truth)]


def naive2(points: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """M4's yardstick: the last point, after a seasonal adjustment if that is in order.

    The series is divided by seasonal indices, its last value carried on, and multiplied
    by them again. The indices are those of the classical multiplicative decomposition,
    and 1 if the series shows no season (`is_seasonal`) or has no logarithm. Makridakis
    et al. 2020, "The M4 Competition", appendix A.
    """
    indices = np.ones(season)
    if season > 1 and points.min() > 0 and is_seasonal(points, season):
        indices = seasonal_indices(points, season)
    last = points[-1] / indices[(len(points) - 1) % season]
    return last * indices[(len(points) + np.arange(horizon)) % season]


def baseline_scores(
    known: Named, truth: Named, stride: int, season: int
) -> dict[str, PointScores]:
    """How Naive2 and the seasonal naive forecast do from rolling origins, by name."""
    pasts, futures = known.values(), truth.values()
    return {
        name: score_points(
            [
                rolling_baseline(method, *pair, stride, season)
                for pair in zip(pasts, futures, strict=True)
            ],
            futures,
            pasts,
            season,
        )
        for name, method in (("Naive2", naive2), ("seasonal naive", seasonal_naive))
    }


def is_seasonal(points: np.ndarray, season: int) -> bool:
    """Whether the autocorrelation at the season differs from 0, at a level of 90 %.

    Its standard error is Bartlett's: √((1 + 2 Σ r_k²) / n), k from 1 to season - 1.
    """
    if len(points) < 3 * season:
        return False
    around = points - points.mean()
    total = around @ around
    if not total:
        return False
    r = [around[k:] @ around[:-k] / total for k in range(1, season + 1)]
    error = math.sqrt((1 + 2 * sum(x * x for x in r[:-1])) / len(points))
    return bool(abs(r[-1]) > 1.645 * error)


def seasonal_indices(points: np.ndarray, season: int) -> np.ndarray:
    """Indices [season] of the classical multiplicative decomposition; their mean is 1.

    The trend is a centred moving average over one season, whose two ends count half if
    the season is even. Index k is the mean of points / trend over all points n with
    n % season = k.
    """
    weights = np.ones(season)
    if season % 2 == 0:
        weights = np.r_[0.5, np.ones(season - 1), 0.5]
    trend = np.convolve(points, weights / season, mode="valid")
    first = len(weights) // 2
    phases = (first + np.arange(len(trend))) % season
    ratios = points[first : first + len(trend)] / trend
    indices = np.array([ratios[phases == k].mean() for k in range(season)])
    return indices / indices.mean()
