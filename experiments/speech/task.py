"""What the two networks learn from, and how."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments import digits
from experiments.speech.augment import (
    AugmentConfig,
    join_sounds,
    varied_frames,
    vary_speed,
)
from experiments.speech.data import FRONTEND, RATE, Recording, by_speaker
from experiments.speech.features import LogMelFrontend
from lstm_jax.data import pad_frames

if TYPE_CHECKING:
    from experiments.digits import TrainingSetup
    from lstm_jax.config import Precision

APPLICATION = "speech"
# What is masked of a single word must leave the word.
ONE_WORD = AugmentConfig(speed=0.12, noisy=0.4, bands=6, frames=4)
MANY_WORDS = AugmentConfig(speed=0.12)


@dataclasses.dataclass(frozen=True)
class Settings(digits.Settings):
    """One network and how it learns."""

    seconds: float = 1.0  # of a row, at most
    members: int = 4  # networks for isolated digits, whose probabilities are averaged


def isolated_batch(
    how: Settings, recordings: Sequence[Recording], seed: int, n: int
) -> digits.Batch:
    """Batch n: recordings drawn at random, each varied."""
    rng = np.random.default_rng([seed, n])
    some = [recordings[k] for k in rng.integers(len(recordings), size=how.rows)]
    rows = []
    for recording in some:
        samples = vary_speed(rng, recording.samples, ONE_WORD)
        samples = samples[: int(how.seconds * RATE)]
        rows.append(varied_frames(rng, samples, ONE_WORD, FRONTEND))
    frames, lengths = pad_frames(rows, steps_of(how, FRONTEND))
    targets = np.array([recording.digit for recording in some], np.int32)
    return {"inputs": frames, "lengths": lengths, "targets": targets}


def joined_batch(
    how: Settings, recordings: Sequence[Recording], seed: int, n: int
) -> digits.Batch:
    """Batch n: rows of 1 to 7 recordings of one speaker each, as many as there is room.

    A quarter of the rows has no pauses.
    """
    rng = np.random.default_rng([seed, n])
    speakers = list(by_speaker(recordings).values())
    rows, transcripts = [], np.zeros((how.rows, 7), np.int32)
    for transcript in transcripts:
        mine = speakers[rng.integers(len(speakers))]
        gap = int(rng.choice([0.0, 0.4, 0.4, 0.4]) * RATE)
        room, parts = int(how.seconds * RATE) - gap, []
        for place in range(int(rng.integers(1, 8))):
            recording = mine[rng.integers(len(mine))]
            samples = vary_speed(rng, recording.samples, MANY_WORDS)
            room -= len(samples) + gap
            if parts and room < 0:
                break
            parts.append(samples)
            transcript[place] = recording.digit + 1
        whole = join_sounds(rng, parts, gap=gap, decibels=3.0)
        whole = whole[: int(how.seconds * RATE)]
        rows.append(varied_frames(rng, whole, MANY_WORDS, FRONTEND))
    frames, lengths = pad_frames(rows, steps_of(how, FRONTEND))
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def steps_of(how: Settings, frontend: LogMelFrontend) -> int:
    """Frames of a row."""
    return len(frontend.frames(np.zeros(int(how.seconds * RATE), np.float32)))


def isolated_setup(how: Settings, precision: Precision | None) -> TrainingSetup:
    """Naming isolated digits, by several networks."""
    batch = functools.partial(isolated_batch, how)
    return digits.isolated_setup(how, FRONTEND.features, batch, precision)


def joined_setup(how: Settings, precision: Precision | None) -> TrainingSetup:
    """Reading joined digits."""
    batch = functools.partial(joined_batch, how)
    return digits.joined_setup(how, FRONTEND.features, batch, precision)
