"""Points as they come: a score for each before the next one is read."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from experiments.anomaly.evidence import Judge
from experiments.anomaly.features import Tracker, frame
from experiments.anomaly.task import Surprise, read
from lstm_jax.models import DensityModel


class Verdict(NamedTuple):
    """What is thought of a point: how strange it is, and whether that is news.

    `score` is the evidence, -ln of a probability; `news` is the same where none of the
    last points was stranger, and 0 otherwise.
    """

    score: float
    news: float


class Stream:
    """One series, read point by point. Keeps the network's state and the statistics.

    Args:
        model: of `load_detector`.
    """

    def __init__(self, model: DensityModel) -> None:
        self._model = jax.device_put(model)
        self._tracker = Tracker.empty(1)
        self._judge = Judge(1)
        self._state: tuple | None = None

    def judge(self, seconds: float, value: float) -> Verdict:
        """Score the next point, then learn from it."""
        time, point = np.array([seconds]), np.array([value])
        shown = self._tracker.show(time)
        framed = frame(point, shown.center, shown.unit)
        arrays = (shown.inputs, shown.anchors, framed)
        one = [each.astype(np.float32)[:, None] for each in arrays]
        *tails, self._state = read(self._model, *one, self._state)
        below, above = (-np.asarray(tail, np.float64)[:, 0] for tail in tails)
        self._tracker.learn(time, point)
        evidence, news = self._judge.weigh(Surprise(below, above).either(), point)
        return Verdict(float(evidence[0]), float(news[0]))
