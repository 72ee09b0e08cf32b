"""From labelled movements to trained networks, and from movements to their actions."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.training import train_network
from experiments.video.augment import varied
from experiments.video.config import MOST_FRAMES, VideoConfig
from experiments.video.data import Movements
from experiments.video.skeleton import (
    WIDTH,
    Frames,
    body_centred,
    described,
    resampled,
)
from lstm_jax import InputError, Task, make_optimizer
from lstm_jax.config import Precision, RegularizerConfig, RunConfig
from lstm_jax.data import Batch
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import ModelSpec, classifier_loss, load_model
from lstm_jax.training import (
    Callback,
    CompiledSteps,
    Trained,
    average_members,
    ensemble_loss,
    with_precision,
)
from lstm_jax.typing import BatchInputs, LabelLogits, Model

APPLICATION = "video"
_LOSS = ensemble_loss(classifier_loss)
_ROWS = 64  # sequences classified at a time


@dataclasses.dataclass(frozen=True)
class Recognizer:
    """What it takes to recognize an action: stacked networks, and what they know."""

    classes: tuple[str, ...]
    frames: int
    models: Model


def recognizer_spec(recipe: VideoConfig, classes: int) -> ModelSpec:
    """Describe the networks of a recipe, stacked."""
    arguments = {
        "features": WIDTH,
        "hidden_size": recipe.hidden,
        "num_layers": recipe.layers,
        "cell": recipe.cell,
        "classes": classes,
        "dropout": recipe.dropout,
        "regularizer": RegularizerConfig(
            input_dropout=recipe.input_dropout, label_smoothing=recipe.label_smoothing
        ),
    }
    return ModelSpec("classifier", arguments, recipe.members)


def recognizer_steps(
    recipe: VideoConfig, precision: Precision | None = None
) -> CompiledSteps:
    """Training programs, which all networks of a recipe share."""
    # The ensemble's gradient is that of one member, a member-th of it for each.
    clip_norm = recipe.members**-0.5
    optimizer = make_optimizer(recipe.weight_decay, clip_norm, beta2=0.99)
    return CompiledSteps(with_precision(_LOSS, precision), optimizer)


def training_batch(
    n: int,
    sequences: Sequence[Frames],
    labels: NDArray[np.integer],
    recipe: VideoConfig,
    seed: int,
) -> Batch:
    """Batch n: a function of (seed, n).

    The sequences come in an order drawn anew for every pass over them, and each is
    varied anew.

    Args:
        n: which batch, counted from 0 over all passes.
        sequences: body-centred, [T, 20, 3] each.
        labels: the class of each.
        recipe: how many rows and frames, and how much they are varied.
        seed: of the run.
    """
    place = n * recipe.batch + np.arange(recipe.batch)
    chosen = [
        _order(len(sequences), seed, k // len(sequences))[k % len(sequences)]
        for k in place.tolist()
    ]
    random = np.random.default_rng([seed, 1, n])
    rows = [varied(sequences[k], recipe.frames, recipe.augment, random) for k in chosen]
    return batch_of(np.stack(rows), labels[chosen])


@functools.lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 0, epoch]).permutation(count)


def batch_of(sequences: Frames, labels: NDArray[np.integer]) -> Batch:
    """A batch for `classifier_loss`, of body-centred sequences [B, N, 20, 3]."""
    inputs = described(sequences)
    lengths = np.full(len(inputs), inputs.shape[1], np.int32)
    return {"inputs": inputs, "lengths": lengths, "targets": labels.astype(np.int32)}


def train_recognizer(
    data: Movements,
    recipe: VideoConfig,
    run: RunConfig,
    *,
    compiled: CompiledSteps,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    show: bool = False,
) -> tuple[Recognizer, Trained]:
    """Learn to recognize the actions of some movements.

    Args:
        data: what to learn from.
        recipe: the networks.
        run: how long, and how it is kept.
        compiled: those of `recognizer_steps` that another training has filled.
        folder: where to keep the run, if anywhere.
        callbacks: what looks on, and may stop.
        show: whether the progress is shown.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    sequences = [body_centred(frames) for frames in data.sequences]
    steps_per_epoch = -(-len(sequences) // recipe.batch)
    task = Task(
        loss=compiled.loss,
        batch=lambda n: training_batch(n, sequences, data.labels, recipe, run.seed),
        rows=recipe.batch,
        steps_per_epoch=steps_per_epoch,
        items_per_step=recipe.batch * recipe.frames,
        items="frames",
        unit="nats per sequence",
    )
    assert run.epochs is not None, "Options has a default"
    trained = train_network(
        APPLICATION,
        recognizer_spec(recipe, len(data.classes)),
        task,
        compiled,
        run,
        folder=folder,
        steps=run.epochs * steps_per_epoch,
        learning_rate=recipe.learning_rate,
        settings={"classes": data.classes, "frames": recipe.frames},
        callbacks=callbacks,
        show=show,
    )
    return Recognizer(data.classes, recipe.frames, trained.model), trained


def predict_proba(
    recognizer: Recognizer, sequences: Sequence[Frames]
) -> NDArray[np.float32]:
    """The probability of every action for each sequence, [N, classes].

    They do not depend on which sequences are classified together.
    """
    models = jax.device_put(recognizer.models)
    chances = [np.zeros((0, len(recognizer.classes)), np.float32)]
    for start in range(0, len(sequences), _ROWS):
        rows = [
            resampled(body_centred(frames), recognizer.frames)
            for frames in sequences[start : start + _ROWS]
        ]
        empty = [np.zeros_like(rows[0])] * (_ROWS - len(rows))  # one shape to compile
        logits = _logits(models, described(np.stack(rows + empty)))
        chances.append(np.exp(np.asarray(logits))[: len(rows)])
    return np.concatenate(chances)


@bounded_jit
def _logits(models: Model, inputs: BatchInputs) -> LabelLogits:
    return average_members(jax.vmap(lambda model: model(inputs))(models))


def load_recognizer(run_dir: Path) -> Recognizer:
    """Load the networks that a run has left.

    Raises:
        InputError: there are none, or they are damaged.
    """
    saved = load_model(run_dir, APPLICATION)
    classes, frames = saved.settings.get("classes"), saved.settings.get("frames")
    sized = isinstance(frames, int) and 2 <= frames <= MOST_FRAMES
    wanted = saved.spec.arguments.get("classes")
    if not isinstance(classes, list) or len(classes) != wanted or not sized:
        raise InputError(f"{run_dir}: expected the actions that a network knows")
    return Recognizer(tuple(map(str, classes)), int(frames), saved.model)
