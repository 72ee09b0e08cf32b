"""What a term says of the classes: how much likelier each is among texts that have it.

    r[c] = ln P(c | term) / P(c),    P(c | term) = (n[c] + a P(c)) / (n + a)

n[c] texts of class c have the term, n of all. A term that no text has says nothing,
and one that few have says little. A training text is in the counts of its own terms,
so a network that read them would read its label; what it reads are the ratios without
that text (leave-one-out).
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_jax import InputError
from lstm_jax.storage import read_json, write_json

_PRIOR_TEXTS = (
    2.0  # a, in texts; with two balanced classes it is Laplace's one for each
)
_LARGEST = 1 << 30  # bytes of the table as a file


@dataclasses.dataclass(frozen=True)
class ClassRatios:
    """Counts of texts by term and class.

    Attributes:
        rows: of each term in `counts`.
        counts: texts of each class with a term, [terms, classes].
        prior: P(class), [classes].
    """

    rows: Mapping[str, int]
    counts: NDArray[np.float32]
    prior: NDArray[np.float64]

    def of(self, terms: Sequence[str], own: int | None = None) -> NDArray[np.float32]:
        """The ratios of some terms, [len(terms), classes].

        Args:
            terms: of one text.
            own: the class of the text, if it is one of those that were counted.
        """
        rows = np.array([self.rows.get(term, -1) for term in terms], np.int64)
        known, counts = rows >= 0, np.zeros((len(terms), len(self.prior)))
        counts[known] = self.counts[rows[known]]
        if own is not None:
            counts[known, own] -= 1
        return log_ratios(counts, self.prior).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        counts = self.counts.astype(int).tolist()
        terms = dict(zip(self.rows, counts, strict=True))
        write_json(path, {"prior": self.prior.tolist(), "terms": terms})


def log_ratios(
    counts: NDArray[np.floating], prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Ln P(class | term) / P(class), [terms, classes].

    Args:
        counts: texts of each class that have the term, [terms, classes].
        prior: P(class), [classes].
    """
    total = counts.sum(axis=1, keepdims=True) + _PRIOR_TEXTS
    return np.log((counts / prior + _PRIOR_TEXTS) / total)


def count_classes(
    documents: Iterable[Iterable[str]], labels: ArrayLike, classes: int
) -> ClassRatios:
    """Count in how many texts of each class a term is.

    Args:
        documents: the terms of each text, N of them.
        labels: [N], classes from 0.
        classes: how many classes there are.
    """
    labels = np.asarray(labels)
    counts: dict[str, list[int]] = {}
    for terms, label in zip(documents, labels, strict=True):
        for term in dict.fromkeys(terms):
            counts.setdefault(term, [0] * classes)[label] += 1
    rows = {term: row for row, term in enumerate(counts)}
    table = np.array([*counts.values()], np.float32).reshape(len(rows), classes)
    # A class without texts is as if it had one in a billion.
    prior = np.maximum(np.bincount(labels, minlength=classes) / len(labels), 1e-9)
    return ClassRatios(rows, table, prior)


def load_ratios(path: Path, classes: int) -> ClassRatios:
    """Read what `ClassRatios.save` wrote.

    Raises:
        InputError: the file is missing or damaged, or of other classes.
    """
    record = read_json(path, "counts of classes", _LARGEST)
    terms, prior = record.get("terms"), record.get("prior")
    try:
        assert isinstance(terms, dict)
        counts = np.array([*terms.values()], np.float32).reshape(len(terms), classes)
        chances = np.array(prior, float)
        assert chances.shape == (classes,) and (chances > 0).all()
        assert (counts >= 0).all()
    except (AssertionError, TypeError, ValueError):
        raise InputError(f"{path}: expected counts of {classes} classes") from None
    return ClassRatios({term: k for k, term in enumerate(terms)}, counts, chances)
