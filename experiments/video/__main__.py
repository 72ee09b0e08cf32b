"""Tell what somebody does in a video, by the joints that a depth camera tracked.

Task      One of 20 actions for each sequence. Joints are given relative to the hips,
          in torso lengths and turned to face the camera, with their speeds, and are
          read by bidirectional LSTM layers; a few such networks are trained side by
          side and their probabilities averaged. Every sequence is varied whenever it is
          read: other bodies, views, paces.
Data      MSR Action3D (Li, Zhang & Liu 2010): 20 actions, 10 people, each up to 3
          times, 20 joints a frame. Of its 567 sequences the usual 557 (Wang et al.
          2012), without those that have missing or too erroneous skeletons. --data is a
          folder with *train.npz and *test.npz, or two files; `data.py` says what is in
          them.
Protocol  Cross-subject: people 1, 3, 5, 7 and 9 to learn from, 2, 4, 6, 8 and 10 for
          the test, which is scored once, at the end. AS1 to AS3 are three sets of 8 of
          the actions; for each a network of its own is trained by the same recipe.
          Settings were chosen with --hold-out, which tests on some of the people to
          learn from and leaves the test alone; that its inputs have frames in which
          nobody was found was seen before it was scored.
Command   python -m experiments.video --data FOLDER
          python -m experiments.video --resume --run-dir RUN_DIR
          python -m experiments.video evaluate RUN_DIR --data mine.npz
          python -m experiments.video predict RUN_DIR mine.csv --picture mine.gif
          python -m experiments.video pixels        frames, not joints: see pixels.py
Published 20 classes: 70.71 by DTW, 71.72 LSTM-FCN, 75.42 MLSTM-FCN (Karim et al. 2019).
          Mean of AS1 to AS3 (Du et al. 2015): 89.86 by a deep LSTM, 92.61 both ways,
          94.49 by one that joins limbs layer by layer.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

import lstm_jax
from experiments import results
from experiments.cli import command_line, run_experiment
from experiments.known_data import described
from experiments.results import Result, describe_file
from experiments.runs import RunOptions, begun, check_options
from experiments.video import pixels
from experiments.video.augment import AugmentConfig
from experiments.video.baseline import nearest_labels
from experiments.video.config import VideoConfig
from experiments.video.data import (
    SUBSETS,
    Movements,
    find_pair,
    find_test,
    labelled,
    read_movements,
)
from experiments.video.generated import generated
from experiments.video.skeleton import body_centred, resampled
from experiments.video.skeleton import described as features_of
from lstm_jax.cli import run_command
from lstm_jax.config import RunConfig, Seed
from lstm_jax.training import Stop, interruptible

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.results import DataFile
    from experiments.video.task import Recognizer
    from lstm_jax.training import CompiledSteps

ALL = "all"
SHOWN = "tennis serve"  # the action whose first sequence of the test is drawn
SMOKE = VideoConfig(
    frames=12, hidden=8, layers=1, members=2, dropout=0.0, learning_rate=2e-2, batch=16
)


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Learn actions from some people and recognize them in others.

    Args:
        data: a folder with *train.npz and *test.npz, or both files.
        hold_out: people to learn from who are the test instead, so that settings can be
            chosen; the file of the test is not read.
        subsets: whether AS1 to AS3 are learned too, if the actions are MSR Action3D's.
        smoke: run in seconds on generated movements.
        recipe: the networks and their training.
        run: how long, and where it is kept. Every training gets its share of
            --max-seconds.
    """

    data: tuple[Path, ...] = ()
    hold_out: tuple[Seed, ...] = ()
    subsets: bool = True
    smoke: bool = False
    recipe: VideoConfig = dataclasses.field(default_factory=VideoConfig)
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(run_dir=Path("runs/video"), epochs=120)
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the networks that a run has left on movements of your own.

    Args:
        run_dir: folder of a training run.
        data: .npz or .csv files of joints with their actions.
        json: print the results as a last line of JSON.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    data: tuple[Path, ...] = ()
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Say what is done in a file of joints.

    Args:
        run_dir: folder of a training run.
        file: a .npz or .csv of joints.
        picture: where to draw the first sequence with the probabilities under it: .png,
            or .gif, which moves.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    picture: Path | None = None


