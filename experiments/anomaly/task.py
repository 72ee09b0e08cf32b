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
from lstm_jax.metrics import LossSums, loss_sums
from lstm_jax.models import DensityModel, ModelSpec, density_loss, load_model
from lstm_jax.training import Callback, CompiledSteps, Trained, with_precision
from lstm_jax.typing import PRNGKey

NAME = "anomaly"
_LEAST = 21  # points of a leading part that something can be learned from
_CHUNK = 1024  # points per call of the one compiled program
_SIGNED = ANCHORS + 1  # inputs that change their sign with the series


def detector_spec(recipe: DetectorConfig) -> ModelSpec:
    """Describe the networks of a recipe, one for each of `LEADS`, stacked."""
    sizes = {
        "features": FEATURES,
        "anchors": ANCHORS,
        "hidden_size": recipe.hidden,
        "num_layers": recipe.layers,
        "parts": recipe.parts,
        "dropout": recipe.dropout,
        "cell": recipe.cell,
    }
    return ModelSpec("density", sizes, members=len(LEADS))


def stretches(table: Table, n: int, rows: int, length: int, seed: int) -> Batch:
    """Batch n of training: stretches of random series, every other one upside down.

    Series are equally likely, however long.

    Returns:
        The arrays that `leads_loss` takes.
    """
    rng = np.random.default_rng([seed, n])
    points = table.weights.sum(axis=1).astype(int)
    chosen = rng.integers(len(points), size=rows)
    starts = rng.integers(np.maximum(points[chosen] - length, 0) + 1)
    signs = rng.choice(np.array([-1, 1], np.float32), size=rows)
    parts = [
        [each[row, ..., start : start + length, :] for each in table[:2]]
        + [each[row, start : start + length] for each in table[2:]]
        for row, start in zip(chosen, starts, strict=True)
    ]
    inputs, anchors, values, weights = map(np.stack, zip(*parts, strict=True))
    inputs[..., :_SIGNED] *= signs[:, None, None, None]
    return {
        "inputs": inputs,
        "anchors": anchors * signs[:, None, None, None],
        "values": values * signs[:, None],
        "weights": weights,
    }


def leads_loss(
    models: DensityModel, carry: tuple, batch: dict[str, jax.Array], key: PRNGKey | None
) -> tuple[LossSums, tuple]:
    """The mean over networks of `density_loss`, each from its distance.

    Args:
        models: L networks, stacked.
        carry: nothing.
        batch: `inputs` [B, L, T, D], `anchors` [B, L, T, A], `values` and `weights`
            [B, T].
        key: for dropout, or None.
    """

    def one(
        model: DensityModel, inputs: jax.Array, anchors: jax.Array, key: PRNGKey | None
    ) -> LossSums:
        mine = batch | {"inputs": inputs, "anchors": anchors}
        return density_loss(model, (), mine, key)[0]

    keys = None if key is None else jax.random.split(key, len(LEADS))
    over = (0, 1, 1, None if key is None else 0)
    sums = jax.vmap(one, over)(models, batch["inputs"], batch["anchors"], keys)
    return loss_sums(sums.loss.mean(), sums.count.mean()), carry


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
    # The gradient is that of one network, shared among all.
    clip_norm = len(LEADS) ** -0.5
    optimizer = make_optimizer(recipe.weight_decay, clip_norm, beta2=0.99)
    loss = with_precision(leads_loss, precision)
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
        settings={"false_alarms": recipe.false_alarms},
        callbacks=callbacks,
        show=True,
    )


class Detector(NamedTuple):
    """Stacked networks, and what it takes for an alarm, see `DetectorConfig`."""

    models: DensityModel
    false_alarms: float


def load_detector(run_dir: Path) -> Detector:
    """Load what a run has left.

    Raises:
        InputError: there is no such network, or it is damaged.
    """
    saved = load_model(run_dir, NAME)
    arguments, members = saved.spec.arguments, saved.spec.members
    found = members, arguments.get("features"), arguments.get("anchors")
    if found != (len(LEADS), FEATURES, ANCHORS):
        raise InputError(
            f"{run_dir}: expected {len(LEADS)} networks of {FEATURES} inputs"
        )
    level = saved.settings.get("false_alarms")
    if not isinstance(level, float) or not level > 0:
        raise InputError(f"{run_dir}: expected false_alarms, found {level!r:.60}")
    return Detector(saved.model, level)


def surprises_of(
    models: DensityModel, series: list[Series]
) -> list[NDArray[np.float64]]:
    """How unexpected every point is, in nats, [N] of each series; see `read`.

    They are read from their first points to their last ones, the state handed on.
    """
    models, state, found = jax.device_put(models), None, []
    for table in tables(series, _CHUNK):
        spare = (0, _CHUNK - table.values.shape[1])
        inputs, anchors = (
            np.pad(each, ((0, 0), (0, 0), spare, (0, 0))) for each in table[:2]
        )
        values = np.pad(table.values, ((0, 0), spare))
        surprise, state = read(models, inputs, anchors, values, state)
        found.append(np.asarray(surprise, np.float64))
    whole = np.concatenate(found, axis=1)
    return [row[: len(each.values)] for row, each in zip(whole, series, strict=True)]


@bounded_jit
def read(
    models: DensityModel,
    inputs: jax.Array,
    anchors: jax.Array,
    values: jax.Array,
    state: tuple | None,
) -> tuple[jax.Array, tuple]:
    """How unexpected points are, and the state after them.

    The mean over all networks of -ln of the probability to be as far out on either
    side.

    Args:
        models: L networks, stacked.
        inputs: [B, L, T, FEATURES].
        anchors: [B, L, T, ANCHORS].
        values: [B, T], in the frame.
        state: of the steps before; None at the beginning.

    Returns:
        [B, T], in nats, and the state.
    """

    def one(
        model: DensityModel, inputs: jax.Array, anchors: jax.Array, state: tuple | None
    ) -> tuple[jax.Array, tuple]:
        mixture, state = model(inputs, anchors, state)
        least = jnp.minimum(*mixture.log_tails(values))
        return jnp.maximum(-least - jnp.log(2.0), 0.0), state

    surprise, state = jax.vmap(one, (0, 1, 1, 0))(models, inputs, anchors, state)
    return surprise.mean(axis=0), state
