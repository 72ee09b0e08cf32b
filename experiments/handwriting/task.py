"""What the two networks learn from, and how."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from experiments import digits
from experiments.handwriting.augment import Variation, varied
from experiments.handwriting.data import Digits
from experiments.handwriting.lines import MOST, Line, write_line
from experiments.handwriting.strokes import (
    FEATURES,
    LINE_FEATURES,
    POINTS,
    digit_features,
    line_features,
)
from lstm_jax.data import pad_frames

if TYPE_CHECKING:
    from experiments.digits import TrainingSetup
    from lstm_jax.config import Precision

APPLICATION = "handwriting"
VARIATION = Variation()
_LONGEST = 80  # points of a line, so that all batches have one shape
_UNLIFTED = 0.1  # share of lines whose reader is not told where the pen was lifted


def isolated_batch(
    how: digits.Settings, examples: Digits, seed: int, n: int
) -> digits.Batch:
    """Batch n: digits drawn at random, each varied."""
    rng = np.random.default_rng([seed, n])
    some = examples.rows(rng.integers(len(examples.classes), size=how.rows))
    inputs = digit_features(varied(rng, some.points, VARIATION))
    return {
        "inputs": inputs,
        "lengths": np.full(how.rows, POINTS, np.int32),
        "targets": some.classes.astype(np.int32),
    }


def joined_batch(
    how: digits.Settings, examples: Digits, seed: int, n: int
) -> digits.Batch:
    """Batch n: lines of 1 to 6 digits drawn at random, each varied.

    The last ones are left out where a line is too long.
    """
    rng = np.random.default_rng([seed, n])
    rows, transcripts = [], np.zeros((how.rows, MOST), np.int32)
    for transcript in transcripts:
        some = rng.integers(len(examples.classes), size=rng.integers(1, MOST + 1))
        chosen = examples.rows(some)
        chosen = chosen._replace(points=varied(rng, chosen.points, VARIATION))
        line, frames = _written(rng, chosen)
        while len(frames) > _LONGEST:
            chosen = chosen.rows(np.arange(len(chosen.classes) - 1))
            line, frames = _written(rng, chosen)
        if rng.random() < _UNLIFTED:
            frames[:, -1] = 0.0
        rows.append(frames)
        transcript[: len(line.symbols)] = line.symbols
    frames, lengths = pad_frames(rows, _LONGEST)
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def _written(rng: np.random.Generator, some: Digits) -> tuple[Line, np.ndarray]:
    """A line of these digits, and its frames."""
    line = write_line(rng, some)
    return line, line_features(line.strokes)


def isolated_setup(
    how: digits.Settings, precision: Precision | None
) -> TrainingSetup[Digits]:
    """Naming isolated digits, by several networks."""
    batch = functools.partial(isolated_batch, how)
    return digits.isolated_setup(how, FEATURES, batch, precision)


def joined_setup(
    how: digits.Settings, precision: Precision | None
) -> TrainingSetup[Digits]:
    """Reading lines of digits."""
    batch = functools.partial(joined_batch, how)
    return digits.joined_setup(how, LINE_FEATURES, batch, precision)