def load(options: Options) -> tuple[Movements, Movements, Options]:
    """Read what to learn from and the test; the options are those that suit them."""
    if options.smoke:
        run = dataclasses.replace(options.run, epochs=12)
        recipe = dataclasses.replace(
            SMOKE, cell=options.recipe.cell, augment=AugmentConfig(jitter=0.01)
        )
        suited = dataclasses.replace(options, recipe=recipe, run=run)
        return generated(0), generated(1), suited
    learned, tested = find_pair(options.data)
    train = labelled(read_movements(learned), learned)
    if options.hold_out:
        held = np.isin(train.subjects, options.hold_out)
        both = train.rows(~held), train.rows(held)
        return (*_checked(*both, "--hold-out"), options)
    test = labelled(read_movements(tested), tested)
    return (*_checked(train, test, "--data"), options)


def _checked(
    train: Movements, test: Movements, flag: str
) -> tuple[Movements, Movements]:
    """Both, with the classes of the first."""
    if not len(train) or not len(test) or len(set(train.labels.tolist())) < 2:
        raise lstm_jax.InputError(
            f"{flag}: expected sequences to learn from, of two actions or more, and "
            f"some to test on, found {len(train)} and {len(test)}"
        )
    return train, with_classes(test, train.classes)


def with_classes(data: Movements, classes: Sequence[str]) -> Movements:
    """The same movements, labelled by the classes that a network knows.

    Raises:
        InputError: there are others.
    """
    foreign = [name for name in data.classes if name not in classes]
    if foreign:
        raise lstm_jax.InputError(
            f"--data: expected the actions {', '.join(classes)}, found "
            f"{', '.join(foreign)}"
        )
    return data.of_classes(classes)


@dataclasses.dataclass(frozen=True)
class Score:
    """What a test has shown: labels, and what both methods found, [N] each."""

    labels: np.ndarray
    found: np.ndarray
    nearest: np.ndarray

    @property
    def ours(self) -> float:
        """Accuracy of the networks, in percent."""
        return 100 * float(np.mean(self.found == self.labels))

    @property
    def floor(self) -> float:
        """Accuracy of the nearest neighbour, in percent."""
        return 100 * float(np.mean(self.nearest == self.labels))


def learn(options: Options) -> None:
    """Check everything, then run."""
    started = time.perf_counter()
    check_options(options, validated=False)
    train, test, options = load(options)
    paths = () if options.smoke else find_pair(options.data)
    files = [describe_file(path) for path in paths[: 1 if options.hold_out else 2]]
    with begun("video", options, files=files, spare=options.data):
        learn_from(options, train, test, files, started)


def learn_from(
    options: Options,
    train: Movements,
    test: Movements,
    files: Sequence[DataFile],
    started: float,
) -> None:
    """Learn all actions, then each set of them, and score both methods."""
    run_dir = options.run.run_dir
    assert run_dir is not None
    tested = {test.classes[label] for label in test.labels.tolist()}
    sets = subsets_in(train.classes, options).items()
    chosen = {ALL: train.classes}
    chosen |= {name: some for name, some in sets if tested & set(some)}
    scores = {}
    print(f"{_counted(train)} to learn from, {_counted(test)} for the test")
    with interruptible() as stop:
        teach = Teacher(options, len(chosen), stop)
        for name, classes in chosen.items():
            learned, rest = train.of_classes(classes), test.of_classes(classes)
            folder = run_dir if name == ALL else run_dir / "subsets" / name
            recognizer = teach(learned, folder)
            if lstm_jax.distributed.is_primary():
                scores[name] = compare(recognizer, learned, rest)
                share = f"{scores[name].ours:.2f} %, floor {scores[name].floor:.2f} %"
                print(f"{name}, {len(classes)} actions: {share}", flush=True)
                if name == ALL:
                    draw(recognizer, rest, scores[name], run_dir)
    if not lstm_jax.distributed.is_primary():
        return
    minutes = (time.perf_counter() - started + teach.spent) / 60
    row = result(options, train, files, scores, minutes)
    results.write_result(run_dir, row)


