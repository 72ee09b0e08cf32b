"""Predict the next frames of moving digits from their pixels.

Task      Five frames of two digits that drift and bounce are shown, five more are to be
          predicted, pixel by pixel: by a ConvLSTM (Shi et al. 2015), beside an LSTM on
          flat frames, both trained here for the same number of steps on the same
          batches, and the last frame seen, copied.
Data      Generated, by a seed, from the 1,797 handwritten digits of scikit-learn: 1,500
          to learn from, 297 for the test. The task is that of Moving MNIST, the digits
          are not, so its numbers do not compare.
Command   python -m experiments.video pixels
          python -m experiments.video pixels --resume
          python -m experiments.video pixels evaluate RUN_DIR --data mine.npz
          python -m experiments.video pixels predict RUN_DIR mine.gif --out next.npz
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

import lstm_jax
from experiments import results
from experiments.cli import command_line, keep_inputs, run_experiment
from experiments.known_data import described
from experiments.results import Result
from experiments.runs import Clock, RunOptions, begun, check_options, kept_options
from experiments.texts import check_out
from experiments.video.digits import MOST, Scene, need_digits
from experiments.video.pixel_config import PixelConfig
from lstm_jax.config import Range, RunConfig, check_bounds
from lstm_jax.training import interruptible

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from experiments.video.frames import Films
    from experiments.video.pixel_task import Predictor

NAME = "video pixels"
CONV, FLAT, COPY = "ConvLSTM", "LSTM on flat frames", "last frame copied"
SMOKE = PixelConfig(
    channels=2, units=4, layers=1, batch=2, steps=4, learning_rate=1e-2, tested=3
)


@dataclasses.dataclass(frozen=True)
class PixelOptions(RunOptions):
    """Predict the next frames of moving digits, and compare.

    Args:
        smoke: run in seconds, on small pictures.
        scene: what is seen.
        recipe: the networks and their training.
        run: how long, and where it is kept. Both networks get half of --max-seconds.
    """

    smoke: bool = False
    scene: Scene = dataclasses.field(default_factory=Scene)
    recipe: PixelConfig = dataclasses.field(default_factory=PixelConfig)
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(run_dir=Path("runs/pixels"))
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the networks that a run has left, on frames of your own.

    Films are cut into stretches of as many frames as the networks were shown and had to
    predict; what is left over at the end is not scored. The ConvLSTM is scored on
    frames of any size, the LSTM on flat frames where they have the size that it has
    learned from.

    Args:
        run_dir: folder of a training run.
        data: .npz or .gif files of frames, all of one size. Default: the moving digits
            of the run's own test.
        json: print the results as a last line of JSON.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    data: tuple[Path, ...] = ()
    json: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Predict the next frames of a film.

    Args:
        run_dir: folder of a training run; RUN_DIR/flat has the LSTM on flat frames.
        file: .npz of frames, [T, height, width] or [N, T, height, width], bytes from 0
            to 255 or numbers from 0 to 1; or a .gif.
        frames: how many to predict. Default: as many as the network has learned to.
        past: how many of the last frames it is shown. Default: as many as it was in
            training.
        out: .npz for the predicted frames. A .gif of the same name shows the frames
            seen, framed in grey, then the predicted ones, framed in orange.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    frames: Annotated[int, Range(1, MOST)] | None = None
    past: Annotated[int, Range(1, 10_000)] | None = None
    out: Path = Path("predicted.npz")


def learn_pixels(options: PixelOptions) -> None:
    """Check everything, then run."""
    clock = Clock()
    check_options(options, validated=False)
    if options.recipe.kernel % 2 == 0:
        raise lstm_jax.InputError(
            f"--kernel: expected an odd number, found {options.recipe.kernel}"
        )
    need_digits()
    if options.smoke:
        options = dataclasses.replace(options, scene=Scene(10, 1, 2, 2), recipe=SMOKE)
    with begun(NAME, options, files=(), clock=clock):
        errors = compare(options)
        if lstm_jax.distributed.is_primary():
            report(options, errors, clock.minutes)


def compare(options: PixelOptions) -> dict[str, NDArray[np.float64]]:
    """Train both networks; the squared error of each method, frame by frame."""
    from experiments.video.pixel_task import (
        predict_frames,
        split,
        train_frames,
        unseen_sequences,
    )

    scene, recipe, run_dir = options.scene, options.recipe, options.run.run_dir
    assert run_dir is not None
    seconds = options.run.max_seconds
    run = dataclasses.replace(options.run, max_seconds=seconds and seconds / 2)
    frames = unseen_sequences(recipe, scene, options.run.seed)
    batch = split(frames, scene)
    found = {}
    with interruptible() as stop:
        for name, folder in ((CONV, run_dir), (FLAT, run_dir / "flat")):
            model = train_frames(
                recipe,
                scene,
                run,
                flat=name == FLAT,
                precision=options.precision,
                folder=folder,
                stop=stop,
            )
            stop.check(
                f"the last network, unfinished, is in {folder}; --resume goes on"
            )
            found[name] = predict_frames(model, batch["past"], scene.future)
    found[COPY] = np.repeat(batch["past"][:, -1:], scene.future, axis=1)
    if lstm_jax.distributed.is_primary():
        draw(frames, found, scene, run_dir / "frames.png")
    return {name: squared_errors(each, batch["future"]) for name, each in found.items()}


def squared_errors(
    found: NDArray[np.float32], frames: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Squared error summed over the pixels of a frame, mean over rows: [frames]."""
    return ((found - frames).astype(np.float64) ** 2).sum(axis=-1).mean(axis=0)


