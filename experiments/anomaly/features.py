"""What a network is shown of a series before a point comes, kept up point by point.

Everything is in the frame of the series at that moment: around its running mean, in
units of its running mean deviation, and squeezed by asinh, which is linear near 0 and
logarithmic far away. So the network needs to know no series by name. A profile
remembers what the series usually is at this time of the day, and of the week.

A point is forecast by L networks side by side, from the point before it and from
farther back, where of the last points nothing is shown. What drifts off slowly is no
surprise from one point to the next, and is one from afar. Every network is also shown a
linear forecast of its series from its distance, so that it begins where that one ends
(the autoregressive part of LSTNet: Lai et al. 2018).

The same steps serve many series side by side and one stream: rows of arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.data import Series
from experiments.anomaly.linear import LinearForecast

# Points from the last one that is shown to the one that comes, for each network: three
# of each, for first weights alone move the scores of one by points.
LEADS = (1, 1, 1, 12, 12, 12, 24, 24, 24, 48, 48, 48)
MEMORY = 2000  # points that a running mean remembers
RECENT = 100  # points that the mean of the steps remembers
FEATURES, ANCHORS = 8, 4
_BINS, _WEEK = 288, 7 * 288  # five minutes each
_DAY, _BIN = 86400.0, 300.0
_RATE = 0.3  # how fast a profile forgets
_ORDER = 10  # points that the linear forecast sees
_ANCHORS = [0, _ORDER, _ORDER + 1]  # of its terms: the last point, and what is usual
_DISTANCES, _WHICH = np.unique(LEADS, return_inverse=True)
_BACK = _DISTANCES - 1  # in the history, newest first
_HISTORY = max(LEADS) + _ORDER
Rows = NDArray[np.float64]


class Shown(NamedTuple):
    """What is known of B series before their points, from each of L distances.

    Attributes:
        inputs: [B, L, FEATURES].
        anchors: [B, L, ANCHORS], in the frame.
        center: [B], of the frame.
        unit: [B], of the frame.
    """

    inputs: Rows
    anchors: Rows
    center: Rows
    unit: Rows

    def framed(self, values: Rows) -> Rows:
        """Points [B] in the frame."""
        return _framed(values, self.center, self.unit)


@dataclasses.dataclass
class Tracker:
    """The running description of B series. Changed in place by `learn`.

    Attributes:
        count: how many points there were.
        mean: [B], the running mean.
        deviation: [B], that of the distances from it.
        step: [B], that of the distances from point to point.
        history: [B, _HISTORY], the last points, newest first.
        profile: [B, _BINS + _WEEK], by the time of the day, then of the week; NaN where
            nothing is known.
        linear: the linear forecasts, from each of the distances that differ.
    """

    count: int
    mean: Rows
    deviation: Rows
    step: Rows
    history: Rows
    profile: Rows
    linear: LinearForecast

    @classmethod
    def empty(cls, rows: int) -> Tracker:
        """Of series that have no points yet."""
        zero = np.zeros(rows)
        history = np.zeros((rows, _HISTORY))
        profile = np.full((rows, _BINS + _WEEK), np.nan)
        linear = LinearForecast.empty(rows, len(_BACK), _ORDER + 3, MEMORY)
        return cls(0, zero, zero, zero, history, profile, linear)

    def show(self, seconds: Rows) -> Shown:
        """What is known before the points of these times, [B]."""
        center, unit = self._frame()
        terms = self._terms(seconds)
        anchors = np.stack(
            [
                *np.moveaxis(terms[..., _ANCHORS], -1, 0),
                self.linear.forecast(terms),
            ],
            axis=-1,
        )[:, _WHICH]
        change = (terms[..., 0] - terms[..., 1])[:, _WHICH]
        turn = 2 * np.pi * seconds / _DAY
        alike = (
            np.log(np.clip((self.step + self._tiny()) / unit, 0.01, 100.0)),
            np.sin(turn),
            np.cos(turn),
        )
        inputs = [
            *np.moveaxis(anchors, -1, 0),
            change,
            *(np.broadcast_to(each[:, None], change.shape) for each in alike),
        ]
        return Shown(np.stack(inputs, axis=-1), anchors, center, unit)

    def _tiny(self) -> Rows:
        return 1e-3 * np.abs(self.mean) + 1e-9

    def _frame(self) -> tuple[Rows, Rows]:
        """Center and unit, [B] each."""
        unit = np.maximum(self.deviation, self._tiny())
        if not self.count:
            unit = np.full_like(unit, np.inf)  # the first point says nothing
        return self.mean, unit

    def _terms(self, seconds: Rows) -> Rows:
        """What the linear forecasts see, [B, distances, _ORDER + 3], in the frame.

        The last points that are shown, newest first, what is usual, and 1.
        """
        center, unit = self._frame()
        shown = self.history[:, _BACK[:, None] + np.arange(_ORDER)]
        usual = self._usual(seconds)
        values = np.concatenate([shown, np.stack(usual, axis=-1)], axis=-1)
        framed = _framed(values, center[:, None, None], unit[:, None, None])
        return np.concatenate([framed, np.ones_like(framed[..., :1])], axis=-1)

    def _usual(self, seconds: Rows) -> tuple[Rows, Rows]:
        """What is usual at this time of the day, and of the week, for each distance.

        What is not known yet is guessed, so that nothing changes at once when it is.
        """
        rows, shown = np.arange(len(seconds)), self.history[:, _BACK]
        day, week = (self.profile[rows, bins][:, None] for bins in _bins(seconds))
        by_day = np.where(np.isnan(day), shown, day)
        return by_day, np.where(np.isnan(week), by_day, week)

    def learn(self, seconds: Rows, values: Rows) -> None:
        """Take in the points, [B], of these times."""
        if not self.count:
            self.mean = values
            self.history = np.repeat(values[:, None], _HISTORY, axis=1)
        terms, frame = self._terms(seconds), self._frame()
        self.linear.learn(terms, _framed(values, *frame))
        self.count += 1
        rate, quick = 1 / min(self.count, MEMORY), 1 / min(self.count, RECENT)
        self.mean = self.mean + rate * (values - self.mean)
        far, move = np.abs(values - self.mean), np.abs(values - self.history[:, 0])
        self.deviation = self.deviation + rate * (far - self.deviation)
        self.step = self.step + quick * (move - self.step)
        self.history = np.concatenate([values[:, None], self.history[:, :-1]], axis=1)
        rows = np.arange(len(values))
        for bins in _bins(seconds):
            known = self.profile[rows, bins]
            moved = known + _RATE * (values - known)
            self.profile[rows, bins] = np.where(np.isnan(known), values, moved)


def _framed(values: Rows, center: Rows, unit: Rows) -> Rows:
    return np.arcsinh((values - center) / unit)


def _bins(seconds: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bins = np.floor(seconds / _BIN).astype(np.int64)
    return bins % _BINS, _BINS + bins % _WEEK


class Table(NamedTuple):
    """Points of B series, each with what was known before it from L distances.

    Attributes:
        inputs: [B, L, T, FEATURES].
        anchors: [B, L, T, ANCHORS].
        values: [B, T], in the frame of the moment.
        weights: [B, T], 1 for a point and 0 behind the end of a series.
    """

    inputs: NDArray[np.float32]
    anchors: NDArray[np.float32]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]


def tabulate(series: Sequence[Series]) -> Table:
    """Walk along whole series, side by side."""
    return next(tables(series, max(len(each.values) for each in series)))


def tables(series: Sequence[Series], length: int) -> Iterator[Table]:
    """Walk along series side by side, and stop after every `length` points."""
    points = np.array([len(each.values) for each in series])
    seconds = side_by_side([each.seconds for each in series])
    values = side_by_side([each.values for each in series])
    tracker = Tracker.empty(len(series))
    for start in range(0, points.max(), length):
        at = np.arange(start, min(start + length, points.max()))
        rows = [_row(tracker, seconds[:, k], values[:, k]) for k in at]
        inputs, anchors, framed = zip(*rows, strict=True)
        yield Table(
            np.stack(inputs, axis=2),
            np.stack(anchors, axis=2),
            np.stack(framed, axis=1),
            (at < points[:, None]).astype(np.float32),
        )


def _row(
    tracker: Tracker, seconds: Rows, values: Rows
) -> tuple[NDArray[np.float32], ...]:
    """A moment of a table; the tracker then knows it."""
    row = row_of(tracker.show(seconds), values)
    tracker.learn(seconds, values)
    return row


def row_of(shown: Shown, values: Rows) -> tuple[NDArray[np.float32], ...]:
    """A moment of a table: inputs, anchors, and the points [B] in the frame."""
    arrays = shown.inputs, shown.anchors, shown.framed(values)
    return tuple(each.astype(np.float32) for each in arrays)


def side_by_side(rows: Sequence[Rows]) -> Rows:
    """Arrays [N] of several lengths as rows; the last points are repeated."""
    longest = max(map(len, rows))
    return np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows])
