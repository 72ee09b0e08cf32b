"""What a network is shown of a series before a point comes, kept up point by point.

Everything is in the frame of the series at that moment: around its running mean, in
units of its running mean deviation, and squeezed by asinh, which is linear near 0 and
logarithmic far away. So the network needs to know no series by name. A profile
remembers what the series usually is at this time of the day, and of the week.

The same steps serve many series side by side and one stream: rows of arrays.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.data import Series

MEMORY = 2000  # points that a running mean remembers
RECENT = 100  # points that the mean of the steps remembers
BINS, WEEK = 288, 7 * 288  # five minutes each
_DAY, _BIN = 86400.0, 300.0
_RATE = 0.3  # how fast a profile forgets
FEATURES, ANCHORS = 7, 3
Rows = NDArray[np.float64]


class Shown(NamedTuple):
    """What is known of every row before its point.

    Attributes:
        inputs: [B, FEATURES].
        anchors: [B, ANCHORS], in the frame.
        center: [B], of the frame.
        unit: [B], of the frame.
    """

    inputs: Rows
    anchors: Rows
    center: Rows
    unit: Rows


@dataclasses.dataclass
class Tracker:
    """The running description of B series. Changed in place by `learn`.

    Attributes:
        count: [B], points so far.
        mean: [B], the running mean.
        deviation: [B], that of the distances from it.
        step: [B], that of the distances from point to point.
        last: [B, 2], the last point and the one before.
        profile: [B, BINS + WEEK], by the time of the day, then of the week; NaN where
            nothing is known.
    """

    count: Rows
    mean: Rows
    deviation: Rows
    step: Rows
    last: Rows
    profile: Rows

    @classmethod
    def empty(cls, rows: int) -> Tracker:
        """Of series that have no points yet."""
        zero = np.zeros(rows)
        profile = np.full((rows, BINS + WEEK), np.nan)
        return cls(zero, zero, zero.copy(), zero.copy(), np.zeros((rows, 2)), profile)

    def show(self, seconds: Rows) -> Shown:
        """What is known before the points of these times, [B].

        In the frame, time of the day and of the week included.
        """
        center = self.mean
        tiny = 1e-3 * np.abs(center) + 1e-9
        unit = np.maximum(self.deviation, tiny)
        unit = np.where(self.count > 0, unit, np.inf)  # the first point says nothing
        rows = np.arange(len(center))
        last, before = self.last.T
        by_day, by_week = (self.profile[rows, bins] for bins in _bins(seconds))
        # What is not known yet is guessed, so that nothing changes at once when it is.
        by_day = np.where(np.isnan(by_day), last, by_day)
        by_week = np.where(np.isnan(by_week), by_day, by_week)
        guesses = [frame(each, center, unit) for each in (last, by_day, by_week)]
        anchors = np.stack(guesses, axis=1)
        turn = 2 * np.pi * seconds / _DAY
        inputs = np.column_stack(
            [
                anchors,
                anchors[:, 0] - frame(before, center, unit),
                np.log(np.clip((self.step + tiny) / unit, 0.01, 100.0)),
                np.sin(turn),
                np.cos(turn),
            ]
        )
        return Shown(inputs, anchors, center, unit)

    def learn(self, seconds: Rows, values: Rows) -> None:
        """Take in the points, [B], of these times."""
        first = self.count == 0
        self.count = self.count + 1
        rate = 1 / np.minimum(self.count, MEMORY)
        self.mean = np.where(first, values, self.mean + rate * (values - self.mean))
        far = np.abs(values - self.mean)
        self.deviation = self.deviation + rate * (far - self.deviation)
        move = np.where(first, 0.0, np.abs(values - self.last[:, 0]))
        quick = 1 / np.minimum(self.count, RECENT)
        self.step = self.step + quick * (move - self.step)
        self.last = np.stack([values, np.where(first, values, self.last[:, 0])], axis=1)
        rows = np.arange(len(values))
        for bins in _bins(seconds):
            known = self.profile[rows, bins]
            moved = known + _RATE * (values - known)
            self.profile[rows, bins] = np.where(np.isnan(known), values, moved)


def frame(values: Rows, center: Rows, unit: Rows) -> Rows:
    """Values in a frame."""
    return np.arcsinh((values - center) / unit)


def _bins(seconds: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bins = np.floor(seconds / _BIN).astype(np.int64)
    return bins % BINS, BINS + bins % WEEK


class Table(NamedTuple):
    """Series side by side, each with what was known before every point of it.

    Attributes:
        inputs: [B, T, FEATURES].
        anchors: [B, T, ANCHORS].
        values: [B, T], in the frame of the moment.
        weights: [B, T], 1 for a point and 0 behind the end of a series.
    """

    inputs: NDArray[np.float32]
    anchors: NDArray[np.float32]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]


def tabulate(series: list[Series]) -> Table:
    """Walk along all series at once."""
    lengths = np.array([len(each.values) for each in series])
    seconds, values = (
        np.stack([np.pad(a, (0, lengths.max() - len(a)), mode="edge") for a in arrays])
        for arrays in ([s.seconds for s in series], [s.values for s in series])
    )
    tracker = Tracker.empty(len(series))
    inputs, anchors, framed = [], [], []
    for moment, points in zip(seconds.T, values.T, strict=True):
        shown = tracker.show(moment)
        inputs.append(shown.inputs.astype(np.float32))
        anchors.append(shown.anchors.astype(np.float32))
        framed.append(frame(points, shown.center, shown.unit).astype(np.float32))
        tracker.learn(moment, points)
    inside = np.arange(lengths.max()) < lengths[:, None]
    return Table(
        np.stack(inputs, axis=1),
        np.stack(anchors, axis=1),
        np.stack(framed, axis=1),
        inside.astype(np.float32),
    )
