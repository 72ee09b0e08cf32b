"""Variations of digits to learn from, and lines written of them; NumPy only.

What they change is what a reader is indifferent to: slant, proportions, a shaky hand,
where along the curve the points lie.
"""

import dataclasses

import numpy as np

from experiments.handwriting.strokes import Points, stretched


@dataclasses.dataclass(frozen=True)
class Variation:
    """How far a digit in the square from -1 to 1 is changed: standard deviations.

    Attributes:
        turn: of the angle that it is turned by, radians.
        shear: of the slant, x per y.
        stretch: of the logarithm of width by height.
        bend: of the six coefficients of a quadratic that is added to the coordinates.
        noise: of what is added to every coordinate.
        slide: of how far points go along the curve, in steps from point to point.
    """

    turn: float = 0.12
    shear: float = 0.15
    stretch: float = 0.15
    bend: float = 0.06
    noise: float = 0.03
    slide: float = 0.15


def varied(rng: np.random.Generator, digits: Points, how: Variation) -> Points:
    """Digits [B, N, 2] in the square from -1 to 1, each varied on its own."""
    count = len(digits)
    points = slid(digits, rng.normal(0, how.slide, digits.shape[:2]))
    bends = rng.normal(0, how.bend, (count, 3, 2))
    x, y = points[..., :1], points[..., 1:]
    points = points + np.concatenate([x * x, x * y, y * y], axis=-1) @ bends
    matrix = np.zeros((count, 2, 2))
    angle, shear, stretch = rng.normal(size=(3, count))
    widths = np.exp(how.stretch * stretch)
    cos, sin = np.cos(how.turn * angle), np.sin(how.turn * angle)
    matrix[:, 0] = np.stack([cos, sin], axis=1) * widths[:, None]
    matrix[:, 1] = np.stack([-sin, cos], axis=1)
    matrix[:, 1] += how.shear * shear[:, None] * matrix[:, 0]
    points = points @ matrix + rng.normal(0, how.noise, points.shape)
    return stretched(points)


def slid(digits: Points, by: np.ndarray) -> Points:
    """Digits [B, N, 2] whose points went `by` [B, N] steps along the polyline.

    The first and the last one may leave it, in its direction.
    """
    count = digits.shape[1]
    places = np.arange(count) + by
    left = np.clip(np.floor(places).astype(int), 0, count - 2)
    share = (places - left)[..., None]
    rows = np.arange(len(digits))[:, None]
    return digits[rows, left] * (1 - share) + digits[rows, left + 1] * share
