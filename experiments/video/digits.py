"""Moving digits: scikit-learn's handwritten digits that drift and bounce off the edges.

After Moving MNIST (Srivastava, Mansimov & Salakhutdinov 2015), with the 1,797 digits of
8 by 8 pixels that scikit-learn brings along, so nothing is downloaded. NumPy only.
"""

import dataclasses
import functools
from importlib.util import find_spec
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from lstm_jax import InputError
from lstm_jax.config import Configuration, Range

MOST = 100  # frames that are shown, or to be predicted
_DIGIT = 8  # pixels across
_LEARNED = 1500  # of the digits; the other 297 move in the test alone
_SPEEDS = 0.7, 1.7  # pixels per frame


@dataclasses.dataclass(frozen=True)
class Scene(Configuration):
    """What is seen, and for how long."""

    size: Annotated[int, Range(10, 128)] = 16
    """Pixels across a picture."""
    digits: Annotated[int, Range(1, 10)] = 2
    """Digits that move in it, each by itself."""
    past: Annotated[int, Range(1, MOST)] = 5
    """Frames that are shown."""
    future: Annotated[int, Range(1, MOST)] = 5
    """Frames that are to be predicted."""


def need_digits() -> None:
    """Refuse to begin without the digits.

    Raises:
        InputError: scikit-learn is missing.
    """
    if find_spec("sklearn") is None:
        raise InputError("expected scikit-learn: pip install -e '.[video]'")


@functools.cache
def digit_images(tested: bool) -> NDArray[np.float32]:
    """The digits that move while learning, or in the test; [N, 8, 8], from 0 to 1."""
    from sklearn.datasets import load_digits

    flat, _ = load_digits(return_X_y=True)
    images = (np.asarray(flat) / 16).astype(np.float32).reshape(-1, _DIGIT, _DIGIT)
    return images[_LEARNED:] if tested else images[:_LEARNED]


def moving_digits(
    images: NDArray[np.float32], scene: Scene, count: int, random: np.random.Generator
) -> NDArray[np.float32]:
    """Draw sequences: digits, places, directions and speeds by chance.

    A digit moves straight on, 0.7 to 1.7 pixels a frame, and back where it meets an
    edge. Where two overlap, the brighter pixel is seen.

    Args:
        images: the digits to choose from, [N, 8, 8].
        scene: how many digits, frames and pixels.
        count: B, how many sequences.
        random: decides all.

    Returns:
        [B, past + future, size * size], grey from 0 to 1.
    """
    room, steps = scene.size - _DIGIT, scene.past + scene.future
    frames = np.zeros((count, steps, scene.size, scene.size), np.float32)
    for row in range(count):
        for _ in range(scene.digits):
            image = images[random.integers(len(images))]
            angle, speed = random.uniform(0, 2 * np.pi), random.uniform(*_SPEEDS)
            velocity = speed * np.array([np.cos(angle), np.sin(angle)])
            start = random.uniform(0, room, 2)
            path = reflected(start + np.arange(steps)[:, None] * velocity, room)
            for frame, (top, left) in zip(
                frames[row], path.round().astype(int), strict=True
            ):
                place = frame[top : top + _DIGIT, left : left + _DIGIT]
                np.maximum(place, image, out=place)
    return frames.reshape(count, steps, -1)


def reflected(places: NDArray[np.floating], room: float) -> NDArray[np.floating]:
    """Fold a straight line into [0, room], as if it bounced off both ends."""
    return room - np.abs(places % (2 * room) - room)
