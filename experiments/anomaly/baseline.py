"""What a network must beat: a sliding Gaussian, and an autoregression of each series.

The windowed Gaussian is NAB's own baseline, whose window of 6,400 points "is tuned to
give best performance on NAB"; its published score is 39.6.
"""

import math

import numpy as np
from numpy.typing import NDArray

_WINDOW, _STEP = 6400, 100  # NAB's
_ORDER = 10


def windowed_gaussian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - Q(|x - mean| / s.d.) of every point, over the points before it.

    Q is the upper tail of the normal distribution. From 6,400 points on the window
    moves in steps of 100, as NAB's does.

    Args:
        values: [N].

    Returns:
        [N], each from 0.5 to 1; 0 at the first point.
    """
    z = np.zeros(len(values))
    count, mean, squares = 0, 0.0, 0.0
    for k, value in enumerate(values[:_WINDOW].tolist()):
        z[k] = abs(value - mean) / _deviation(squares / max(count, 1))
        count += 1  # Welford: stable where a difference of sums is not
        change = value - mean
        mean += change / count
        squares += change * (value - mean)
    for start in range(0, len(values) - _WINDOW, _STEP):
        window = values[start : start + _WINDOW]
        new = slice(start + _WINDOW, start + _WINDOW + _STEP)
        z[new] = np.abs(values[new] - window.mean()) / _deviation(window.var())
    tails = np.array([0.5 * math.erfc(each / math.sqrt(2)) for each in z.tolist()])
    scores = 1 - tails
    scores[:1] = 0.0
    return scores


def _deviation(variance: float) -> float:
    return math.sqrt(variance) or 1e-6


def autoregression_errors(
    values: NDArray[np.float64], known: int
) -> NDArray[np.float64]:
    """|x_t - forecast| of every point, in standard deviations of the known ones.

    The forecast is linear in the 10 points before, AR(10), fitted by least squares to
    the leading points.

    Args:
        values: [N].
        known: how many of them are learned from.

    Returns:
        [N], 0 for the first 10.
    """
    errors = np.zeros(len(values))
    if known < 2 * _ORDER + 2:
        return errors
    center, unit = values[:known].mean(), values[:known].std() or 1.0
    scaled = (values - center) / unit
    past = np.lib.stride_tricks.sliding_window_view(scaled[:-1], _ORDER)
    terms = np.column_stack([np.ones(len(past)), past])
    future, fitted = scaled[_ORDER:], known - _ORDER
    weights = np.linalg.lstsq(terms[:fitted], future[:fitted], rcond=1e-6)[0]
    misses = np.abs(future - terms @ weights)
    errors[_ORDER:] = misses / max(float(misses[:fitted].std()), 1e-3)
    return errors
