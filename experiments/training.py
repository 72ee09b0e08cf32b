"""Training a network in a folder, as every application does it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from lstm_jax import Schedule, Task, init_state, train_model
from lstm_jax.config import RunConfig
from lstm_jax.distributed import is_primary
from lstm_jax.models import ModelSpec, write_spec
from lstm_jax.ops import seed_key
from lstm_jax.report import Progress, parameter_table, report_run
from lstm_jax.training import Callback, CompiledSteps, Trained


def train_network(
    application: str,
    spec: ModelSpec,
    task: Task,
    compiled: CompiledSteps,
    run: RunConfig,
    *,
    folder: Path | None,
    steps: int,
    learning_rate: float,
    warmup: float = 0.05,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    show: bool = False,
) -> Trained:
    """Train a network and leave in a folder what `load_model` and people look for.

    The learning rate rises to its peak, then falls to zero, linearly.

    Args:
        application: the network's, see `write_spec`.
        spec: the network.
        task: what it learns.
        compiled: the training programs, of the task's loss.
        run: how long, and how it is kept.
        folder: where, if anywhere: `config.json`, checkpoints, `curves.png` and
            `summary.json`.
        steps: of the optimizer, unless `run` says how many epochs.
        learning_rate: its peak.
        warmup: the share of the steps in which it rises.
        settings: what is needed to use the network, as JSON.
        callbacks: what looks on, and may stop.
        show: whether the progress is written line by line, and what is trained; a
            terminal has a bar anyway, and no silence is long.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    if folder and is_primary():
        write_spec(folder, application, spec, dict(settings or {}))
    if run.epochs is not None:
        steps = run.epochs * task.steps_per_epoch
    schedule = Schedule(steps, run.max_seconds, learning_rate, warmup, final_rate=0.0)
    key = seed_key(run.seed)
    progress = Progress(schedule, task.items, lines=show)
    if show and is_primary():
        print(parameter_table(jax.eval_shape(lambda: spec.build(key))))
    trained = train_model(
        task,
        lambda: init_state(spec.build(key), compiled.optimizer, (), key),
        schedule,
        compiled,
        run,
        folder=folder,
        callbacks=[*callbacks, progress],
    )
    if folder:
        report_run(folder, trained, task)
    return trained
