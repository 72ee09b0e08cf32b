"""The same action done by somebody else: other bodies, views, speeds and cameras.

What is drawn for a row depends on its random generator alone. NumPy only.
"""

import dataclasses
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from experiments.video.skeleton import BONES, HIP_CENTRE, Frames, at_times, filled, turn
from lstm_jax.config import Amount, Configuration, Range, Share


@dataclasses.dataclass(frozen=True)
class AugmentConfig(Configuration):
    """How much the training sequences are varied, anew whenever one is read."""

    crop: Share = 0.15
    """Largest share of a sequence that is cut off, at each end."""
    warp: Annotated[float, Range(0.0, 0.9)] = 0.3
    """Largest change of pace within a sequence, as a share of it."""
    turn: Annotated[float, Range(0.0, 180.0)] = 30.0
    """Largest turn of the body about the vertical, in degrees."""
    tilt: Annotated[float, Range(0.0, 90.0)] = 10.0
    """Largest tilt of the camera, up or down, in degrees."""
    scale: Share = 0.15
    """Largest change of size, of the body and, as much again, of every bone."""
    lost: Share = 0.4
    """Largest share of the frames that is lost in one piece, by every other body."""
    jitter: Amount = 0.02
    """Standard deviation of the joints' noise, in torso lengths."""


def varied(
    frames: Frames, count: int, config: AugmentConfig, random: np.random.Generator
) -> Frames:
    """A body-centred sequence as another person might have done it.

    Args:
        frames: [T, 20, 3].
        count: N, how many frames are wanted.
        config: how much may change.
        random: decides what does.

    Returns:
        [N, 20, 3].
    """
    moved = at_times(frames, _times(len(frames), count, config, random))
    moved = filled(moved, _tracked(count, config.lost, random))
    yaw, pitch = random.uniform(-1, 1, 2) * np.radians([config.turn, config.tilt])
    moved = _stretched(moved, config.scale, random) @ turn(yaw) @ _tilted(pitch)
    # Half of the noise stays through a sequence: trackers err the same way for long.
    stays = random.normal(0, config.jitter, moved.shape[1:])
    return (moved + stays + random.normal(0, config.jitter, moved.shape)).astype(
        np.float32
    )


def _times(
    length: int, count: int, config: AugmentConfig, random: np.random.Generator
) -> NDArray[np.float64]:
    """When to look: a part of the sequence, at a pace that changes."""
    start, end = random.uniform(0, config.crop, 2)
    share = np.linspace(0, 1, count)
    for waves in (1, 2):  # the slope stays positive: time never runs backwards
        most = config.warp / (2 * np.pi * waves)
        share = share + random.uniform(-most, most) * np.sin(2 * np.pi * waves * share)
    return (length - 1) * (start + (1 - start - end) * np.clip(share, 0, 1))


def _tracked(count: int, lost: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which frames are not lost: all, or all but some in a row."""
    length = int(random.uniform(0, lost) * count) * int(random.integers(2))
    start = int(random.integers(count - length + 1))
    frame = np.arange(count)
    return (frame < start) | (frame >= start + length)


def _stretched(
    frames: Frames, most: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """A body of another size, with bones of other lengths."""
    size = 1 + random.uniform(-most, most)
    grown = np.zeros(frames.shape)
    grown[:, HIP_CENTRE] = frames[:, HIP_CENTRE]
    place = {HIP_CENTRE: np.zeros((len(frames), 3))}
    for inner, outer in BONES:
        start = 0 if inner == HIP_CENTRE else frames[:, inner]
        bone = frames[:, outer] - start
        place[outer] = place[inner] + bone * (1 + random.uniform(-most, most))
        grown[:, outer] = place[outer]
    return size * grown


def _tilted(angle: float) -> NDArray[np.float64]:
    """The matrix that turns rows (x, y, z) about the horizontal across the view."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
