"""The score of the Numenta Anomaly Benchmark, standard profile, from its definition.

A point that is flagged in a labelled window earns up to 1, the more the earlier; only
the best point of a window counts, and a window without one costs 1. A point flagged
elsewhere costs up to 0.11, less if it lies shortly after a window. With y the position
relative to the window, -1 at its first point and 0 behind its last one,

    2 / (1 + exp(5 y)) - 1

is the worth of a point (Lavin & Ahmad 2015, "Evaluating real-time anomaly detection
algorithms"). The leading points, 15 % of the series and 750 at most, do not count. The
sum over all series is set in proportion: 0 is a detector that flags nothing, 100 one
that flags the first point of every window and no other.

NAB's board is made with one threshold for all series, the best one for the labels
themselves: `best_threshold`. A threshold that knows no labels gives `nab_score`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.data import Series

FALSE_ALARM = 0.11  # what one costs; a missed window costs 1
Scores = Sequence[NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class _Points:
    """All points of some series that count.

    Attributes:
        worth: [P], what flagging each adds to the sum, in a window if it is the best.
        window: [P], the number of its window over all series; -1 outside.
        windows: how many windows there are.
    """

    worth: NDArray[np.float64]
    window: NDArray[np.int64]
    windows: int


def nab_score(series: Sequence[Series], scores: Scores, threshold: float) -> float:
    """NAB's score if the points from this threshold on are flagged: 100 at best.

    Args:
        series: with their labels.
        scores: [N] of each, the higher the stranger.
        threshold: the same for all series.
    """
    points, flat = _points(series), _scored(series, scores)
    flagged = flat >= threshold
    inside = flagged & (points.window >= 0)
    best = np.full(points.windows, -1.0)
    np.maximum.at(best, points.window[inside], points.worth[inside])
    alarms = points.worth[flagged & (points.window < 0)]
    return _normalized(best.sum() + alarms.sum(), points.windows)


def best_threshold(series: Sequence[Series], scores: Scores) -> tuple[float, float]:
    """The threshold that is best for the labels, which NAB's board lets detectors have.

    Returns:
        It, and its score. Infinity is the threshold that flags nothing.
    """
    points, flat = _points(series), _scored(series, scores)
    order = np.argsort(-flat, kind="stable")
    worth, window, flat = points.worth[order], points.window[order], flat[order]
    gains = np.where(window < 0, worth, 0.0)
    for k in range(points.windows):
        (mine,) = np.nonzero(window == k)
        best = np.maximum.accumulate(np.concatenate([[-1.0], worth[mine]]))
        gains[mine] = np.diff(best)
    totals = np.cumsum(gains) - points.windows
    last = np.append(flat[1:] != flat[:-1], True)  # of the points of equal score
    totals = np.where(last, totals, -np.inf)
    chosen = int(np.argmax(totals)) if len(totals) else 0
    if not len(totals) or totals[chosen] <= -points.windows:
        return np.inf, 0.0
    return float(flat[chosen]), _normalized(totals[chosen], points.windows)


def random_score(series: Sequence[Series], detectors: int = 10) -> float:
    """The mean score of detectors that draw theirs, each with its best threshold.

    NAB has 11.0 for its own, over all 58 series.
    """
    found = []
    for seed in range(detectors):
        rng = np.random.default_rng(seed)
        drawn = [rng.uniform(size=len(each.values)) for each in series]
        found.append(best_threshold(series, drawn)[1])
    return float(np.mean(found))


def _normalized(total: float, windows: int) -> float:
    return 100 * (total + windows) / (2 * windows) if windows else 0.0


def _scored(series: Sequence[Series], scores: Scores) -> NDArray[np.float64]:
    """The scores of all points that count, side by side."""
    pairs = zip(series, scores, strict=True)
    return np.concatenate([mine[each.probation :] for each, mine in pairs])


def _points(series: Sequence[Series]) -> _Points:
    worths, windows, count = [], [], 0
    for each in series:
        worth, window = _worth(each)
        kept = slice(each.probation, None)
        worths.append(worth[kept])
        windows.append(np.where(window < 0, -1, window + count)[kept])
        count += len(each.windows)
    return _Points(np.concatenate(worths), np.concatenate(windows), count)


def _worth(series: Series) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What every point of a series is worth, and the number of its window or -1."""
    at = np.arange(len(series.values))
    worth, first_point = np.full(len(at), -FALSE_ALARM), _sigmoid(np.full(1, -1.0))
    window = np.full(len(at), -1)
    for k, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = slice(first, last + 1)
        worth[inside] = _sigmoid((at[inside] - last - 1) / width) / first_point
        window[inside] = k
        after = (at[last + 1 :] - last) / max(width - 1, 1)
        worth[last + 1 :] = FALSE_ALARM * np.where(after > 3, -1, _sigmoid(after))
    return worth, window


def _sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 / (1 + np.exp(5 * np.minimum(position, 4.0))) - 1
