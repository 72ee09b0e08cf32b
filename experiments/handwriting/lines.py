"""Lines of digits, written of isolated ones: side by side, as a hand would; NumPy only.

PenDigits has digits of one size without their proportions, 8 points each. A line gives
them width and height, rounds their corners, sets them beside each other with gaps that
may be negative, and leans on all of them. The pen is lifted between digits, and within
half of the digits that are often written in two strokes. The data do not tell where:
see `lift` for where it is taken to be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.handwriting.data import Digits
from experiments.handwriting.strokes import Points

MOST = 6  # digits of a line
_ONE = 1  # the digit that is narrow
_FINE = 4  # points that a step from point to point is made of
_FOUR = 4
_TWO_STROKES = _FOUR, 5, 7
_STRAIGHT = np.cos(np.radians(20))


class Line(NamedTuple):
    """Strokes [N, 2] in order of time, and the symbols of CTC they stand for."""

    strokes: list[Points]
    symbols: tuple[int, ...]


def write_line(rng: np.random.Generator, digits: Digits) -> Line:
    """Write digits side by side; they are about 1 high.

    Width by height is 0.5 to 1, of a one 0.1 to 0.6. The sizes differ by a tenth, the
    line climbs or falls, and leans by 0.2 of its height one way or the other (standard
    deviations). The gaps between digits are -0.05 to 0.4, about a mean of the line's.
    """
    lean, climb = rng.normal(0, 0.2), rng.normal(0, 0.04)
    round_, gap = rng.uniform(0, 1), rng.uniform(-0.05, 0.4)
    strokes, right = [], 0.0
    for points, digit in zip(digits.points, digits.classes, strict=True):
        high = np.exp(rng.normal(0, 0.1))
        wide = high * (rng.uniform(0.1, 0.6) if digit == _ONE else rng.uniform(0.5, 1))
        curve = rounded(points, round_) * [wide / 2, high / 2]
        curve += [right + wide / 2, rng.normal(0, 0.06)]
        right += wide + gap + rng.normal(0, 0.06)
        lifted = rng.random() < 0.5 and digit in _TWO_STROKES
        strokes += lift(curve, points, int(digit)) if lifted else [curve]
    matrix = np.array([[1.0, climb], [lean, 1.0]])
    symbols = tuple((digits.classes + 1).tolist())
    return Line([stroke @ matrix for stroke in strokes], symbols)


def write_lines(digits: Digits, rounds: int, shortest: int = 2) -> list[Line]:
    """The lines of a test, the same in every run.

    Each round uses every digit once, but for those that are left when a line can't be
    made of them any more.
    """
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(rounds):
        order = rng.permutation(len(digits.classes))
        while len(order) >= shortest:
            count = int(rng.integers(shortest, MOST + 1))
            some, order = order[:count], order[count:]
            lines.append(write_line(rng, digits.rows(some)))
    return lines


def rounded(points: Points, share: float) -> Points:
    """A curve through points [N, 2] at 4 (N - 1) + 1 places.

    Between straight lines (`share` 0) and the spline of Catmull & Rom 1974 (1).
    """
    ends = 2 * points[[0, -1]] - points[[1, -2]]
    around = np.concatenate([ends[:1], points, ends[1:]])
    before, here, there, after = (around[k : k + len(points) - 1] for k in range(4))
    t = (np.arange(_FINE) / _FINE)[:, None, None]
    straight = here + t * (there - here)
    bend = t * (1 - t) / 2 * ((1 - t) * (2 * here - before - there))
    bend += t * (1 - t) / 2 * (t * (2 * there - here - after))
    curve = (straight + share * bend).swapaxes(0, 1).reshape(-1, 2)
    return np.concatenate([curve, points[-1:]])


def lift(curve: Points, points: Points, digit: int) -> list[Points]:
    """Lift the pen between the two strokes of a curve through points [N, 2].

    The second stroke of a 5 or a 7 begins above the end of the first: air is where the
    curve rises most, over several steps if it goes straight on. If it rises by less
    than a quarter of the height, there is one stroke. The second stroke of a 4 may
    begin at the first one's height, but points elsewhere: air is the step with the
    sharpest turns before and after it. The first and the last step are ink.
    """
    steps = np.diff(points, axis=0)
    ways = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    if digit == _FOUR:
        turns = np.arccos(np.clip((ways[:-1] * ways[1:]).sum(axis=1), -1, 1))
        first = last = 1 + int((turns[:-1] + turns[1:]).argmax())
    else:
        first = last = 1 + int(steps[1:-1, 1].argmax())
        if steps[first, 1] < np.ptp(points[:, 1]) / 4:
            return [curve]
        straight = ways @ ways[first] > _STRAIGHT
        while first > 1 and straight[first - 1]:
            first -= 1
        while last < len(steps) - 2 and straight[last + 1]:
            last += 1
    return [curve[: _FINE * first + 1], curve[_FINE * (last + 1) :]]
