"""A linear model of n-grams: it begins as naive Bayes and learns what that gets wrong.

    ln P(c | text) = b[c] + Σ over terms (a[kind] r[term, c] + v[term, c])  + constant

r are the log-count ratios of the terms that a text has (`ratios.py`), counted without
the text itself while a and b are fitted: a few numbers, for which a few hundred texts
are enough. What that leaves is learned by v, a number for each term and class that is
pulled to zero. The less there is to learn from, the more it is naive Bayes.

Terms are of three kinds: words, pairs of words, and pieces of words, "^un" or "less$".
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from experiments.sentiment.ratios import ClassRatios, count_classes, log_ratios
from lstm_jax import InputError
from lstm_jax.storage import read_json, write_json

PENALTY = 0.04  # of v: half of it times their squares is added to the mean loss
_SLIGHT = 1e-4  # of a and b
_PIECES = 4, 5  # letters of a piece, the ends of the word among them
_PIECE, _KINDS = "\t", 3  # what a piece begins with, which no word does
_ROUNDS = 60  # of L-BFGS, at most
_LARGEST = 1 << 30  # bytes of the table as a file
Floats = NDArray[np.float64]


def ngrams_of(words: Sequence[str]) -> list[str]:
    """The terms that a text has, each once."""
    pairs = (f"{first} {second}" for first, second in itertools.pairwise(words))
    pieces = (piece for word in dict.fromkeys(words) for piece in _pieces(word))
    return [*dict.fromkeys(itertools.chain(words, pairs, pieces))]


def ratios_along(
    ratios: ClassRatios, words: Sequence[str], own: int | None = None
) -> NDArray[np.float32]:
    """What is known in every place of a text, [T, 3 classes].

    The ratios of the word there, those of the pair that it ends, and the mean of those
    of its pieces.

    Args:
        ratios: of the terms of `ngrams_of`.
        words: of the text, T of them.
        own: the class of the text, if it is one of those that were counted.
    """
    pairs = ["", *(f"{first} {second}" for first, second in itertools.pairwise(words))]
    pieces = [_pieces(word) for word in words]
    sizes = np.array([len(each) for each in pieces], np.int64)
    place = np.repeat(np.arange(len(words)), sizes)
    found = np.zeros((len(words), len(ratios.prior)), np.float32)
    np.add.at(found, place, ratios.of([*itertools.chain(*pieces)], own))
    found /= np.maximum(sizes, 1)[:, None]
    each = ratios.of(words, own), ratios.of(pairs[: len(words)], own), found
    return np.concatenate(each, axis=1)


def _pieces(word: str) -> list[str]:
    whole = f"^{word}$"
    starts = ((n, k) for n in _PIECES for k in range(len(whole) - n + 1))
    return [_PIECE + whole[k : k + n] for n, k in starts]


def _kind(term: str) -> int:
    """0 of words, 1 of pairs, 2 of pieces."""
    return 2 if term[0] == _PIECE else int(" " in term)


@dataclasses.dataclass(frozen=True)
class NgramModel:
    """What every term adds to the logits.

    Attributes:
        rows: of each term in `weights`.
        weights: a r + v, [terms, classes].
        bias: b, [classes].
    """

    rows: Mapping[str, int]
    weights: NDArray[np.float32]
    bias: Floats

    def log_proba(self, documents: Iterable[Sequence[str]]) -> Floats:
        """Ln P(class | document), [N, classes].

        Args:
            documents: the terms of each, of `ngrams_of`. New ones say nothing.
        """
        logits = [self._logits(terms) for terms in documents]
        return log_softmax(np.array(logits).reshape(-1, len(self.bias)), axis=1)

    def _logits(self, terms: Sequence[str]) -> Floats:
        rows = [self.rows[term] for term in terms if term in self.rows]
        return self.bias + self.weights[rows].sum(axis=0, dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        terms = dict(zip(self.rows, self.weights.tolist(), strict=True))
        write_json(path, {"bias": self.bias.tolist(), "terms": terms})


def load_ngrams(path: Path, classes: int) -> NgramModel:
    """Read what `NgramModel.save` wrote.

    Raises:
        InputError: the file is missing or damaged, or of other classes.
    """
    record = read_json(path, "an n-gram model", _LARGEST)
    terms, bias = record.get("terms"), record.get("bias")
    try:
        assert isinstance(terms, dict)
        weights = np.array([*terms.values()], np.float32).reshape(len(terms), classes)
        logits = np.array(bias, np.float64)
        assert logits.shape == (classes,)
        assert np.isfinite(weights).all() and np.isfinite(logits).all()
    except (AssertionError, TypeError, ValueError):
        raise InputError(f"{path}: expected weights of {classes} classes") from None
    return NgramModel({term: k for k, term in enumerate(terms)}, weights, logits)


def fit_ngrams(
    documents: Sequence[Sequence[str]], labels: ArrayLike, classes: int
) -> NgramModel:
    """Count the terms, weigh their kinds, and learn what that leaves.

    Args:
        documents: the terms of each training text, N of them, of `ngrams_of`.
        labels: [N], classes from 0.
        classes: how many classes there are.
    """
    labels = np.asarray(labels)
    ratios = count_classes(documents, labels, classes)
    has = _matrix_of(documents, ratios.rows)
    kinds = np.array([_kind(term) for term in ratios.rows], np.int64)
    sums = _sums_without(ratios, has, kinds, labels)
    weights, bias = _weigh_kinds(sums, labels)
    known = np.einsum("nkc,k->nc", sums, weights) + bias
    counted = log_ratios(ratios.counts, ratios.prior) * weights[kinds, None]
    learned = _learn_terms(has, known, labels)
    return NgramModel(ratios.rows, (counted + learned).astype(np.float32), bias)


def _matrix_of(
    documents: Sequence[Sequence[str]], rows: Mapping[str, int]
) -> csr_matrix:
    """Ones where a text has a term, [N, terms]."""
    terms = np.array([rows[term] for each in documents for term in each], np.int64)
    ends = np.cumsum([0, *map(len, documents)])
    shape = (len(documents), len(rows))
    return csr_matrix((np.ones(len(terms)), terms, ends), shape=shape)


def _sums_without(
    ratios: ClassRatios,
    has: csr_matrix,
    kinds: NDArray[np.int64],
    labels: NDArray[np.integer],
) -> Floats:
    """The ratios of each text's terms, counted without the text: [N, kinds, classes].

    Added up over the terms of a kind.
    """
    count, classes = has.shape[0], len(ratios.prior)
    text = np.repeat(np.arange(count), np.diff(has.indptr))
    counts = ratios.counts[has.indices].astype(np.float64)
    counts[np.arange(len(text)), labels[text]] -= 1
    sums = np.zeros((count, _KINDS, classes))
    np.add.at(sums, (text, kinds[has.indices]), log_ratios(counts, ratios.prior))
    return sums


def _weigh_kinds(sums: Floats, labels: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """The weight of each kind of terms, and the biases: logistic regression."""
    kinds, classes = sums.shape[1:]

    def logits_of(numbers: Floats) -> Floats:
        return np.einsum("nkc,k->nc", sums, numbers[:kinds]) + numbers[kinds:]

    def gradient_of(errors: Floats) -> Floats:
        by_kind = np.einsum("nkc,nc->k", sums, errors)
        return np.concatenate([by_kind, errors.sum(axis=0)])

    found = _fitted(logits_of, gradient_of, kinds + classes, labels, _SLIGHT)
    return found[:kinds], found[kinds:]


def _learn_terms(has: csr_matrix, known: Floats, labels: NDArray[np.integer]) -> Floats:
    """What each term adds to the logits that are known, [terms, classes]."""
    shape = has.shape[1], known.shape[1]
    turned = has.T.tocsr()

    def logits_of(numbers: Floats) -> Floats:
        return known + has @ numbers.reshape(shape)

    def gradient_of(errors: Floats) -> Floats:
        return (turned @ errors).ravel()

    size = shape[0] * shape[1]
    return _fitted(logits_of, gradient_of, size, labels, PENALTY).reshape(shape)


def _fitted(
    logits_of: Callable[[Floats], Floats],
    gradient_of: Callable[[Floats], Floats],
    size: int,
    labels: NDArray[np.integer],
    penalty: float,
) -> Floats:
    """The numbers of a linear model with the least mean loss and penalty.

    Args:
        logits_of: the logits [N, classes] that some numbers make.
        gradient_of: the sum over texts of their derivatives by the numbers, times
            some errors [N, classes].
        size: how many numbers.
        labels: the classes, [N].
        penalty: half of it times the numbers' squares is added to the mean loss.
    """
    rows = np.arange(len(labels))

    def loss_of(numbers: Floats) -> tuple[float, Floats]:
        logs = log_softmax(logits_of(numbers), axis=1)
        errors = np.exp(logs)
        errors[rows, labels] -= 1
        loss = -logs[rows, labels].mean() + penalty / 2 * (numbers @ numbers)
        return loss, gradient_of(errors) / len(labels) + penalty * numbers

    start, limit = np.zeros(size), {"maxiter": _ROUNDS}
    return minimize(loss_of, start, jac=True, method="L-BFGS-B", options=limit).x
