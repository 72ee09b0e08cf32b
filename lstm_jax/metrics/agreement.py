"""Single numbers of a classification, from the counts of each class.

They are those of scikit-learn, with one difference: what is not defined, a kappa where
all targets and predictions are of one class for one, is 0.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lstm_jax.errors import InputError
from lstm_jax.metrics.classification import ClassCounts, mean_by, ratio

Average = Literal["micro", "macro", "weighted"]


def f_beta(counts: ClassCounts, beta: float) -> NDArray[np.float64]:
    """The F-score of each class, [C], in which recall counts `beta` times precision.

    (1 + β²) P R / (β² P + R), van Rijsbergen 1979; of β = 1 it is F1, the harmonic
    mean.

    Raises:
        InputError: a beta that is not above 0.
    """
    support, predicted, correct = _int64(counts)
    square = _square(beta)
    return ratio((1 + square) * correct, square * support + predicted)


def average_f_beta(counts: ClassCounts, beta: float, average: Average) -> float:
    """One F-score for all classes; see `class_report` for the averages.

    Raises:
        InputError: a beta that is not above 0, or no such average.
    """
    support, predicted, correct = _int64(counts)
    scores = f_beta(counts, beta)
    if average == "micro":
        return float(ratio(correct.sum(), support.sum()))
    if average not in ("macro", "weighted"):
        raise InputError(
            f"average: expected micro, macro or weighted, found {average!r}"
        )
    occurs = (support + predicted > 0).astype(np.int64)
    return mean_by(scores, occurs if average == "macro" else support)


def matthews_correlation(counts: ClassCounts) -> float:
    """The correlation of targets and predictions: MCC, or phi, for two classes.

    For more it is R_K (Gorodkin 2004). A guess that does not look at the data has 0,
    however rare a class is.
    """
    support, predicted, correct = (a.astype(np.float64) for a in _int64(counts))
    total = support.sum()
    together = correct.sum() * total - support @ predicted
    alone = (total**2 - support @ support) * (total**2 - predicted @ predicted)
    return float(together / np.sqrt(alone)) if alone > 0 else 0.0


def cohen_kappa(counts: ClassCounts) -> float:
    """Cohen's kappa (1960): the accuracy above that of guesses with the same shares.

    1 if all is right, 0 if no more is right than by chance.
    """
    support, predicted, correct = (a.astype(np.float64) for a in _int64(counts))
    total = support.sum()
    by_chance = support @ predicted
    left = total**2 - by_chance
    return float((correct.sum() * total - by_chance) / left) if left > 0 else 0.0


def _int64(counts: ClassCounts) -> tuple[NDArray[np.int64], ...]:
    found = counts.support, counts.predicted, counts.correct
    return tuple(np.asarray(each, np.int64) for each in found)


def _square(beta: float) -> float:
    if not 0 < beta < np.inf:
        raise InputError(f"beta: expected a number above 0, found {beta}")
    return beta**2
