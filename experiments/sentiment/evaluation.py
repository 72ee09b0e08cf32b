"""Which classes were taken for which, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import lstm_jax

if TYPE_CHECKING:
    from lstm_jax.metrics import ClassReport, Confusion


def confusion(labels: np.ndarray, found: np.ndarray, classes: int) -> Confusion:
    """How often each class was taken for which, over all folds."""
    import jax.numpy as jnp

    everywhere = jnp.ones(len(labels), bool)
    return lstm_jax.metrics.confusion(
        jnp.asarray(found), jnp.asarray(labels), everywhere, classes
    )


def report(counts: Confusion, classes: Sequence[str], title: str) -> ClassReport:
    """Print precision, recall and F1 of each class, and the confusion matrix."""
    found = lstm_jax.metrics.class_report(counts.classes())
    width = max(5, *map(len, classes))
    print(f"\n{title}\n{'':{width}}  precision  recall      F1   taken for")
    columns = found.precision, found.recall, found.f1, counts.matrix.tolist()
    for name, *row in zip(classes, *columns, strict=True):
        print("{:>{}}  {:9.4f}  {:6.4f}  {:6.4f}   {}".format(name, width, *row))
    mean = found.averages["macro"].values()
    print("{:>{}}  {:9.4f}  {:6.4f}  {:6.4f}".format("macro", width, *mean))
    return found
