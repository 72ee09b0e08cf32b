"""From stays to trained networks, and from stays to their risk over time."""

import dataclasses
import functools
import operator
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from experiments.healthcare.config import RiskConfig
from experiments.healthcare.data import VARIABLES, Stays
from experiments.healthcare.inputs import (
    FEATURES,
    Preparation,
    as_preparation,
    as_record,
    prepare,
)
from experiments.training import train_network
from lstm_jax import InputError, Task, make_optimizer
from lstm_jax.config import Precision, RunConfig
from lstm_jax.data import IGNORED
from lstm_jax.distributed import bounded_jit, is_primary
from lstm_jax.metrics import LossSums, sensitive_threshold
from lstm_jax.models import ModelSpec, event_loss, load_model, write_spec
from lstm_jax.training import (
    Callback,
    CompiledSteps,
    ensemble_loss,
    with_precision,
)
from lstm_jax.typing import Batch, BatchInputs, Model

NAME = "healthcare"
_LOSS = ensemble_loss(event_loss)
_ROWS = 200  # stays read at a time


@dataclasses.dataclass(frozen=True)
class RiskModel:
    """What it takes to say a risk: scales, stacked networks, and where alarms begin.

    `threshold` is the risk after the last step from which on there is an alarm: that at
    which sensitivity and precision balance on the stays that were learned from; None of
    a training that was stopped.
    """

    preparation: Preparation
    models: Model
    threshold: float | None = None


def risk_spec(recipe: RiskConfig) -> ModelSpec:
    """Describe the networks of a recipe, stacked."""
    arguments = {
        "features": FEATURES,
        "hidden_size": recipe.hidden,
        "gaps": len(VARIABLES),
        "input_dropout": recipe.input_dropout,
        "dropout": recipe.dropout,
        "cell": recipe.cell,
    }
    return ModelSpec("event", arguments, recipe.members)


def risk_steps(recipe: RiskConfig, precision: Precision | None = None) -> CompiledSteps:
    """Training programs, which all networks of a recipe share."""
    # The ensemble's gradient is that of one member, a member-th of it for each.
    clip_norm = recipe.members**-0.5
    optimizer = make_optimizer(recipe.weight_decay, clip_norm, beta2=0.99)
    return CompiledSteps(with_precision(_LOSS, precision), optimizer)


def risk_task(
    inputs: NDArray[np.float32],
    died: NDArray[np.bool_],
    compiled: CompiledSteps,
    rows: int,
    seed: int,
) -> Task:
    """Learning what becomes of some stays, each once an epoch.

    Args:
        inputs: [N, T, D].
        died: [N].
        compiled: of `risk_steps`.
        rows: of a batch. What does not fill one is left out of an epoch.
        seed: decides the order of the stays.
    """
    rows = min(rows, len(inputs))
    steps = len(inputs) // rows

    def batch(n: int) -> Batch:
        epoch, place = divmod(n, steps)
        order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
        return rows_of(inputs, died, order[place * rows : (place + 1) * rows])

    return Task(
        loss=compiled.loss,
        batch=batch,
        rows=rows,
        steps_per_epoch=steps,
        items_per_step=rows,
        items="stays",
        unit="nats per forecast",
    )


def rows_of(
    inputs: NDArray[np.float32], died: NDArray[np.bool_], rows: NDArray[np.integer]
) -> Batch:
    """A batch for `event_loss`; a row of -1 is not counted."""
    targets = np.where(rows >= 0, died[rows], IGNORED).astype(np.int32)
    return {"inputs": inputs[rows], "targets": targets[:, None]}


def train_risk(
    stays: Stays,
    died: NDArray[np.bool_],
    recipe: RiskConfig,
    run: RunConfig,
    *,
    compiled: CompiledSteps,
    held_out: tuple[Stays, NDArray[np.bool_]] | None = None,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    show: bool = False,
) -> RiskModel:
    """Learn the risk, scales and the threshold of alarms, from these stays alone.

    Args:
        stays: what to learn from.
        died: what became of them, [N].
        recipe: the networks.
        run: how long, and how it is kept.
        compiled: those of `risk_steps` that another training has filled.
        held_out: what the best networks are chosen by, if that is wanted.
        folder: where to keep the run.
        callbacks: what looks on, and may stop.
        show: whether the progress is shown.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    preparation = prepare(stays, recipe.hours)
    inputs = preparation(stays)
    task = risk_task(inputs, died, compiled, recipe.batch, run.seed)
    if held_out is not None:
        others = preparation(held_out[0]), held_out[1]
        task = dataclasses.replace(
            task, evaluate=functools.partial(evaluate_rows, *others)
        )
    spec, settings = risk_spec(recipe), {"preparation": as_record(preparation)}
    assert run.epochs is not None, "Options has a default"
    trained = train_network(
        NAME,
        spec,
        task,
        compiled,
        run,
        folder=folder,
        steps=run.epochs * task.steps_per_epoch,
        learning_rate=recipe.learning_rate,
        warmup=0.1,
        settings=settings,
        callbacks=callbacks,
        show=show,
    )
    threshold = sensitive_threshold(died, forecast(trained.model, inputs)[:, -1])
    if is_primary():
        write_spec(folder, NAME, spec, {**settings, "threshold": threshold})
    return RiskModel(preparation, trained.model, threshold)


def evaluate_rows(
    inputs: NDArray[np.float32], died: NDArray[np.bool_], models: Model
) -> LossSums:
    """The sums of the members' loss over stays, without dropout."""
    measured = [
        _measure(models, rows_of(inputs, died, rows)) for rows in _parts(len(inputs))
    ]
    return functools.reduce(operator.add, measured)


@bounded_jit
def _measure(models: Model, batch: dict[str, jax.Array]) -> LossSums:
    return _LOSS(models, (), batch, None)[0]


def predict_risk(risk: RiskModel, stays: Stays) -> NDArray[np.float32]:
    """The risk of death after each step of each stay, [N, T]."""
    return forecast(risk.models, risk.preparation(stays))


def forecast(models: Model, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the members' probabilities after each step, [N, T].

    They do not depend on which stays are read together.
    """
    found = np.zeros(inputs.shape[:2], np.float32)
    models = jax.device_put(models)
    for rows in _parts(len(inputs)):
        real = rows >= 0
        found[rows[real]] = np.asarray(_chances(models, inputs[rows]))[real]
    return found


def _parts(count: int) -> list[NDArray[np.int64]]:
    """Rows in parts of one size, the last filled up with -1."""
    rows = min(_ROWS, max(1, count))
    padded = np.append(np.arange(count), np.full(-count % rows, -1))
    return list(padded.reshape(-1, rows))


@bounded_jit
def _chances(models: Model, inputs: BatchInputs) -> jax.Array:
    logits = jax.vmap(lambda model: model(inputs))(models)
    return jax.nn.sigmoid(logits[..., 0]).mean(axis=0)


def load_risk(run_dir: Path) -> RiskModel:
    """Load the networks that a run has left.

    Raises:
        InputError: there are none, or they are damaged.
    """
    saved = load_model(run_dir, NAME)
    threshold = saved.settings.get("threshold")
    try:
        preparation = as_preparation(saved.settings["preparation"])
        threshold = None if threshold is None else float(threshold)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{run_dir}: expected the scales of its inputs") from None
    return RiskModel(preparation, saved.model, threshold)
