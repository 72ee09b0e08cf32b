"""What the two networks learn from, and how."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import lstm_jax
from experiments.speech.augment import (
    AugmentConfig,
    join_sounds,
    varied_frames,
    vary_speed,
)
from experiments.speech.data import FRONTEND, NAMES, RATE, Recording, by_speaker
from experiments.speech.features import LogMelFrontend, pad_frames

if TYPE_CHECKING:
    from lstm_jax import Task
    from lstm_jax.config import CellName, Precision, RunConfig
    from lstm_jax.metrics import LossSums
    from lstm_jax.models import ModelSpec
    from lstm_jax.training import CompiledSteps, Stop
    from lstm_jax.typing import Model

APPLICATION = "speech"
# What is masked of a single word must leave the word.
ONE_WORD = AugmentConfig(speed=0.12, noisy=0.4, bands=6, frames=4)
MANY_WORDS = AugmentConfig(speed=0.12)
_VALIDATION = 8  # batches of what is held out
MEMBERS = 4  # networks for isolated digits, whose probabilities are averaged


@dataclasses.dataclass(frozen=True)
class Settings:
    """One network and how it learns."""

    hidden: int
    steps: int
    rows: int
    seconds: float  # of a row, at most
    layers: int = 2
    dropout: float = 0.3
    learning_rate: float = 4e-3
    cell: CellName = "lstm"


def isolated_batch(
    recordings: Sequence[Recording], how: Settings, seed: int, n: int
) -> dict[str, np.ndarray]:
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
    recordings: Sequence[Recording], how: Settings, seed: int, n: int
) -> dict[str, np.ndarray]:
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


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """What one kind of network learns, and how."""

    how: Settings
    spec: ModelSpec
    batch: Callable[[Sequence[Recording], Settings, int, int], dict[str, np.ndarray]]
    compiled: CompiledSteps


def isolated_setup(how: Settings, precision: Precision | None) -> TrainingSetup:
    """Naming isolated digits, by several networks."""
    sizes = {
        **{"features": FRONTEND.features, "hidden_size": how.hidden},
        **{"num_layers": how.layers, "classes": len(NAMES), "dropout": how.dropout},
        "cell": how.cell,
    }
    loss = lstm_jax.training.ensemble_loss(lstm_jax.models.classifier_loss)
    loss = lstm_jax.training.with_precision(loss, precision)
    # The ensemble's gradient is that of one member, a member-th of it for each.
    optimizer = lstm_jax.make_optimizer(0.01, MEMBERS**-0.5, 0.99)
    return TrainingSetup(
        how,
        lstm_jax.models.ModelSpec("classifier", sizes, MEMBERS),
        isolated_batch,
        lstm_jax.training.CompiledSteps(loss, optimizer),
    )


def joined_setup(how: Settings, precision: Precision | None) -> TrainingSetup:
    """Reading joined digits."""
    sizes = {
        **{"features": FRONTEND.features, "symbols": 1 + len(NAMES)},
        **{"hidden": how.hidden, "layers": how.layers, "dropout": how.dropout},
        "cell": how.cell,
    }
    loss = lstm_jax.models.ctc_loss
    loss = lstm_jax.training.with_precision(loss, precision)
    return TrainingSetup(
        how,
        lstm_jax.models.ModelSpec("ctc", sizes),
        joined_batch,
        lstm_jax.training.CompiledSteps(loss, lstm_jax.make_optimizer(0.01, 1.0, 0.99)),
    )


def digit_task(
    setup: TrainingSetup,
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    seed: int,
) -> Task:
    """Learning what a course teaches from some recordings.

    Args:
        setup: the kind of network.
        recordings: what to learn from.
        held_out: what the best step is chosen by; nothing is if there are none.
        seed: of the batches.
    """
    how, loss = setup.how, setup.compiled.loss
    measure = lstm_jax.distributed.bounded_jit(
        lambda model, batch: loss(model, (), batch, None)[0]
    )

    def evaluate(model: Model) -> LossSums:
        batches = (setup.batch(held_out, how, seed, n) for n in range(_VALIDATION))
        return functools.reduce(
            operator.add, [measure(model, batch) for batch in batches]
        )

    return lstm_jax.Task(
        loss=setup.compiled.loss,
        batch=functools.partial(setup.batch, recordings, how, seed),
        rows=how.rows,
        steps_per_epoch=max(1, len(recordings) // how.rows),
        items_per_step=how.rows,
        items="rows",
        unit="nats per digit",
        evaluate=evaluate if held_out else None,
    )


def fit(
    setup: TrainingSetup,
    recordings: Sequence[Recording],
    run: RunConfig,
    *,
    folder: Path,
    stop: Stop,
    held_out: Sequence[Recording] = (),
) -> Model:
    """Train a network on some recordings, in a folder of its own."""
    from experiments.training import train_network

    task = digit_task(setup, recordings, held_out, run.seed)
    trained = train_network(
        APPLICATION,
        setup.spec,
        task,
        setup.compiled,
        run,
        folder=folder,
        steps=setup.how.steps,
        learning_rate=setup.how.learning_rate,
        callbacks=[stop],
    )
    if trained.history:  # process 0 alone has that of a run that was finished before
        last = trained.history[-1]
        loss = f"{last.train_loss:.3f} {task.unit}"
        print(f"  {last.step} steps in {last.seconds:.0f} s, training loss {loss}")
    return trained.model
