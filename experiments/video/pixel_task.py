"""From moving digits to networks that predict their next frames."""

from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.training import train_network
from experiments.video.digits import Scene, digit_images, moving_digits
from experiments.video.pixel_config import PixelConfig
from lstm_jax import Task, make_optimizer
from lstm_jax.config import Precision, RunConfig
from lstm_jax.data import Batch
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import ModelSpec, frame_loss
from lstm_jax.training import CompiledSteps, Stop, with_precision
from lstm_jax.typing import Model

APPLICATION = "video pixels"
_EPOCH = 100  # steps; the digits never come twice in the same way
_ROWS = 50  # sequences predicted at a time


def frame_spec(recipe: PixelConfig, scene: Scene, *, flat: bool) -> ModelSpec:
    """Describe the ConvLSTM, or the LSTM on flat frames."""
    arguments = {
        "height": scene.size,
        "width": scene.size,
        "hidden": recipe.units if flat else recipe.channels,
        "layers": recipe.layers,
        "kernel": 0 if flat else recipe.kernel,
    }
    return ModelSpec("frames", arguments)


def training_batch(n: int, recipe: PixelConfig, scene: Scene, seed: int) -> Batch:
    """Batch n, a function of (seed, n): new sequences of the digits to learn from."""
    random = np.random.default_rng([seed, 0, n])
    return split(moving_digits(digit_images(False), scene, recipe.batch, random), scene)


def unseen_sequences(
    recipe: PixelConfig, scene: Scene, seed: int
) -> NDArray[np.float32]:
    """The sequences of the test, of digits that no batch has."""
    random = np.random.default_rng([seed, 1])
    return moving_digits(digit_images(True), scene, recipe.tested, random)


def split(frames: NDArray[np.float32], scene: Scene) -> Batch:
    """A batch for `frame_loss`."""
    return {"past": frames[:, : scene.past], "future": frames[:, scene.past :]}


def train_frames(
    recipe: PixelConfig,
    scene: Scene,
    run: RunConfig,
    *,
    flat: bool,
    precision: Precision | None,
    folder: Path,
    stop: Stop,
) -> Model:
    """Learn to predict, in a folder.

    Args:
        recipe: the networks.
        scene: what is seen.
        run: how long, and how it is kept.
        flat: whether it is the LSTM on flat frames.
        precision: of the arithmetic.
        folder: where to keep the run.
        stop: asks to stop.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    compiled = CompiledSteps(
        with_precision(frame_loss, precision), make_optimizer(0.0, 1.0, beta2=0.99)
    )
    task = Task(
        loss=compiled.loss,
        batch=lambda n: training_batch(n, recipe, scene, run.seed),
        rows=recipe.batch,
        steps_per_epoch=min(_EPOCH, recipe.steps),
        items_per_step=recipe.batch * (scene.past + scene.future),
        items="frames",
        unit="nats per frame",
    )
    return train_network(
        APPLICATION,
        frame_spec(recipe, scene, flat=flat),
        task,
        compiled,
        run,
        folder=folder,
        steps=recipe.steps,
        learning_rate=recipe.flat_learning_rate if flat else recipe.learning_rate,
        settings={"past": scene.past, "future": scene.future},
        callbacks=[stop],
        show=True,
    ).model


def predict_frames(
    model: Model, past: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """The pixels of the next frames, [B, count, pixels], from 0 to 1."""
    parts = []
    for start in range(0, len(past), _ROWS):
        rows = past[start : start + _ROWS]
        filled = np.concatenate([rows, np.zeros((_ROWS - len(rows), *rows.shape[1:]))])
        parts.append(np.asarray(_grey(model, filled.astype(np.float32), count)))
    return np.concatenate(parts)[: len(past)]


_grey = bounded_jit(
    lambda model, past, count: jax.nn.sigmoid(model(past, count)),
    static_argnames=("count",),
)
