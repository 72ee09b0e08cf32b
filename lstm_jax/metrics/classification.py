"""Metrics of classification: counted on the device, derived once at the end.

What is accumulated can be added up over batches, devices and hosts, and the scores are
derived from the totals. So they do not depend on how the data were cut, padded or
ordered: an F1 is that of all data, never a mean over batches. Counts are int32, exact
below 2^31.

Classes that are empty follow scikit-learn's rule (`zero_division=0`): a precision of
nothing predicted, a recall of nothing there and an F1 of neither are 0. A macro average
is over the classes that occur among the targets or the predictions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.metrics.losses import Additive, LossSums, cross_entropy
from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import LabelLogits, LabelMask, Labels

TOP = 5
MOST_CLASSES = 512  # with a confusion matrix: 1 MB; beyond, three vectors
_BINS = 15  # of the calibration, as in Guo et al. 2017


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Confusion(Additive):
    """`matrix[t, p]`, [C, C]: how often a target t was predicted as p."""

    matrix: Array

    def classes(self) -> "ClassCounts":
        """The counts of each class by itself."""
        matrix = self.matrix
        return ClassCounts(matrix.sum(1), matrix.sum(0), matrix.diagonal())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassCounts(Additive):
    """How often each class was the target, was predicted, and was both, [C] each.

    All that precision, recall and F1 need, where C x C counts would be too many.
    """

    support: Array
    predicted: Array
    correct: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Calibration(Additive):
    """Predictions by their confidence, the largest probability, in 15 equal bins.

    Bin k holds confidences from k / 15 up to, not including, (k + 1) / 15; the last one
    includes 1. Per bin: the `count` of predictions, the sum of their `confidence`, and
    how many were `correct`.
    """

    count: Array
    confidence: Array
    correct: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassificationSums(Additive):
    """All that is counted of a classification: one pass over the logits.

    `top` is how often the target was among the `TOP` highest logits; `classes` is a
    confusion matrix, or the counts of each class where there are too many classes.
    """

    sums: LossSums
    top: Array
    classes: Confusion | ClassCounts
    calibration: Calibration

    def class_counts(self) -> ClassCounts:
        """The counts of each class."""
        found = self.classes
        return found.classes() if isinstance(found, Confusion) else found


def measure(logits: LabelLogits, targets: Labels) -> ClassificationSums:
    """Everything at once. Positions whose target is `IGNORED` count for nothing."""
    counted = targets != IGNORED
    classes = logits.shape[-1]
    count = confusion if classes <= MOST_CLASSES else class_counts
    return ClassificationSums(
        sums=cross_entropy(logits, targets),
        top=top_correct(logits, targets, counted),
        classes=count(argmax(logits), targets, counted, classes),
        calibration=calibration(logits, targets, counted),
    )


def confusion(
    predictions: Labels, targets: Labels, counted: LabelMask, classes: int
) -> Confusion:
    """The confusion matrix of the positions that are counted.

    Args:
        predictions: predicted classes, below `classes`.
        targets: true classes, of the same shape.
        counted: where False, neither of the two matters.
        classes: C.
    """
    pair = targets * classes + predictions
    return Confusion(_tally(pair, counted, classes**2).reshape(classes, classes))


def class_counts(
    predictions: Labels, targets: Labels, counted: LabelMask, classes: int
) -> ClassCounts:
    """As `confusion`, without telling what a class was mistaken for."""
    return ClassCounts(
        support=_tally(targets, counted, classes),
        predicted=_tally(predictions, counted, classes),
        correct=_tally(targets, counted & (predictions == targets), classes),
    )


def top_correct(
    logits: LabelLogits, targets: Labels, counted: LabelMask, k: int = TOP
) -> Array:
    """How often the target was among the `k` highest logits.

    Of equal logits the one of the lower id ranks higher, as for `argmax`; a score that
    is not a number ranks above all, so that it never helps.
    """
    target = jnp.where(counted, targets, 0)[..., None]
    score = jnp.take_along_axis(logits, target, axis=-1)
    symbols = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    above = ~(logits <= score) | ((logits == score) & (symbols < target))
    return jnp.sum((jnp.sum(above, axis=-1) < k) & counted, dtype=jnp.int32)


def calibration(
    logits: LabelLogits, targets: Labels, counted: LabelMask
) -> Calibration:
    """Confidence, softmax(logits) at its largest, beside what came of it."""
    logits = logits.astype(jnp.float32)
    largest = jnp.max(logits, axis=-1)
    confidence = jnp.exp(largest - jax.nn.logsumexp(logits, axis=-1))
    correct = argmax(logits) == targets
    k = jnp.clip((confidence * _BINS).astype(jnp.int32), 0, _BINS - 1)
    summed = jnp.zeros(_BINS, jnp.float32).at[jnp.where(counted, k, _BINS)]
    return Calibration(
        count=_tally(k, counted, _BINS),
        confidence=summed.add(confidence, mode="drop"),
        correct=_tally(k, counted & correct, _BINS),
    )


def _tally(labels: Labels, counted: LabelMask, size: int) -> Array:
    """How often each label below `size` occurs where counted, [size]."""
    place = jnp.where(counted, labels, size)  # beyond the end: dropped
    return jnp.zeros(size, jnp.int32).at[place].add(1, mode="drop")


@dataclasses.dataclass(frozen=True)
class ClassReport:
    """Precision, recall and F1 of each class, [C] each, and what they were made from.

    `averages` has the same three as the keys of "micro", "macro" and "weighted".
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    predicted: NDArray[np.int64]
    averages: dict[str, dict[str, float]]

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Which classes were a target or a prediction at all."""
        return self.support + self.predicted > 0


def class_report(counts: ClassCounts) -> ClassReport:
    """Scores of every class, and their averages.

    micro counts all positions together; with one class per position, its precision,
    recall and F1 all are the accuracy. macro is the plain mean over the classes that
    occur, weighted the mean by support.
    """
    support = np.asarray(counts.support, np.int64)
    predicted = np.asarray(counts.predicted, np.int64)
    correct = np.asarray(counts.correct, np.int64)
    found = {
        "precision": ratio(correct, predicted),
        "recall": ratio(correct, support),
        "f1": ratio(2 * correct, support + predicted),
    }
    occurs = (support + predicted > 0).astype(np.int64)
    accuracy = float(ratio(correct.sum(), support.sum()))
    return ClassReport(
        **found,
        support=support,
        predicted=predicted,
        averages={
            "micro": dict.fromkeys(found, accuracy),
            "macro": {name: mean_by(each, occurs) for name, each in found.items()},
            "weighted": {name: mean_by(each, support) for name, each in found.items()},
        },
    )


def calibration_error(found: Calibration) -> float:
    """Expected calibration error (Guo et al. 2017).

    The mean distance between confidence and accuracy of a bin, weighted by its count:
    how far, on average, a stated probability is from how often it comes true.
    """
    count = np.asarray(found.count, np.float64)
    gap = np.abs(np.asarray(found.confidence, np.float64) - np.asarray(found.correct))
    return float(ratio(gap.sum(), count.sum()))


def mean_by(values: NDArray, weights: NDArray) -> float:
    """The mean of values by their weights, and 0 where those are 0."""
    return float(ratio((values * weights).sum(), weights.sum()))


def ratio(above: ArrayLike, below: ArrayLike) -> NDArray:
    """Above / below, and 0 where below is 0."""
    below = np.asarray(below)
    return np.where(below > 0, np.asarray(above) / np.maximum(below, 1), 0.0)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A class taken for another: how often, and in which share of its positions."""

    target: int
    predicted: int
    count: int
    share: float


def worst_mistakes(matrix: NDArray, most: int = 10) -> list[Mistake]:
    """The most frequent mistakes of a confusion matrix [C, C], the worst first.

    By count: a rare class that is always missed matters less than a common one that is
    sometimes missed. Of equally many the one of the lower target comes first.
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = zip(*np.unravel_index(worst, wrong.shape), strict=True)
    return [
        Mistake(int(t), int(p), int(wrong[t, p]), float(wrong[t, p] / matrix[t].sum()))
        for t, p in places
        if wrong[t, p]
    ]
