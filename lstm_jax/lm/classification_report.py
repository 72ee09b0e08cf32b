"""What was measured of a classification, whole: averages, classes and mistakes."""

from collections.abc import Sequence

from lstm_jax.data.tokenizers.vocabulary import TextSize
from lstm_jax.lm.evaluation import all_scores
from lstm_jax.metrics.classification import ClassificationSums, Confusion, class_report
from lstm_jax.storage.files import Fields


def classification_report(
    found: ClassificationSums, names: Sequence[str], size: TextSize | None = None
) -> Fields:
    """All of it as a JSON object.

    Args:
        found: the totals.
        names: of the C classes.
        size: of the text that was predicted, see `evaluation.scores`.

    Returns:
        `evaluation.all_scores`; `classes`, for every class its precision, recall, F1,
        support and how often it was predicted; and `confusion`, the counts [C][C] with
        the target first, None where there were too many classes for a matrix.
    """
    report = class_report(found.class_counts())
    columns = ("precision", "recall", "f1", "support", "predicted")
    rows = zip(*(getattr(report, name).tolist() for name in columns), strict=True)
    return {
        **all_scores(found, size),
        "classes": [
            {"name": name, **dict(zip(columns, row, strict=True))}
            for name, row in zip(names, rows, strict=True)
        ],
        "confusion": found.classes.matrix.tolist()
        if isinstance(found.classes, Confusion)
        else None,
    }
