"""Multinomial naive Bayes on words and pairs of words: what a classifier must beat.

It counts, has nothing to tune, and fits in a second. On short texts it is a floor that
many a neural network has not reached (Wang & Manning 2012).
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_jax import InputError
from lstm_jax.storage import read_json, write_json

_LARGEST = 1 << 30  # bytes of the table as a file
Terms = Sequence[str | tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class NaiveBayes:
    """What the counts say of every class.

    Attributes:
        log_chance: ln P(term | class) by term, [classes] each.
        log_prior: ln P(class), [classes].
    """

    log_chance: Mapping[str | tuple[str, str], NDArray[np.float64]]
    log_prior: NDArray[np.float64]

    def scores(self, documents: Iterable[Terms]) -> NDArray[np.float64]:
        """Ln P(class) + Σ ln P(term | class) of each document, [N, classes].

        A term that no training document has says nothing.
        """
        known = self.log_chance
        return np.array(
            [
                self.log_prior + sum(known[term] for term in terms if term in known)
                for terms in documents
            ]
        )

    def log_proba(self, documents: Iterable[Terms]) -> NDArray[np.float64]:
        """Ln P(class | document), [N, classes]."""
        scores = self.scores(documents)
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        terms = {
            term if isinstance(term, str) else " ".join(term): chances.tolist()
            for term, chances in self.log_chance.items()
        }
        write_json(path, {"prior": np.exp(self.log_prior).tolist(), "terms": terms})


def load_naive_bayes(path: Path, classes: int) -> NaiveBayes:
    """Read what `NaiveBayes.save` wrote.

    Raises:
        InputError: the file is missing or damaged, or of other classes.
    """
    record = read_json(path, "a naive Bayes", _LARGEST)
    prior, terms = record.get("prior"), record.get("terms")
    try:
        assert isinstance(terms, dict)
        table = {_term(name): np.array(row, float) for name, row in terms.items()}
        with np.errstate(divide="ignore"):  # ln 0: a class without examples
            log_prior = np.log(np.array(prior, float))
        assert all(row.shape == (classes,) for row in (log_prior, *table.values()))
    except (AssertionError, TypeError, ValueError):
        raise InputError(f"{path}: expected chances of {classes} classes") from None
    return NaiveBayes(table, log_prior)


def _term(name: str) -> str | tuple[str, str]:
    first, space, second = name.partition(" ")
    return (first, second) if space else name


def with_pairs(words: Sequence[str]) -> Terms:
    """The words of a text, and its pairs of neighbours."""
    return [*words, *itertools.pairwise(words)]


def fit_naive_bayes(
    documents: Iterable[Terms], labels: ArrayLike, classes: int
) -> NaiveBayes:
    """Count terms by class, every term once more than it was seen (Laplace).

    Args:
        documents: the terms of each training document, N of them.
        labels: [N], classes from 0.
        classes: how many classes there are.
    """
    labels = np.asarray(labels)
    counts: dict = collections.defaultdict(lambda: np.ones(classes))
    for terms, label in zip(documents, labels, strict=True):
        for term in terms:
            counts[term][label] += 1
    totals = np.log(sum(counts.values(), np.zeros(classes)))
    with np.errstate(divide="ignore"):  # ln 0: a class without examples
        prior = np.log(np.bincount(labels, minlength=classes) / len(labels))
    return NaiveBayes({term: np.log(n) - totals for term, n in counts.items()}, prior)