def subsets_in(classes: Sequence[str], options: Options) -> dict[str, tuple[str, ...]]:
    """The sets of MSR Action3D whose actions all occur."""
    if not options.subsets:
        return {}
    return {name: some for name, some in SUBSETS.items() if set(some) <= set(classes)}


def _counted(data: Movements) -> str:
    """How many sequences, of whom."""
    people = sorted(set(data.subjects.tolist()) - {-1})
    whom = f" of people {', '.join(map(str, people))}" if people else ""
    left = f" ({data.left_out} left out)" if data.left_out else ""
    return f"{len(data)} sequences{whom}{left}"


class Teacher:
    """Trains networks on one set of movements after another.

    Args:
        options: of the run.
        trainings: that share its seconds.
        stop: asks them to stop.

    Attributes:
        spent: seconds of these trainings before the run was resumed.
    """

    def __init__(self, options: Options, trainings: int, stop: Stop) -> None:
        seconds = options.run.max_seconds
        share = None if seconds is None else seconds / trainings
        self._options = options
        self._run = dataclasses.replace(options.run, max_seconds=share)
        self._stop = stop
        self._compiled: dict[int, CompiledSteps] = {}
        self.spent = 0.0

    def __call__(self, data: Movements, folder: Path) -> Recognizer:
        """Train in a folder.

        Raises:
            Interrupted: that was asked for; --resume goes on.
        """
        from experiments.video.task import recognizer_steps, train_recognizer

        recipe, count = self._options.recipe, len(data.classes)
        if count not in self._compiled:
            self._compiled[count] = recognizer_steps(recipe, self._options.precision)
        began = time.perf_counter()
        recognizer, trained = train_recognizer(
            data,
            recipe,
            self._run,
            compiled=self._compiled[count],
            folder=folder,
            callbacks=[self._stop],
            show=True,
        )
        now = time.perf_counter() - began
        self.spent += max(0.0, trained.timer.seconds() - now)
        self._stop.check(
            f"the last networks, unfinished, are in {folder}; --resume goes on"
        )
        return recognizer


def compare(recognizer: Recognizer, train: Movements, test: Movements) -> Score:
    """What the networks and the nearest neighbour make of a test."""
    from experiments.video.task import predict_proba

    found = predict_proba(recognizer, test.sequences).argmax(axis=1)

    def prepared(data: Movements) -> np.ndarray:
        return features_of(
            np.stack(
                [resampled(body_centred(x), recognizer.frames) for x in data.sequences]
            )
        )

    nearest = nearest_labels(prepared(train), train.labels, list(prepared(test)))
    return Score(test.labels, found, nearest)


def draw(
    recognizer: Recognizer, tested: Movements, score: Score, run_dir: Path
) -> None:
    """The confusion matrix of the test, and one of its sequences, still and moving."""
    draw_confusions(score, tested, recognizer.classes, run_dir / "confusion.png")
    names = [tested.classes[label] for label in tested.labels]
    number = names.index(SHOWN) if SHOWN in names else 0
    for suffix in ("png", "gif"):
        path = run_dir / f"skeleton.{suffix}"
        picture(recognizer, tested.sequences[number], path, names[number])


def draw_confusions(
    score: Score, tested: Movements, classes: Sequence[str], path: Path
) -> None:
    """Which action was taken for which."""
    count = len(classes)
    matrix = np.bincount(score.labels * count + score.found, minlength=count**2)
    title = f"{len(score.labels)} sequences, {score.ours:.1f} % recognized"
    described = (
        f"sequence {k} of the test, of person {subject}, {len(frames)} frames"
        for k, (subject, frames) in enumerate(
            zip(tested.subjects.tolist(), tested.sequences, strict=True), 1
        )
    )
    examples = list(
        zip(score.labels.tolist(), score.found.tolist(), described, strict=True)
    )
    lstm_jax.report.draw_confusion(
        matrix.reshape(count, count), classes, path, title, examples
    )


