"""From moving digits to networks that predict their next frames."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.training import train_network
from experiments.video.digits import MOST, Scene, digit_images, moving_digits
from experiments.video.frames import Films
from experiments.video.pixel_config import PixelConfig
from lstm_jax import InputError, Task, make_optimizer
from lstm_jax.config import Precision, RunConfig
from lstm_jax.data import Batch
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import ModelSpec, frame_loss, load_model
from lstm_jax.training import CompiledSteps, Stop, with_precision
from lstm_jax.typing import Model

APPLICATION = "video pixels"
_EPOCH = 100  # steps; the digits never come twice in the same way
_ROWS = 50  # sequences predicted at a time
_PIXELS = _ROWS * 128 * 128  # of their frames, more than which is less at a time


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


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained network, and what it was trained to do.

    Attributes:
        model: the network.
        spec: what it was built from.
        past: how many frames it was shown.
        future: how many it had to predict.
    """

    model: Model
    spec: ModelSpec
    past: int
    future: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames it has learned from."""
        height, width = (self.spec.arguments[name] for name in ("height", "width"))
        return height, width

    @property
    def flat(self) -> bool:
        """Whether it is an LSTM on flat frames."""
        return self.spec.arguments.get("kernel") == 0

    def reads(self, size: tuple[int, int]) -> bool:
        """Whether it reads frames of this height and width: a ConvLSTM reads any."""
        return not self.flat or size == self.size

    def of_size(self, size: tuple[int, int]) -> Model:
        """The network for frames of another height and width, its parameters the same.

        Raises:
            InputError: it is an LSTM on flat frames, which has learned places.
        """
        if not self.reads(size):
            (height, width), (other, wide) = self.size, size
            raise InputError(
                f"expected frames of {width} x {height} pixels, as an LSTM on flat "
                f"frames has learned from, found {wide} x {other}"
            )
        sized = {**self.spec.arguments, "height": size[0], "width": size[1]}
        spec = dataclasses.replace(self.spec, arguments=sized)
        like = jax.tree.structure(jax.eval_shape(spec.build, jax.random.key(0)))
        return jax.tree.unflatten(like, jax.tree.leaves(self.model))


def load_predictor(run_dir: Path) -> Predictor:
    """Load the network that a run has left.

    Raises:
        InputError: there is none, or it is damaged.
    """
    saved = load_model(run_dir, APPLICATION)
    past, future = (saved.settings.get(name) for name in ("past", "future"))
    counted = isinstance(past, int) and isinstance(future, int)
    if not counted or not (1 <= past <= MOST and 1 <= future <= MOST):
        raise InputError(f"{run_dir}: expected how many frames a network reads")
    if saved.spec.network != "frames":
        raise InputError(f"{run_dir}: expected a network that predicts frames")
    return Predictor(saved.model, saved.spec, past, future)


def predict_films(predictor: Predictor, past: Films, count: int) -> Films:
    """The next frames, [N, count, height, width], of films [N, T, height, width].

    Raises:
        InputError: they are of a size that the network can't read.
    """
    size = past.shape[2:]
    flat = past.reshape(*past.shape[:2], -1)
    found = predict_frames(predictor.of_size(size), flat, count)
    return found.reshape(len(past), count, *size)


def predict_frames(
    model: Model, past: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """The pixels of the next frames, [B, count, pixels], from 0 to 1."""
    parts = []
    most = max(1, min(_ROWS, _PIXELS // past.shape[-1]))
    for start in range(0, len(past), most):
        rows = past[start : start + most]
        filled = np.concatenate([rows, np.zeros((most - len(rows), *rows.shape[1:]))])
        parts.append(np.asarray(_grey(model, filled.astype(np.float32), count)))
    return np.concatenate(parts)[: len(past)]


_grey = bounded_jit(
    lambda model, past, count: jax.nn.sigmoid(model(past, count)),
    static_argnames=("count",),
)
