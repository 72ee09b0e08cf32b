"""What was measured of a classification, whole: averages, classes and mistakes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lstm_jax.metrics import Confusion, Measures, class_report
from lstm_jax.protocols import all_scores
from lstm_jax.rundir import Fields


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


def scorecard(found: Measures, names: Sequence[str]) -> Fields:
    """All of it as a JSON object.

    Args:
        found: the totals.
        names: of the C classes.

    Returns:
        `protocols.all_scores`; `classes`, for every class its precision, recall, F1,
        support and how often it was predicted; and `confusion`, the counts [C][C] with
        the target first, None where there were too many classes for a matrix.
    """
    report = class_report(found.class_counts())
    columns = ("precision", "recall", "f1", "support", "predicted")
    rows = zip(*(getattr(report, name).tolist() for name in columns), strict=True)
    return {
        **all_scores(found),
        "classes": [
            {"name": name, **dict(zip(columns, row, strict=True))}
            for name, row in zip(names, rows, strict=True)
        ],
        "confusion": found.classes.matrix.tolist()
        if isinstance(found.classes, Confusion)
        else None,
    }
