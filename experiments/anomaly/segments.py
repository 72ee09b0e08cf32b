"""From errors to segments that are called strange, and how well they meet the labels.

The threshold follows the errors (Hundman et al. 2018, "Detecting spacecraft anomalies
using LSTMs and nonparametric dynamic thresholding"): of mean + z standard deviations
it takes the z at which leaving out what lies above makes the mean and the deviation
fall most, for the number of points and of segments left out. Then what hardly stands
out from the rest is dropped again. No label is looked at.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.data import Series, Window

_PADDING, _LEAST_PADDING = 30_000.0, 50  # seconds, points: 50 steps of ten minutes
_ZS = np.arange(2.0, 12.5, 0.5)
_FALL = 0.1  # the maximum of a segment has to exceed the next lower one by this share


@dataclasses.dataclass(frozen=True)
class Counts:
    """Windows found and missed, and segments that meet none."""

    found: int = 0
    missed: int = 0
    false: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Add the counts of another series."""
        return Counts(
            self.found + other.found,
            self.missed + other.missed,
            self.false + other.false,
        )

    def precision(self) -> float:
        """Found ones among all that is called strange; 0 of nothing."""
        return self.found / max(self.found + self.false, 1)

    def recall(self) -> float:
        """Found ones among all windows; 0 of none."""
        return self.found / max(self.found + self.missed, 1)

    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 of nothing."""
        right = 2 * self.found
        return right / max(right + self.missed + self.false, 1)

    def __str__(self) -> str:
        return f"{self.f1():.3f} ({self.precision():.3f}, {self.recall():.3f})"


def overlap_counts(windows: Sequence[Window], segments: Sequence[Window]) -> Counts:
    """Compare labels and segments as Orion does, without weights.

    A window is found if any segment shares a point with it; a segment is false if it
    shares none with any window (Alnegheimish et al. 2022, "Sintel": overlapping
    segment). How much is shared doesn't matter.

    Args:
        windows: of the labels, first and last point of each.
        segments: likewise.
    """
    meet = np.array(
        [[w[0] <= s[1] and s[0] <= w[1] for s in segments] for w in windows], bool
    ).reshape(len(windows), len(segments))
    found = int(meet.any(axis=1).sum())
    false = int((~meet.any(axis=0)).sum())
    return Counts(found, len(windows) - found, false)


def runs_of(flags: NDArray[np.bool_], padding: int = 0) -> list[Window]:
    """First and last point of every run of flags, widened on both sides and joined."""
    (at,) = np.nonzero(flags)
    found: list[Window] = []
    for point in at.tolist():
        first, last = max(0, point - padding), min(len(flags) - 1, point + padding)
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def segments_of(
    series: Series, evidence: NDArray[np.float64], alarm: float
) -> list[Window]:
    """What is called strange: where the evidence reaches the alarm level, widened.

    By as much as in Orion, 50 points of ten minutes each, or of the series' own step if
    that is longer. The leading part, which is learned from, has no segments.
    """
    step = float(np.median(np.diff(series.seconds))) if len(evidence) > 1 else 0.0
    padding = _LEAST_PADDING
    if step > 0:
        padding = max(padding, round(_PADDING / step))
    scored = np.arange(len(evidence)) >= series.probation
    return runs_of((evidence >= alarm) & scored, padding)


def dynamic_threshold(errors: NDArray[np.float64]) -> float:
    """The threshold of Hundman et al. for these errors; infinity if they are equal."""
    mean, deviation = errors.mean(), errors.std()
    best, threshold = 0.0, np.inf
    for z in _ZS if deviation > 0 else ():
        limit = mean + z * deviation
        above = errors > limit
        if not above.any():
            break
        rest = errors[~above]
        falls = (mean - rest.mean()) / mean + (deviation - rest.std()) / deviation
        worth = falls / (above.sum() + len(runs_of(above)) ** 2)
        if worth > best:
            best, threshold = worth, limit
    return threshold


def prune(
    errors: NDArray[np.float64], segments: Sequence[Window], threshold: float
) -> list[Window]:
    """Drop the segments whose maxima hardly exceed what comes next below them.

    Maxima in falling order, and last the greatest error outside: all segments after
    the last fall of 10 % or more are dropped.
    """
    tops = sorted(
        ((errors[a : b + 1].max(), (a, b)) for a, b in segments), reverse=True
    )
    below = errors[errors <= threshold]
    levels = [top for top, _ in tops] + [below.max(initial=0.0)]
    falls = [(a - b) / a >= _FALL for a, b in itertools.pairwise(levels)]
    kept = max((k + 1 for k, fall in enumerate(falls) if fall), default=0)
    return sorted(segment for _, segment in tops[:kept])
