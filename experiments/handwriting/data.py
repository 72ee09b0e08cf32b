"""PenDigits: files to digits, and the part of them that settings are chosen by."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lstm_jax
from experiments.digits import NAMES
from experiments.handwriting.augment import Variation, varied
from experiments.handwriting.strokes import FARTHEST, POINTS, Points, stretched
from lstm_jax.data import bytes_of

PARTS = "PenDigits_TRAIN.ts", "PenDigits_TEST.ts"
_STYLES = 40  # of each digit


class Digits(NamedTuple):
    """Isolated digits: points [N, 8, 2] in the square from -1 to 1, classes [N]."""

    points: Points
    classes: np.ndarray

    def rows(self, which: np.ndarray) -> Digits:
        """Some of them, by number or by mask."""
        return Digits(self.points[which], self.classes[which])


def read_digits(path: Path) -> Digits:
    """Read a `.ts` file: a digit per line, its 8 x, its 8 y (upwards) and its class.

    Raises:
        InputError: it is missing, or no such file.
    """
    text = b"".join(bytes_of(path)).decode("utf-8-sig", "replace")
    points, classes = [], []
    for number, line in enumerate(map(str.strip, re.split("\r\n?|\n", text)), 1):
        if line and line[0] not in "#@":
            try:
                *axes, label = line.split(":")
                digit = np.array([axis.split(",") for axis in axes], float).T
                if digit.shape != (POINTS, 2) or not (abs(digit) <= FARTHEST).all():
                    raise ValueError
                classes.append([*NAMES].index(label.strip()))
            except ValueError:
                raise lstm_jax.InputError(
                    f"{path}, line {number}: expected 8 x, 8 y and a digit, "
                    f"x,...:y,...:digit, found {line!r:.60}"
                ) from None
            points.append(digit)
    if not points:
        raise lstm_jax.InputError(f"{path}: expected digits, found none")
    return Digits(stretched(np.stack(points)), np.array(classes))


def scribbles(count: int = 12) -> tuple[Digits, Digits]:
    """A stand-in for both parts of PenDigits: each digit is a scribble, varied."""
    rng = np.random.default_rng(0)
    kinds = stretched(np.cumsum(rng.normal(size=(10, POINTS, 2)), axis=1))
    classes = np.arange(10 * count) % 10
    parts = [varied(rng, kinds[classes], Variation()) for _ in range(2)]
    return Digits(parts[0], classes), Digits(parts[1], classes)


def without_styles(digits: Digits) -> tuple[Digits, Digits]:
    """Most digits, and a quarter whose styles the others do not have.

    The files do not say who wrote which digit, nor does their order. So the digits of
    each class are gathered in 40 clusters (k-means), and some of these, a quarter of
    the digits, are held out: as other people's hands would be.
    """
    rng = np.random.default_rng(0)
    held_out = np.zeros(len(digits.classes), bool)
    for digit in np.unique(digits.classes):
        mine = np.flatnonzero(digits.classes == digit)
        styles = _clusters(rng, digits.points[mine].reshape(len(mine), -1), _STYLES)
        for style in rng.permutation(_STYLES):
            these = mine[styles == style]
            if held_out[mine].sum() + len(these) <= len(mine) / 4:
                held_out[these] = True
    return digits.rows(~held_out), digits.rows(held_out)


def _clusters(rng: np.random.Generator, vectors: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` clusters each vector [N, D] is in, by 30 rounds of k-means."""
    centres = vectors[rng.permutation(len(vectors))[:count]]
    nearest = np.zeros(len(vectors), int)
    for _ in range(30):
        away = np.square(vectors[:, None] - centres).sum(axis=2)
        nearest = away.argmin(axis=1)
        for k in np.unique(nearest):
            centres[k] = vectors[nearest == k].mean(axis=0)
    return nearest


def hold_out(digits: Digits, share: float, seed: int) -> tuple[Digits, Digits]:
    """Digits to learn from, and a share of them, drawn at random, to validate by."""
    count = max(1, round(share * len(digits.classes)))
    order = np.random.default_rng(seed).permutation(len(digits.classes))
    return digits.rows(np.sort(order[count:])), digits.rows(order[:count])
