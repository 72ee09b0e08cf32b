"""The floor: which known digit is nearest, and where digits end; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.handwriting.data import Digits
from experiments.handwriting.strokes import Points, one_digit

_ROWS = 500  # compared at a time


def nearest(known: Digits, points: Points) -> np.ndarray:
    """The class [B] of the known digit nearest to each of some [B, N, 2] (1-NN).

    Near is what is a short Euclidean distance away, point by point.
    """
    there = known.points.reshape(len(known.points), -1)
    here = points.reshape(len(points), -1)
    squares = np.square(there).sum(axis=1)
    found = [
        (squares - 2 * here[k : k + _ROWS] @ there.T).argmin(axis=1)
        for k in range(0, len(here), _ROWS)
    ]
    return known.classes[np.concatenate(found)]


def cut(strokes: Sequence[Points]) -> list[list[Points]]:
    """Strokes [N, 2] that belong to one digit each.

    A stroke goes with the one before it if one of them is for more than half of its
    width above or below the other; else the pen went on to the next digit.
    """
    pieces: list[list[Points]] = []
    for stroke in strokes:
        if pieces and overlap(np.concatenate(pieces[-1]), stroke) > 0.5:
            pieces[-1].append(stroke)
        else:
            pieces.append([stroke])
    return pieces


def overlap(one: Points, other: Points) -> float:
    """How much of the narrower of two strokes is above or below the other one."""
    (left, right), (start, end) = (
        (points[:, 0].min(), points[:, 0].max()) for points in (one, other)
    )
    shared = min(right, end) - max(left, start)
    narrower = min(right - left, end - start)
    tiny = 1e-9  # a stem has no width, and is wholly above its bar
    return float(np.clip((shared + tiny) / (narrower + tiny), 0.0, 1.0))


def read_pieces(known: Digits, lines: Sequence[Sequence[Points]]) -> list[list[int]]:
    """The symbols of lines of strokes [N, 2]: cut into digits, each named by 1-NN."""
    pieces = [cut(strokes) for strokes in lines]
    digits = np.stack([one_digit(piece) for line in pieces for piece in line])
    symbols = nearest(known, digits) + 1
    ends = np.cumsum([len(line) for line in pieces])[:-1]
    return [part.tolist() for part in np.split(symbols, ends)]
