"""From the leading parts of series to a trained network, and to surprises."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.anomaly.config import DetectorConfig
from experiments.anomaly.data import Series
from experiments.anomaly.features import ANCHORS, FEATURES, Table, tabulate
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


class Surprise(NamedTuple):
    """How unexpected every point was, [B, T] each, in nats.

    Attributes:
        below: -ln P(no greater than this).
        above: -ln P(no less than this).
    """

    below: NDArray[np.float64]
    above: NDArray[np.float64]

    def either(self) -> NDArray[np.float64]:
        """-ln of the probability to be as far out on either side."""
        return np.maximum(np.maximum(self.below, self.above) - np.log(2), 0.0)


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
        settings={"alarm": recipe.alarm},
        callbacks=callbacks,
        show=True,
    )


def load_detector(run_dir: Path) -> tuple[DensityModel, float]:
    """Load the network that a run has left, and the least evidence of an alarm.

    Raises:
        InputError: there is none, or it is damaged.
    """
    saved = load_model(run_dir, NAME)
    arguments, alarm = saved.spec.arguments, saved.settings.get("alarm")
    if (arguments.get("features"), arguments.get("anchors")) != (FEATURES, ANCHORS):
        raise InputError(f"{run_dir}: expected a network of {FEATURES} inputs")
    if not isinstance(alarm, float) or not alarm > 0:
        raise InputError(f"{run_dir}: expected an alarm level, found {alarm!r:.60}")
    return saved.model, alarm


def surprises_of(
    model: DensityModel, series: list[Series]
) -> list[NDArray[np.float64]]:
    """How unexpected every point is, in nats, [N] of each series.

    -ln of the probability to lie as far out on either side, from the points before.
    """
    either = surprises(model, tabulate(series)).either()
    return [mine[: len(each.values)] for each, mine in zip(series, either, strict=True)]


def surprises(model: DensityModel, table: Table) -> Surprise:
    """Read series from their first point to their last one, the state handed on."""
    steps = table.values.shape[1]
    spare = -steps % _CHUNK
    inputs, anchors, values = (
        np.pad(each, ((0, 0), (0, spare)) + ((0, 0),) * (each.ndim - 2))
        for each in table[:3]
    )
    model = jax.device_put(model)
    state, found = None, []
    for start in range(0, steps, _CHUNK):
        part = slice(start, start + _CHUNK)
        *tails, state = read(
            model, inputs[:, part], anchors[:, part], values[:, part], state
        )
        found.append(np.asarray(tails, np.float64))
    below, above = -np.concatenate(found, axis=2)[..., :steps]
    return Surprise(below, above)


@bounded_jit
def read(
    model: DensityModel,
    inputs: jax.Array,
    anchors: jax.Array,
    values: jax.Array,
    state: tuple | None,
) -> tuple[jax.Array, jax.Array, tuple]:
    """Ln of the tails of the points of some steps, and the state after them."""
    mixture, state = model(inputs, anchors, state)
    return *mixture.log_tails(values), state
