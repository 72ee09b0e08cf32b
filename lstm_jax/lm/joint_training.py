"""Language models, folds or seeds, trained one by one or as one program.

A small model leaves a machine waiting: a step of several costs little more than a step
of one. The models share a call and nothing else, so each is what it would have become
by itself, up to rounding.
"""

import dataclasses
import shutil
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.task import build_optimizer, first_state, schedule_of, text_task
from lstm_jax.models.language import LanguageModel
from lstm_jax.report.progress import Progress
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.ensemble import members_of
from lstm_jax.training.loop import Task
from lstm_jax.training.step import TrainState, train_steps_jointly
from lstm_jax.training.trainer import train_model

_KEPT = "program-"


@dataclasses.dataclass(frozen=True)
class Job:
    """A model to be trained: its settings, what it learns from, and its symbols."""

    config: TrainConfig
    corpus: Corpus
    vocab: Vocabulary


def train_jointly(
    jobs: Sequence[Job],
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> list[LanguageModel]:
    """The last model of every job, in their order.

    Jobs of equal shapes run as one program: as many symbols, as large batches, as many
    steps. So there are as many programs as there are different shapes.

    Args:
        jobs: with settings that differ in their seed only.
        callbacks: see `train_model`; one that ends the training ends that of all.
        folder: where each program keeps its state, in a folder of its own; with
            `run.resume` each goes on from there, bit for bit.
        log: is handed a line of text if nothing is said for long.

    Raises:
        InputError: the length of the run is given in seconds, which mean something
            else for several at once; or a loss is no longer a finite number.
    """
    groups: dict[Hashable, list[int]] = {}
    for k, job in enumerate(jobs):
        if job.config.run.max_seconds is not None:
            raise InputError("jointly: expected --epochs, found --max-seconds")
        groups.setdefault(_shape(job), []).append(k)
    trained = dict[int, LanguageModel]()
    for n, places in enumerate(groups.values()):
        kept = folder / f"{_KEPT}{n + 1}" if folder else None
        models = _train([jobs[k] for k in places], callbacks, kept, log)
        trained.update(zip(places, models, strict=True))
    return [trained[k] for k in range(len(jobs))]


def remove_joint_states(folder: Path) -> None:
    """Remove what `train_jointly` has kept in a folder, once it is of no more use."""
    for kept in folder.glob(f"{_KEPT}*"):
        shutil.rmtree(kept)


def _shape(job: Job) -> Hashable:
    task, optimizer = text_task(job.config, job.corpus), job.config.optimizer
    sizes = optimizer.batch, optimizer.length, task.steps_per_epoch
    return len(job.vocab), job.config.model, sizes


def _train(
    jobs: Sequence[Job],
    callbacks: Sequence[Callback],
    folder: Path | None,
    log: Callable[[str], None],
) -> list[LanguageModel]:
    """Train the jobs of one shape."""
    config = jobs[0].config
    task, optimizer = _joint_task(jobs), build_optimizer(config)
    schedule = schedule_of(config, task.steps_per_epoch)
    name = f"{len(jobs)} models as one program"
    progress = Progress(schedule, log=log, lines=False, name=name)
    trained = train_model(
        task,
        lambda: _joint_state(jobs),
        schedule,
        CompiledSteps(task.loss, optimizer, train_steps_jointly),
        dataclasses.replace(config.run, evaluations=0, patience=None, devices=1),
        folder=folder,
        callbacks=[*callbacks, progress],
    )
    return members_of(trained.model)


def _joint_state(jobs: Sequence[Job]) -> TrainState:
    """The first states of all, stacked; one number of the step."""
    states = [first_state(job.config, job.vocab) for job in jobs]
    joint = jax.tree.map(lambda *arrays: jnp.stack(arrays), *states)
    return dataclasses.replace(joint, step=states[0].step)


def _joint_task(jobs: Sequence[Job]) -> Task:
    """Batch n of every job, stacked."""
    tasks = [text_task(job.config, job.corpus) for job in jobs]

    def batch(n: int) -> dict[str, np.ndarray]:
        parts = [task.batch(n) for task in tasks]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    return Task(
        loss=tasks[0].loss,
        batch=batch,
        rows=len(jobs),  # a model is a row
        steps_per_epoch=tasks[0].steps_per_epoch,
        items_per_step=sum(task.items_per_step for task in tasks),
    )
