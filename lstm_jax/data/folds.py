"""Who is held out when: k folds that are an exact partition. NumPy only.

A fold is made from one number per row, the fold whose test part it belongs to. So every
row is tested exactly once and is trained on in all the other folds, by construction.

    block_folds         text and time: neighbours are alike and must stay together
    stratified_folds    labelled rows: every fold has its share of each label
    stratified_split    the same, one test part of any size
    shuffled_folds      any other rows
"""

import dataclasses
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstm_jax.errors import InputError

Indices = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Fold:
    """Rows to learn from and rows to be tested on, [n] each and ascending."""

    train: Indices
    test: Indices


def block_folds(count: int, folds: int) -> list[Fold]:
    """Contiguous test blocks, in order; their sizes differ by one at most.

    Two of the training parts, one before the block and one after it, do not touch: what
    is cut into sequences must not join them.

    Args:
        count: N, how many rows, symbols or time steps there are.
        folds: k, how many folds to make.

    Raises:
        InputError: `folds` is less than 2 or more than `count`.
    """
    _check(count, folds)
    return _folds(np.arange(count) * folds // count, folds)


def shuffled_folds(count: int, folds: int, seed: int = 0) -> list[Fold]:
    """Test parts drawn at random; their sizes differ by one at most.

    Args:
        count: N, how many rows there are.
        folds: k, how many folds to make.
        seed: decides the draw.

    Raises:
        InputError: `folds` is less than 2 or more than `count`.
    """
    return stratified_folds(np.zeros(count), folds, seed)


def stratified_folds(labels: ArrayLike, folds: int, seed: int = 0) -> list[Fold]:
    """Random test parts with their share of every label.

    The rows are shuffled, sorted by label and dealt out like cards. So folds differ by
    one at most in their rows of a label, and in their number of rows. A label with
    fewer rows than folds is missing from some test parts.

    Args:
        labels: the label of each row, [N].
        folds: k, how many folds to make.
        seed: decides the draw.

    Raises:
        InputError: `folds` is less than 2 or more than N.
    """
    labels = np.asarray(labels)
    _check(len(labels), folds)
    tested_in = np.empty(len(labels), np.int64)
    tested_in[_sorted_by_label(labels, seed)] = np.arange(len(labels)) % folds
    return _folds(tested_in, folds)


def stratified_split(labels: ArrayLike, share: float, seed: int = 0) -> Fold:
    """One random test part that has this share of every label.

    Where the share is 1 / k it is the first of k `stratified_folds`.

    Args:
        labels: the label of each row, [N].
        share: of the rows, for the test part, above 0 and below 1; a row is added
            rather than left out.
        seed: decides the draw.

    Raises:
        InputError: nothing is left to learn from.
    """
    labels = np.asarray(labels)
    exact = Fraction(share).limit_denominator(10_000)
    dealt = np.arange(len(labels) + 1)
    above = -(-dealt * exact.numerator // exact.denominator)  # rounded up
    chosen = np.diff(above) > 0
    if chosen.all():
        raise InputError(
            f"expected a text to learn from beside a share of {share:g}, found "
            f"{len(labels)} in all"
        )
    tested_in = np.ones(len(labels), np.int64)
    tested_in[_sorted_by_label(labels, seed)[chosen]] = 0
    return _folds(tested_in, 1)[0]


def _sorted_by_label(labels: np.ndarray, seed: int) -> Indices:
    """The rows in random order, those of each label together."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _folds(tested_in: Indices, folds: int) -> list[Fold]:
    """The folds, given which of them tests each row, [N]."""
    return [
        Fold(np.flatnonzero(tested_in != k), np.flatnonzero(tested_in == k))
        for k in range(folds)
    ]


def _check(count: int, folds: int) -> None:
    if not 2 <= folds <= count:
        raise InputError(
            f"--folds: expected a number from 2 to {count}, the number of rows, "
            f"found {folds}"
        )
