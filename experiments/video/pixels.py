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
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lstm_jax
from experiments import results
from experiments.cli import command_line
from experiments.known_data import described
from experiments.results import Result
from experiments.runs import Clock, RunOptions, begun, check_options
from experiments.video.digits import Scene, need_digits
from experiments.video.pixel_config import PixelConfig
from lstm_jax.config import RunConfig
from lstm_jax.training import interruptible

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
    with begun(NAME, options, rows=options.recipe.batch, files=(), clock=clock):
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
    ahead = " ".join(f"{k + 1:>7}" for k in range(options.scene.future))
    print(f"\nsquared error per frame\n{'frames ahead':22}{ahead}    mean")
    for name, each in errors.items():
        print(f"{name:22}{' '.join(f'{e:7.3f}' for e in each)} {each.mean():7.3f}")
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
