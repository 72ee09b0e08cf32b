"""Pen strokes as numbers that a network reads: curves, resampled, and their features.

A stroke is an array of points [N, 2], x to the right and y upwards, in order of time.
NumPy only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]  # [..., N, 2]
POINTS = 8  # of an isolated digit
FARTHEST = 1e9  # of a coordinate in a file; more is a damaged one
SPACING = 0.2  # between points of a line, in heights of the line
FEATURES = 10  # of a point of an isolated digit
LINE_FEATURES = 7  # of a point of a line
_FLATTEST = 0.05  # width by height, or the reverse, that is still stretched to a square


def arc_lengths(stroke: Points) -> NDArray[np.floating]:
    """How far each point [N] is from the first one, along the stroke [N, 2]."""
    steps = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def resample(stroke: Points, count: int) -> Points:
    """Points at equal distances along a stroke [N, 2], [count, 2], both ends kept."""
    lengths = arc_lengths(stroke)
    places = np.linspace(0.0, lengths[-1], count)
    return np.stack([np.interp(places, lengths, axis) for axis in stroke.T], axis=1)


def resampled_to(stroke: Points) -> int:
    """How many points a stroke [N, 2] of a scaled line has for the network.

    One shorter than half a step is a dot: one point.
    """
    return 1 + round(float(arc_lengths(stroke)[-1]) / SPACING)


def stretched(points: Points) -> Points:
    """Digits [..., N, 2] in the square from -1 to 1, width and height apart.

    So are the digits of PenDigits, whose square is that from 0 to 100. A line that is
    all but straight up, or level, is not made a zigzag: it is put in the middle.
    """
    low = points.min(axis=-2, keepdims=True)
    high = points.max(axis=-2, keepdims=True)
    size = high - low
    largest = np.maximum(size.max(axis=-1, keepdims=True), 1e-12)
    return (2 * points - low - high) / np.where(
        size > _FLATTEST * largest, size, largest
    )


def one_digit(strokes: Sequence[Points]) -> Points:
    """All strokes as one isolated digit [8, 2], as PenDigits has it.

    Where the pen is lifted the strokes are joined by a straight line, which counts.
    """
    return stretched(resample(np.concatenate(strokes), POINTS))


def digit_features(points: Points) -> NDArray[np.float32]:
    """What the network is told of isolated digits [..., N, 2]: [..., N, 10].

    Of each point: x and y; the step to it from the last one, its length, its direction
    as sine and cosine; the same direction of the step that follows, and its length.
    """
    steps = np.diff(points, axis=-2)
    nothing = np.zeros_like(points[..., :1, :])
    before = np.concatenate([nothing, steps], axis=-2)
    after = np.concatenate([steps, nothing], axis=-2)
    parts = [points, before, *_polar(before), *_polar(after)]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def _polar(steps: Points) -> tuple[Points, Points]:
    """Lengths [..., N, 1] of steps [..., N, 2], and their directions [..., N, 2]."""
    lengths = np.linalg.norm(steps, axis=-1, keepdims=True)
    return lengths, steps / np.maximum(lengths, 1e-6)


def line_features(strokes: Sequence[Points]) -> NDArray[np.float32]:
    """What the network is told of a line of digits: [T, 7].

    The line is scaled to height 1 and its strokes resampled. Of each point: y; the
    step to it from the last one, also through the air, its length, its direction as
    sine and cosine; and whether the pen came through the air.
    """
    line = scaled(strokes)
    parts = [resample(stroke, resampled_to(stroke)) for stroke in line]
    points = np.concatenate(parts)
    steps = np.diff(points, axis=0, prepend=points[:1])
    lifted = np.zeros((len(points), 1))
    lifted[np.cumsum([len(part) for part in parts[:-1]], dtype=int)] = 1.0
    columns = [points[:, 1:], steps, *_polar(steps), lifted]
    return np.concatenate(columns, axis=1).astype(np.float32)


def scaled(strokes: Sequence[Points]) -> list[Points]:
    """A line of strokes from y = -0.5 to 0.5, shapes kept.

    Without height, a dash or a dot, it is scaled as if a third as high as wide.
    """
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = high - low
    size = max(height, width / 3 if height < 1e-3 * width else 0.0, 1e-12)
    middle = np.array([low[0], (low[1] + high[1]) / 2])
    return [(stroke - middle) / size for stroke in strokes]
