"""From surprises to one score that means the same in every series, point by point.

A network is never right about how likely the unlikely is, and errs more in one series
than in another. So its surprise is held against what it was in this series so far, for
which the largest twentieth of it is taken to decay exponentially ("peaks over
threshold": Siffer et al. 2017, "Anomaly detection in streams with extreme value
theory"). The evidence of a point is

    -ln P(a point of this series is as strange as this).

A value beyond all there were, by 2 % of their range, is strange whatever the network
says (as in Numenta's detector, with 5 %). An alarm is given once: a point is news only
if none of the last ones was stranger. How strange it has to be depends on how many
points there were, for a longer series has more strange points by chance. Nothing here
knows what comes later.

The same steps serve many series side by side and one stream: rows of arrays.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

SILENCE = 300  # points in which an alarm is not repeated
CERTAIN = 20.0  # the evidence of a value beyond the range
_BEYOND = 0.02  # of the range
_SHARE = 0.05  # of the points, which are the tail
_MEMORY = 2000  # points that the tail is estimated from
_FIRST = 50  # points before there is any evidence
Rows = NDArray[np.float64]


@dataclasses.dataclass
class Tail:
    """The running tail of B quantities. Changed in place by `weigh`.

    Attributes:
        count: how many points there were.
        start: [B], what a share of 5 % exceeds.
        excess: [B], by how much on average.
        exceeded: [B], how often, with a few times for what was assumed.
        spread: [B], the running distance of the points from the start of the tail.
    """

    count: int
    start: Rows
    excess: Rows
    exceeded: Rows
    spread: Rows

    @classmethod
    def empty(cls, rows: int) -> Tail:
        """Of nothing so far; of 1 nat until something is known."""
        return cls(0, np.zeros(rows), np.ones(rows), np.full(rows, 3.0), np.zeros(rows))

    def weigh(self, found: Rows) -> Rows:
        """-ln P(as much as this) of the next quantities, [B]; then learn from them."""
        over = found - self.start
        inside = (over > 0) & (self.count >= _FIRST)
        decay = over / np.maximum(self.excess, 1e-3)
        evidence = np.where(inside, decay - np.log(_SHARE), 0.0)
        self._learn(over)
        return evidence

    def _learn(self, over: Rows) -> None:
        self.count += 1
        rate = 1 / min(self.count, _MEMORY)
        self.spread = self.spread + rate * (np.abs(over) - self.spread)
        # Robbins & Monro 1951: up by 0.95 steps, or down by 0.05 of one.
        step = np.maximum(self.spread, 1e-3) * max(20 * rate, 0.008)
        moved = self.start + step * np.where(over > 0, 1 - _SHARE, -_SHARE)
        self.start = np.maximum(moved, 0.0)  # no surprise is less
        exceeded = np.minimum(self.exceeded + 1, _MEMORY * _SHARE)
        excess = self.excess + (over - self.excess) / exceeded
        self.excess = np.where(over > 0, excess, self.excess)
        self.exceeded = np.where(over > 0, exceeded, self.exceeded)


@dataclasses.dataclass
class Extent:
    """The least and the greatest value of B series. Changed in place by `leave`."""

    least: Rows
    greatest: Rows

    @classmethod
    def empty(cls, rows: int) -> Extent:
        """Of no values."""
        return cls(np.full(rows, np.inf), np.full(rows, -np.inf))

    def leave(self, values: Rows) -> Rows:
        """How far the next values lie outside, in ranges; then take them in."""
        width = self.greatest - self.least
        beyond = np.maximum(values - self.greatest, self.least - values)
        self.least = np.minimum(self.least, values)
        self.greatest = np.maximum(self.greatest, values)
        known = np.isfinite(width) & (width > 0)
        return np.where(known, beyond, 0.0) / np.where(known, width, 1.0)


class Judge:
    """The evidence of B series. Changed in place by `weigh`."""

    def __init__(self, rows: int) -> None:
        self._tail = Tail.empty(rows)
        self._extent = Extent.empty(rows)
        self._before = np.zeros((SILENCE, rows))

    def weigh(self, surprise: Rows, values: Rows) -> tuple[Rows, Rows]:
        """The evidence of the next points, and that which is news: [B] each.

        Args:
            surprise: [B].
            values: [B], of the same points.
        """
        evidence, beyond = self._tail.weigh(surprise), self._extent.leave(values)
        if self._tail.count > _FIRST:
            evidence = np.where(beyond > _BEYOND, CERTAIN + beyond, evidence)
        news = np.where(evidence > self._before.max(axis=0), evidence, 0.0)
        self._before[self._tail.count % SILENCE] = evidence
        return evidence, news


def expected(
    news: NDArray[np.float64], points: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """How many points as strange as these a series has by chance (an E-value).

    Args:
        news: the evidence of points that are news, and 0 for others.
        points: how many there are in the series, at least `SILENCE` for its beginning.
    """
    return np.maximum(points, SILENCE) * np.exp(-news)


def judge(
    surprise: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The evidence of all points of series side by side, and that of news: [B, T]."""
    judged = Judge(len(surprise))
    pairs = [judged.weigh(*points) for points in zip(surprise.T, values.T, strict=True)]
    evidence, news = (np.stack(rows, axis=1) for rows in zip(*pairs, strict=True))
    return evidence, news
