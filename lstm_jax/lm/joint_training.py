"""Language models, folds or seeds, trained one by one or as one program.

A small model leaves a machine waiting: a step of several costs little more than a step
of one. The models share a call and nothing else, so each is what it would have become
by itself, up to rounding.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.characters import Vocab
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.evaluation import ROW_AXES
from lstm_jax.lm.task import build_optimizer, first_state, plan_of, text_task
from lstm_jax.models.language import LanguageModel
from lstm_jax.training.compiled import Programs
from lstm_jax.training.ensemble import members_of
from lstm_jax.training.loop import Clock, Task, fit
from lstm_jax.training.step import TrainState, train_steps_together
from lstm_jax.training.trainer import Trained, train_model


@dataclasses.dataclass(frozen=True)
class Job:
    """A model to be trained: its settings, what it learns from, and its symbols."""

    config: TrainConfig
    corpus: Corpus
    vocab: Vocab


def train_alone(
    job: Job, programs: Programs, interrupted: Callable[[], bool] = lambda: False
) -> Trained:
    """The last model of one job.

    Args:
        job: what to train.
        programs: of `loss_of` and the optimizer of its settings, shared between jobs.
        interrupted: see `train_model`.

    Raises:
        InputError: there is no time for a step, or the loss is no longer a finite
            number.
    """
    task, run = text_task(job.config, job.corpus), job.config.run
    first = first_state(job.config, job.vocab)
    return train_model(
        task,
        first.model,
        plan_of(job.config, task.steps_per_epoch),
        programs,
        carry=first.carry,
        seed=run.seed,
        steps_per_call=run.steps_per_call,
        evaluations=0,
        interrupted=interrupted,
    )


def train_together(
    jobs: Sequence[Job], interrupted: Callable[[], bool] = lambda: False
) -> list[LanguageModel]:
    """The last model of every job, in their order.

    Jobs of equal shapes run as one program: as many symbols, as large batches, as many
    steps. So there are as many programs as there are different shapes.

    Args:
        jobs: with settings that differ in their seed only.
        interrupted: asked after every compiled call; True ends the training early.

    Raises:
        InputError: the length of the run is given in seconds, which mean something
            else for several at once; or a loss is no longer a finite number.
    """
    groups: dict[Hashable, list[int]] = {}
    for k, job in enumerate(jobs):
        if job.config.run.max_seconds is not None:
            raise InputError("together: expected --epochs, found --max-seconds")
        groups.setdefault(_shape(job), []).append(k)
    trained = dict[int, LanguageModel]()
    for places in groups.values():
        models = _train([jobs[k] for k in places], interrupted)
        trained.update(zip(places, models, strict=True))
    return [trained[k] for k in range(len(jobs))]


def _shape(job: Job) -> Hashable:
    task, optimizer = text_task(job.config, job.corpus), job.config.optimizer
    sizes = optimizer.batch, optimizer.length, task.steps_per_epoch
    return len(job.vocab), job.config.model, sizes


def _train(jobs: Sequence[Job], interrupted: Callable[[], bool]) -> list[LanguageModel]:
    """The jobs of one shape."""
    config = jobs[0].config
    task, optimizer = _joint_task(jobs), build_optimizer(config)
    state = _joint_state(jobs)
    loop = fit(
        task,
        optimizer,
        state,
        plan_of(config, task.steps_per_epoch),
        Clock(),
        steps_per_call=config.run.steps_per_call,
        devices=1,
        programs=Programs(task.loss, optimizer, train_steps_together),
    )
    for after, _ in loop:
        state = after
        if interrupted():
            break
    return members_of(jax.device_get(state.result))


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
        row_axes=dict.fromkeys(ROW_AXES, 0),
        rows=len(jobs),  # a model is a row
        steps_per_epoch=tasks[0].steps_per_epoch,
        symbols_per_step=sum(task.symbols_per_step for task in tasks),
    )
