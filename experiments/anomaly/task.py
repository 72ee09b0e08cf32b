"""From the leading parts of series to a trained network, and to surprises."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.config import DetectorConfig
from experiments.anomaly.data import Series
from experiments.anomaly.features import (
    ANCHORS,
    FEATURES,
    LEADS,
    Table,
    tables,
    tabulate,
)
from experiments.training import train_network
from lstm_jax import InputError, Task, make_optimizer
from lstm_jax.config import Precision, RunConfig
from lstm_jax.data import Batch
from lstm_jax.distributed import bounded_jit
from lstm_jax.models import DensityModel, ModelSpec, density_loss, load_model
from lstm_jax.training import Callback, CompiledSteps, Trained, with_precision

NAME = "anomaly"
_LEAST = 21  # points of a leading part that something can be learned from
_CHUNK = 1024  # points per call of the one compiled program
_SIGNED = ANCHORS + 1  # inputs that change their sign with the series


def detector_spec(recipe: DetectorConfig) -> ModelSpec:
    """Describe the network of a recipe."""
    sizes = {
        "features": FEATURES,
        "anchors": ANCHORS,
        "hidden_size": recipe.hidden,
        "num_layers": recipe.layers,
        "parts": recipe.parts,
        "dropout": recipe.dropout,
        "cell": recipe.cell,
    }
    return ModelSpec("density", sizes)


def stretches(table: Table, n: int, rows: int, length: int, seed: int) -> Batch:
    """Batch n of training: stretches of random series, every other one upside down.

    Series are equally likely, however long.

    Returns:
        The arrays that `density_loss` takes.
    """
    rng = np.random.default_rng([seed, n])
    points = table.weights.sum(axis=1).astype(int)
    chosen = rng.integers(len(points), size=rows)
    starts = rng.integers(np.maximum(points[chosen] - length, 0) + 1)
    signs = rng.choice(np.array([-1, 1], np.float32), size=rows)
    at = np.minimum(starts[:, None] + np.arange(length), table.weights.shape[1] - 1)
    inputs, anchors, values, weights = (each[chosen[:, None], at] for each in table)
    inputs[..., :_SIGNED] *= signs[:, None, None]
    inside = starts[:, None] + np.arange(length) < points[chosen, None]
    return {
        "inputs": inputs,
        "anchors": anchors * signs[:, None, None],
        "values": values * signs[:, None],
        "weights": weights * inside,
    }


def train_detector(
    series: list[Series],
    recipe: DetectorConfig,
    run: RunConfig,
    *,
    precision: Precision | None,
    folder: Path,
    callbacks: list[Callback],
) -> Trained:
    """Learn what comes next, from the leading part of every series.

    Raises:
        InputError: no series is long enough, there is no time for a step, or the loss
            is no longer a finite number.
    """
    parts = [each.leading() for each in series if each.probation >= _LEAST]
    if not parts:
        raise InputError("--data: expected a series of 140 points or more, found none")
    table = tabulate(parts)
    length = min(recipe.length, table.weights.shape[1])
    loss = with_precision(density_loss, precision)
    optimizer = make_optimizer(recipe.weight_decay, clip_norm=1.0, beta2=0.99)
    compiled = CompiledSteps(loss, optimizer)
    points = int(table.weights.sum())
    task = Task(
        loss=compiled.loss,
        batch=lambda n: stretches(table, n, recipe.rows, length, run.seed),
        rows=recipe.rows,
        steps_per_epoch=max(1, points // (recipe.rows * length)),
        items_per_step=recipe.rows * length,
        items="points",
        unit="nats per point",
    )
    return train_network(
        NAME,
        detector_spec(recipe),
        task,
        compiled,
        run,
        folder=folder,
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        settings={"alarm": recipe.alarm, "segment": recipe.segment},
        callbacks=callbacks,
        show=True,
    )


class Detector(NamedTuple):
    """A network, and the evidence that it takes for an alarm and for a segment."""

    model: DensityModel
    alarm: float
    segment: float


def load_detector(run_dir: Path) -> Detector:
    """Load what a run has left.

    Raises:
        InputError: there is no such network, or it is damaged.
    """
    saved = load_model(run_dir, NAME)
    arguments = saved.spec.arguments
    if (arguments.get("features"), arguments.get("anchors")) != (FEATURES, ANCHORS):
        raise InputError(f"{run_dir}: expected a network of {FEATURES} inputs")

    def level(name: str) -> float:
        found = saved.settings.get(name)
        if not isinstance(found, float) or not found > 0:
            raise InputError(f"{run_dir}: expected a level, found {found!r:.60}")
        return found

    return Detector(saved.model, level("alarm"), level("segment"))


def surprises_of(
    model: DensityModel, series: list[Series]
) -> list[NDArray[np.float64]]:
    """How unexpected every point is, in nats, [N] of each series; see `surprise`.

    They are read from their first points to their last ones, the state handed on.
    """
    model, state, found = jax.device_put(model), None, []
    for table in tables(series, _CHUNK):
        spare = ((0, 0), (0, _CHUNK - table.values.shape[1]))
        inputs, anchors, values = (
            np.pad(each, spare + ((0, 0),) * (each.ndim - 2)) for each in table[:3]
        )
        surprise, state = read(model, inputs, anchors, values, state)
        found.append(np.asarray(surprise, np.float64))
    whole = np.concatenate(found, axis=1)
    return [row[: len(each.values)] for row, each in zip(whole, series, strict=True)]


@bounded_jit
def read(
    model: DensityModel,
    inputs: jax.Array,
    anchors: jax.Array,
    values: jax.Array,
    state: tuple | None,
) -> tuple[jax.Array, tuple]:
    """How unexpected points are, and the state after them.

    The mean over all distances that they are forecast from of -ln of the probability
    to be as far out on either side.

    Args:
        model: the network.
        inputs: [B L, T, FEATURES], and so on, as in a `Table`.
        anchors: likewise.
        values: likewise.
        state: of the steps before; None at the beginning.

    Returns:
        [B, T], in nats, and the state.
    """
    mixture, state = model(inputs, anchors, state)
    below, above = mixture.log_tails(values)
    either = jnp.maximum(-jnp.minimum(below, above) - jnp.log(2.0), 0.0)
    return either.reshape(-1, len(LEADS), values.shape[1]).mean(axis=1), state
