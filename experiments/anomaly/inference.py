"""Points as they come: a score for each before the next one is read."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from experiments.anomaly.evidence import Judge, expected
from experiments.anomaly.features import Tracker, row_of
from experiments.anomaly.task import read
from lstm_jax.models import DensityModel


class Verdict(NamedTuple):
    """What is thought of a point: how strange it is, and whether that is news.

    `score` is the evidence, -ln of a probability; `expected` is how many points as
    strange the series has by chance, see `expected`, and no less than one for each of
    its points where one of the last ones was stranger.
    """

    score: float
    expected: float


class Stream:
    """One series, read point by point. Keeps the networks' state and the statistics.

    Args:
        models: the networks of a detector.
    """

    def __init__(self, models: DensityModel) -> None:
        self._models = jax.device_put(models)
        self._tracker = Tracker.empty(1)
        self._judge = Judge(1)
        self._points = 0
        self._state: tuple | None = None

    def judge(self, seconds: float, value: float) -> Verdict:
        """Score the next point, then learn from it."""
        time, point = np.array([seconds]), np.array([value])
        inputs, anchors, framed = row_of(self._tracker.show(time), point)
        one_step = inputs[:, :, None], anchors[:, :, None], framed[:, None]
        surprise, self._state = read(self._models, *one_step, self._state)
        self._tracker.learn(time, point)
        self._points += 1
        evidence, news = self._judge.weigh(
            np.asarray(surprise, np.float64)[:, 0], point
        )
        by_chance = expected(news, self._points)
        return Verdict(float(evidence[0]), float(by_chance[0]))