def draw(
    frames: NDArray[np.float32],
    found: Mapping[str, NDArray[np.float32]],
    scene: Scene,
    path: Path,
) -> None:
    """The first sequence of the test, and what each method made of it."""
    from experiments.video.plots import draw_strips

    size = scene.size
    strips = {"what was filmed": frames[0].reshape(-1, size, size)}
    strips |= {name: each[0].reshape(-1, size, size) for name, each in found.items()}
    draw_strips(path, strips)


def report(
    options: PixelOptions, errors: Mapping[str, NDArray[np.float64]], minutes: float
) -> None:
    """Print the errors and leave the result."""
    print()
    print_errors(errors)
    means = {name: f"{each.mean():.3f}" for name, each in errors.items()}
    run_dir = options.run.run_dir
    assert run_dir is not None
    row = Result(
        **described(
            "Next frames",
            f"{options.scene.past} frames seen, {options.scene.future} predicted",
            (),
            "moving digits, generated",
        ),
        metric="squared error per frame",
        ours=f"{CONV} {means[CONV]}",
        floor=f"{FLAT} {means[FLAT]}; {COPY} {means[COPY]}",
        minutes=minutes,
        command=command_line(NAME, options),
    )
    results.write_result(run_dir, row)


def print_errors(errors: Mapping[str, NDArray[np.float64]]) -> None:
    """A row for each method, a column for each frame ahead."""
    count = len(next(iter(errors.values())))
    ahead = " ".join(f"{k + 1:>7}" for k in range(count))
    print(f"squared error per frame\n{'frames ahead':22}{ahead}    mean")
    for name, each in errors.items():
        print(f"{name:22}{' '.join(f'{e:7.3f}' for e in each)} {each.mean():7.3f}")


def evaluate(options: EvaluateOptions) -> None:
    """Score trained networks, and the last frame copied, on films."""
    from experiments.video.frames import read_films
    from experiments.video.pixel_task import load_predictor, predict_films

    given = [(path, read_films(path)) for path in options.data]
    predictor = load_predictor(options.run_dir)
    past, length = predictor.past, predictor.past + predictor.future
    if not given:
        given = [(options.run_dir, tested_films(options.run_dir))]
    if len(sizes := {films.shape[2:] for _, films in given}) > 1:
        found = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise lstm_jax.InputError(f"--data: expected frames of one size, found {found}")
    stretches = np.concatenate([cut(films, length, path) for path, films in given])
    predictors = {name_of(predictor): predictor}
    flat = options.run_dir / "flat"
    if flat.is_dir() and (other := load_predictor(flat)).reads(stretches.shape[2:]):
        predictors[FLAT] = other
    seen, future = np.split(stretches, [past], axis=1)
    found = {
        name: predict_films(each, seen, predictor.future)
        for name, each in predictors.items()
    }
    found[COPY] = seen[:, -1:].repeat(predictor.future, axis=1)
    errors = {
        name: squared_errors(*(each.reshape(*each.shape[:2], -1) for each in pair))
        for name, pair in ((name, (each, future)) for name, each in found.items())
    }
    print(f"{len(stretches):,} stretches of {length} frames, {past} of them shown")
    print_errors(errors)
    if options.json:
        means = {name: float(each.mean()) for name, each in errors.items()}
        print(json.dumps({"squared_error": means, "stretches": len(stretches)}))


def name_of(predictor: Predictor) -> str:
    """What a network is called in a table."""
    return FLAT if predictor.flat else CONV


def tested_films(run_dir: Path) -> Films:
    """The films of a run's own test, generated again."""
    from experiments.video.pixel_task import unseen_sequences

    kept = kept_options(PixelOptions, NAME, run_dir)
    need_digits()
    frames = unseen_sequences(kept.recipe, kept.scene, kept.run.seed)
    return frames.reshape(*frames.shape[:2], kept.scene.size, kept.scene.size)


def cut(films: Films, length: int, path: Path) -> Films:
    """Cut films into stretches, one after the other; what is left over is not scored.

    Raises:
        InputError: they are too short.
    """
    frames, *size = films.shape[1:]
    if frames < length:
        raise lstm_jax.InputError(
            f"{path}: expected {length} frames or more, found {frames}"
        )
    whole = films[:, : frames // length * length]
    return whole.reshape(-1, length, *size)


def predict(options: PredictOptions) -> None:
    """Write the next frames of films, as numbers and as a movie."""
    check_bounds(options)
    movie = options.out.with_suffix(".gif")
    if options.out.suffix.lower() != ".npz":
        raise lstm_jax.InputError(f"--out: expected a .npz, found {options.out}")
    check_out(options.out, [options.file])
    keep_inputs(movie, [options.file])
    from experiments.video.frames import read_films, write_films, write_movie
    from experiments.video.pixel_task import load_predictor, predict_films

    films = read_films(options.file)
    predictor = load_predictor(options.run_dir)
    seen = films[:, -(options.past or predictor.past) :]
    count = options.frames or predictor.future
    predicted = predict_films(predictor, seen, count)
    write_films(options.out, predicted)
    write_movie(movie, seen, predicted)
    several = f"{len(films)} films, each " if len(films) > 1 else ""
    print(
        f"{several}{films.shape[1]} frames, the last {seen.shape[1]} shown, "
        f"{count} predicted\nwritten: {options.out}, {movie}"
    )


def main(arguments: Sequence[str] | None = None) -> int | None:
    """The command; returns its exit code."""
    return run_experiment(
        NAME,
        __doc__,
        arguments,
        learn=(PixelOptions, learn_pixels),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
    )
