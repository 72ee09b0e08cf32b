"""From alarms to segments that are called strange, and how well they meet labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.data import Series, Window
from experiments.anomaly.evidence import expected

_PADDING, _LEAST_PADDING = 30_000.0, 50  # seconds, points: 50 steps of ten minutes


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


def segments_of(series: Series, news: NDArray[np.float64]) -> list[Window]:
    """What is called strange in a whole series: the strangest points, widened, joined.

    Less than one point as strange is expected by chance in a series of this length: its
    probability is below 1 / N. It is widened by as much as in Orion, 50 points of ten
    minutes each, or of the series' own step if that is longer. In the leading part,
    which is learned from, nothing counts.

    Args:
        series: the series.
        news: [N], see `Judge.weigh`.
    """
    strange = expected(news, len(news)) <= 1.0
    step = float(np.median(np.diff(series.seconds))) if len(news) > 1 else 0.0
    padding = _LEAST_PADDING
    if step > 0:
        padding = max(padding, round(_PADDING / step))
    scored = np.arange(len(news)) >= series.probation
    return runs_of(strange & scored, padding)
