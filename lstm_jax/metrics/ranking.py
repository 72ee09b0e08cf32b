"""How well scores rank what happened above what did not, with intervals. NumPy only.

Labels are 0 or 1, scores any numbers, higher where the event is likelier; [N] each.
Nothing here depends on what the scores mean, only on their order; `calibration` in
`metrics/calibration.py` asks whether they are probabilities.

    auroc               P(score of an event > score of none), ties count half
    average_precision   the area under precision over recall, step by step
    sensitive_threshold where the smaller of sensitivity and precision is largest
"""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_jax.errors import InputError

Metric = Callable[[NDArray, NDArray], float]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under the ROC curve, exact: the Mann-Whitney statistic, ties half.

    Raises:
        InputError: the labels are not of both kinds, or a score is no number.
    """
    labels, scores = _checked(labels, scores)
    positives = int(labels.sum())
    ranks = midranks(scores)[labels].sum()
    below = ranks - positives * (positives + 1) / 2
    return float(below / (positives * (len(labels) - positives)))


def auroc_interval(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.95
) -> Interval:
    """The interval of an AUROC by its normal approximation (DeLong et al. 1988).

    The variance is that of the two samples' structural components, by ranks in
    O(N log N) (Sun & Xu 2014). It is that of new cases for one fixed scorer; how much
    another training would change is not in it.

    Args:
        labels: [N].
        scores: [N].
        level: of confidence.

    Raises:
        InputError: there are not two labels of either kind, or a score is no number.
    """
    labels, scores = _checked(labels, scores, least=2)
    events, others = scores[labels], scores[~labels]
    m, n = len(events), len(others)
    ranks = midranks(np.concatenate([events, others]))
    # The share of others below each event, and of events above each of the others.
    beaten = (ranks[:m] - midranks(events)) / n
    beating = 1 - (ranks[m:] - midranks(others)) / m
    deviation = np.sqrt(beaten.var(ddof=1) / m + beating.var(ddof=1) / n)
    reach = statistics.NormalDist().inv_cdf((1 + level) / 2) * deviation
    area = beaten.mean()
    return Interval(float(max(0, area - reach)), float(min(1, area + reach)))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """The area under precision over recall, Σ (R_n - R_(n-1)) P_n: AUPRC.

    n runs over the distinct scores from the highest down; equal scores are one step,
    so the order of rows is of no matter. Nothing is interpolated.

    Raises:
        InputError: the labels are not of both kinds, or a score is no number.
    """
    found = _operating_points(*_checked(labels, scores))
    steps = np.diff(found.sensitivity, prepend=0)
    return float(np.sum(steps * found.precision))


def bootstrap_interval(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The percentile interval of any metric, over resamples of either kind of row.

    Events and the others are drawn with replacement, each as many as there are, so that
    no resample is without one of them.

    Args:
        metric: of labels [N] and scores [N].
        labels: [N].
        scores: [N].
        level: of confidence.
        resamples: how many.
        seed: decides the draws.

    Raises:
        InputError: the labels are not of both kinds, or a score is no number.
    """
    labels, scores = _checked(labels, scores)
    rng = np.random.default_rng(seed)
    kinds = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    found = []
    for _ in range(resamples):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        found.append(metric(labels[rows], scores[rows]))
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(low), float(high))


class Operation(NamedTuple):
    """What a threshold does: alarms where a score reaches it."""

    sensitivity: float
    precision: float

    @property
    def smaller(self) -> float:
        """The smaller of the two, the score of the PhysioNet challenge 2012."""
        return min(self)


def operation(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Operation:
    """The share of events with an alarm, and of alarms with an event (0 if none)."""
    labels, alarms = np.asarray(labels, bool), np.asarray(scores) >= threshold
    hits = int(np.sum(labels & alarms))
    return Operation(hits / max(1, int(labels.sum())), hits / max(1, int(alarms.sum())))


def sensitive_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The score at which the smaller of sensitivity and precision is largest.

    To be chosen on other rows than it is then judged on. Of equally good ones the
    highest, which raises the fewest alarms.

    Raises:
        InputError: the labels are not of both kinds, or a score is no number.
    """
    found = _operating_points(*_checked(labels, scores))
    smaller = np.minimum(found.sensitivity, found.precision)
    return float(found.threshold[smaller.argmax()])


class _Points(NamedTuple):
    """At each distinct score as a threshold, the highest first."""

    threshold: NDArray
    sensitivity: NDArray
    precision: NDArray


def _operating_points(labels: NDArray, scores: NDArray) -> _Points:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # runs of ties
    hits = np.cumsum(labels[order])[ends]
    return _Points(ranked[ends], hits / labels.sum(), hits / (ends + 1))


def midranks(scores: NDArray) -> NDArray[np.float64]:
    """Ranks from 1 on, those of equal scores being their mean."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _checked(
    labels: ArrayLike, scores: ArrayLike, least: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels, scores = np.asarray(labels, bool), np.asarray(scores, np.float64)
    events = int(labels.sum())
    if min(events, len(labels) - events) < least:
        raise InputError(
            f"expected {least} or more rows with the event and as many without, found "
            f"{events} with it among {len(labels)}"
        )
    if np.isnan(scores).any():
        raise InputError("expected scores that are numbers, found NaN")
    return labels, scores
