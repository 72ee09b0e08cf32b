"""What the two networks learn from, and how."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

import lstm_jax
from experiments.speech.augment import Variation, join_sounds, varied_frames, vary_speed
from experiments.speech.data import EAR, NAMES, RATE, Recording, by_speaker
from experiments.speech.features import Ear, pad_frames
from lstm_jax.training import Stop

if TYPE_CHECKING:
    from lstm_jax.training import Programs

Net = TypeVar("Net")
# What is masked of a single word must leave the word.
ONE_WORD = Variation(speed=0.12, noisy=0.4, bands=6, frames=4)
MANY_WORDS = Variation(speed=0.12)
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
        rows.append(varied_frames(rng, samples, ONE_WORD, EAR))
    frames, lengths = pad_frames(rows, steps_of(how, EAR))
    targets = np.array([recording.digit for recording in some], np.int32)
    return {"inputs": frames.swapaxes(0, 1), "lengths": lengths, "targets": targets}


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
        rows.append(varied_frames(rng, whole, MANY_WORDS, EAR))
    frames, lengths = pad_frames(rows, steps_of(how, EAR))
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def steps_of(how: Settings, ear: Ear) -> int:
    """Frames of a row."""
    return len(ear.frames(np.zeros(int(how.seconds * RATE), np.float32)))


@dataclasses.dataclass(frozen=True)
class Course(Generic[Net]):
    """What one kind of network learns, and how."""

    how: Settings
    build: Callable[[Settings, int], Net]
    batch: Callable[[Sequence[Recording], Settings, int, int], dict[str, np.ndarray]]
    row_axes: dict[str, int]
    programs: Programs
    loss: Callable[..., Any]


def isolated_course(how: Settings) -> Course[lstm_jax.SequenceClassifier]:
    """Naming isolated digits."""
    axes = {"inputs": 1, "lengths": 0, "targets": 0}
    loss = lstm_jax.training.ensemble_loss(lstm_jax.models.classifier_loss)
    # The ensemble's gradient is that of one member, a member-th of it for each.
    optimizer = lstm_jax.make_optimizer(0.01, MEMBERS**-0.5, 0.99)
    programs = lstm_jax.training.Programs(loss, optimizer)
    return Course(how, build_isolated, isolated_batch, axes, programs, loss)


def joined_course(how: Settings) -> Course[lstm_jax.Transcriber]:
    """Reading joined digits."""
    axes = {"frames": 0, "lengths": 0, "transcripts": 0}
    loss = lstm_jax.models.transcribe_loss
    programs = lstm_jax.training.Programs(
        loss, lstm_jax.make_optimizer(0.01, 1.0, 0.99)
    )
    return Course(how, build_joined, joined_batch, axes, programs, loss)


def build_isolated(how: Settings, seed: int) -> lstm_jax.SequenceClassifier:
    """The untrained networks for isolated digits, stacked."""
    import jax
    from flax import nnx

    def one(key: jax.Array) -> lstm_jax.SequenceClassifier:
        return lstm_jax.SequenceClassifier(
            EAR.features,
            how.hidden,
            how.layers,
            len(NAMES),
            rngs=nnx.Rngs(key),
            dropout=how.dropout,
        )

    return lstm_jax.training.stack_members(one, jax.random.key(seed), MEMBERS)


def build_joined(how: Settings, seed: int) -> lstm_jax.Transcriber:
    """The untrained network for joined digits."""
    from flax import nnx

    return lstm_jax.Transcriber(
        EAR.features,
        1 + len(NAMES),
        how.hidden,
        how.layers,
        rngs=nnx.Rngs(seed),
        dropout=how.dropout,
    )


def learn(
    course: Course[Net],
    recordings: Sequence[Recording],
    seed: int,
    seconds: float,
    stop: Stop,
    run_dir: Path | None = None,
) -> Net:
    """A network that has taken a course on some recordings.

    Raises:
        Interrupted: it had to leave early; it is kept all the same, given a folder.
    """
    how = course.how
    task = lstm_jax.Task(
        loss=course.loss,
        batch=functools.partial(course.batch, recordings, how, seed),
        row_axes=course.row_axes,
        rows=how.rows,
        steps_per_epoch=max(1, len(recordings) // how.rows),
        symbols_per_step=how.rows,
    )
    trained = lstm_jax.train_model(
        task,
        course.build(how, seed),
        lstm_jax.Plan(how.steps, seconds, how.learning_rate, 0.05, final_rate=0.0),
        course.programs,
        seed=seed,
        steps_per_call=4,
        run_dir=run_dir,
        interrupted=stop,
    )
    last = trained.lines[-1]
    loss = f"{last['train_loss']:.3f} nats per digit"
    print(f"  {last['step']} steps in {last['seconds']:.0f} s, training loss {loss}")
    if run_dir:
        picture = run_dir / "curves.png"
        lstm_jax.report.draw_curves(trained.lines, picture, "nats per digit")
        lstm_jax.storage.save_model(run_dir, trained.model, dataclasses.asdict(how))
        stop.check(f"the last network is kept in {run_dir}, unfinished, not scored")
    stop.check("what the official split gave is kept; of the speakers, what is printed")
    return trained.model