def picture(
    recognizer: Recognizer, frames: np.ndarray, path: Path, done: str = ""
) -> None:
    """A sequence, and what the networks make of it while it goes on."""
    from experiments.video.plots import draw_sequence, write_movie
    from experiments.video.task import predict_proba

    beginnings = [frames[: end + 1] for end in range(len(frames))]
    chances = predict_proba(recognizer, beginnings)
    make = write_movie if path.suffix.lower() == ".gif" else draw_sequence
    make(path, body_centred(frames), chances, recognizer.classes, done)


def result(
    options: Options,
    train: Movements,
    files: Sequence[DataFile],
    scores: Mapping[str, Score],
    minutes: float,
) -> Result:
    """What the table of applications wants to know."""
    subsets = [name for name in scores if name != ALL]

    def summary(method: str) -> str:
        shares = {name: getattr(score, method) for name, score in scores.items()}
        words = f"{shares.pop(ALL):.2f}"
        if shares:
            listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            words += f"; {np.mean(list(shares.values())):.2f} ({listed})"
        return words

    split = "cross-subject"
    if options.hold_out:
        split = f"people {', '.join(map(str, options.hold_out))} held out"
    names = " ".join(file.name for file in files) or "generated"
    return Result(
        **described(
            "Video",
            f"{split}, {_joined(train, subsets)}",
            files,
            f"{names}, {len(train)} sequences to learn from",
        ),
        metric=f"accuracy, %, {_joined(train, subsets)}",
        ours=summary("ours"),
        floor="nearest neighbour by DTW: " + summary("floor"),
        minutes=minutes,
        command=command_line("video", options),
    )


def _joined(train: Movements, subsets: Sequence[str]) -> str:
    """What is measured, in words."""
    words = f"{len(train.classes)} classes"
    return f"{words}; mean of {', '.join(subsets)}" if subsets else words


def evaluate(options: EvaluateOptions) -> None:
    """Score trained networks on labelled movements."""
    from experiments.video.task import load_recognizer, predict_proba

    if not options.data:
        raise lstm_jax.InputError("--data: expected files, found none")
    paths = [find_test(path) for path in options.data]
    parts = [labelled(read_movements(path), path) for path in paths]
    recognizer = load_recognizer(options.run_dir)
    known = [with_classes(part, recognizer.classes) for part in parts]
    labels = np.concatenate([part.labels for part in known])
    sequences = [frames for part in known for frames in part.sequences]
    found = predict_proba(recognizer, sequences).argmax(axis=1)
    for number, name in enumerate(recognizer.classes):
        mine = labels == number
        if mine.any():
            right = int((found[mine] == number).sum())
            print(f"{name:24}{right:5} of {mine.sum():4}")
    accuracy = float(np.mean(found == labels))
    print(f"accuracy {accuracy:.4f}")
    if options.json:
        print(json.dumps({"accuracy": accuracy, "sequences": len(labels)}))


def predict(options: PredictOptions) -> None:
    """Print what is done in each sequence, and how probable that is."""
    from experiments.video.task import load_recognizer, predict_proba

    picture_of = options.picture
    if picture_of and picture_of.suffix.lower() not in (".png", ".gif"):
        raise lstm_jax.InputError(
            f"--picture: expected a .png or a .gif, found {picture_of}"
        )
    data = read_movements(options.file)
    recognizer = load_recognizer(options.run_dir)
    for number, row in enumerate(predict_proba(recognizer, data.sequences), start=1):
        first, second = row.argsort()[::-1][:2]
        print(
            f"{number:4}  {recognizer.classes[first]} {row[first]:.3f}, then "
            f"{recognizer.classes[second]} {row[second]:.3f}"
        )
    if picture_of:
        picture(recognizer, data.sequences[0], picture_of)


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        "video",
        __doc__,
        arguments,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
        pixels=pixels.main,
    )


if __name__ == "__main__":
    run_command(main)
