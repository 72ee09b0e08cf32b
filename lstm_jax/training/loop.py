"""The training loop: the only one.

`fit` is a generator. It yields the state and a line of history after every compiled
call; whoever runs it decides what to print, draw, save, and when to stop.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from lstm_jax.config import Devices
from lstm_jax.data.bptt import Batch
from lstm_jax.distributed.mesh import (
    replicate,
    row_mesh,
    shard_batch,
    shard_batch_by_process,
    shard_params,
    shard_rows,
)
from lstm_jax.distributed.multihost import broadcast_number, primary_decides
from lstm_jax.errors import InputError
from lstm_jax.metrics.losses import LossSums
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow, Metrics
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import Loss, TrainState
from lstm_jax.typing import Model

_MOST_VALIDATING = 0.25  # of a time budget


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes:
        loss: see `lstm_jax.training.step`.
        batch: batch n of training, arrays [B, ...], a function of n alone; called by a
            thread, ahead of the device.
        rows: B, rows per batch.
        batch_rows: some rows of batch n, so that of several processes each makes its
            own; without it each makes the whole batch and takes its part.
        steps_per_epoch: batches that make one pass over the data.
        items_per_step: how many items a step reads.
        items: what they are: characters, frames, points.
        unit: what a loss is counted in.
        evaluate: the validation sums of a model; None if nothing was held out.
        evaluate_training: the same of as much of the training data, to compare with.
    """

    loss: Loss
    batch: Callable[[int], Batch]
    rows: int
    steps_per_epoch: int
    items_per_step: int
    evaluate: Callable[[Model], LossSums] | None = None
    evaluate_training: Callable[[Model], LossSums] | None = None
    batch_rows: Callable[[int, slice], Batch] | None = None
    items: str = "items"
    unit: str = "nats"


@dataclasses.dataclass
class Timer:
    """Seconds of a run: in the loop, and how much of them went where.

    `spent` is what was spent before a resume; `final` is the evaluation after the
    loop, which the loop's own seconds leave out. `shortest_evaluation` is one that had
    nothing to compile, once there were two. `saving` is how long checkpoints held
    up the loop, not how long they were written beside it. No clock that is set changes
    any of these.
    """

    spent: float = 0.0
    compiling: float = 0.0
    evaluating: float = 0.0
    shortest_evaluation: float = 0.0
    saving: float = 0.0
    final: float = 0.0
    started: float = dataclasses.field(default_factory=time.perf_counter)
    running: bool = True

    def seconds(self) -> float:
        """Time spent in the loop so far."""
        now = time.perf_counter() - self.started if self.running else 0.0
        return self.spent + now

    def go_on_from(self, other: "Timer") -> None:
        """Take over the seconds of another timer."""
        self.spent, self.started = other.seconds(), time.perf_counter()
        self.compiling, self.evaluating = other.compiling, other.evaluating
        self.saving = other.saving

    def stop(self) -> None:
        """The loop is over."""
        self.spent, self.running = self.seconds(), False


class NotFinite(InputError):
    """The loss or its gradient at `step` is no finite number.

    `state` is the one before that step. It is finite, if hardly of use: the loss that
    failed was its own.
    """

    def __init__(self, step: int, state: TrainState) -> None:
        super().__init__(
            f"step {step}: expected a finite loss and gradient, found none; a lower "
            "--learning-rate or --clip-norm may help"
        )
        self.step = step
        self.state = state


def fit(
    task: Task,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    schedule: Schedule,
    timer: Timer,
    *,
    steps_per_call: int = 16,
    evaluations: int = 0,
    devices: Devices = None,
    shard_model: bool = False,
    compiled: CompiledSteps | None = None,
    on_phase: Callable[[str], None] = lambda phase: None,
) -> Iterator[tuple[TrainState, HistoryRow]]:
    """Train until the plan is over.

    Args:
        task: what to learn.
        optimizer: of `make_optimizer`.
        state: where to start: the first state, or that of a checkpoint. The same one
            in every process; all of them walk the loop together.
        schedule: when to end, and the learning rate until then.
        timer: is read, and told how long compiling and evaluating took.
        steps_per_call: K, optimizer steps per compiled call. Batches K n to K (n + 1)
            must have equal shapes; from call to call the shapes may differ.
        evaluations: validations, evenly spread. The last falls on the last line, when
            the clock has been stopped.
        devices: how many to use, or "all"; None for as many as pay.
        shard_model: spread parameters and optimizer state over them.
        compiled: those of this loss and optimizer that another run has compiled.
        on_phase: is told what it is at: compiling, training, validating.

    Yields:
        The state, valid until the generator is resumed, and a line of history.

    Raises:
        InputError: the time is over before the first step, or the batches of one call
            have several shapes.
        NotFinite: the loss or its gradient is no longer a finite number.
    """
    mesh = row_mesh(task.rows, devices)
    state = place_state(mesh, state, shard_model)
    step = int(state.step)
    now = functools.partial(_now, timer, schedule)
    x64 = jax.dtypes.canonicalize_dtype(float) == np.float64
    prepare = functools.partial(_stacked, task, mesh, steps_per_call, x64)
    pace = 0.0  # seconds per step, unknown at first
    if not schedule.steps_left(step, now(), pace):
        if step == 0 and schedule.max_seconds is not None:  # nothing was ever learned
            raise InputError(
                f"--max-seconds: expected time for a step, found "
                f"{schedule.max_seconds:g} for this model; "
                f"getting ready took {now():.1f}"
            )
        return
    compiled = compiled or CompiledSteps(task.loss, optimizer)
    # Not of each call by itself: time passes between them too, when a line is read.
    passed = math.floor(schedule.progress(step, now()) * evaluations)
    batches = prepare(step)
    on_phase("compiling")
    with ThreadPoolExecutor(1) as ahead:
        while timer.running:
            advance, compiling = compiled.for_shapes(state, batches)
            timer.compiling += compiling
            on_phase("training")
            started = now()
            # The line before was not the last one, however late its reader comes back.
            count = max(
                1, min(schedule.steps_left(step, started, pace), steps_per_call)
            )
            rates = schedule.rates(step, started, pace, count)
            padded = np.zeros(steps_per_call, np.float32)
            padded[:count] = rates
            upcoming = ahead.submit(prepare, step + count)  # while the device works
            state, report = advance(state, batches, padded, np.int32(count))
            batches = upcoming.result()
            report, taken = jax.device_get((report, state.step))
            if taken < step + count:
                raise NotFinite(int(taken) + 1, state)
            step += count
            seconds = now()
            pace = (seconds - started) / count
            if not schedule.steps_left(step, seconds, pace):
                timer.stop()
            mark = math.floor(schedule.progress(step, seconds) * evaluations)
            due = mark > passed and has_time_to_validate(timer, schedule, seconds)
            due = due or not timer.running
            passed = mark if due else passed
            if due and task.evaluate:
                on_phase("validating")
            measured = _validate(task, state.eval_model, timer) if due else ({}, {})
            yield (
                state,
                HistoryRow(
                    step=step,
                    epoch=step / task.steps_per_epoch,
                    items=step * task.items_per_step,
                    seconds=timer.seconds(),
                    learning_rate=rates[-1],
                    gradient_norm=float(report.gradient_norm),
                    items_per_second=task.items_per_step / pace,
                    train=report.sums.values(),
                    train_eval=measured[0],
                    val=measured[1],
                ),
            )


def has_time_to_validate(timer: Timer, schedule: Schedule, seconds: float) -> bool:
    """Whether a validation leaves most of a time budget to training.

    One that has to wait is made as soon as it does, the last one in any case. Where the
    number of steps is given, validations are never put off: a run is then repeatable.
    """
    if schedule.max_seconds is None:
        return True
    left = schedule.max_seconds - seconds
    share = timer.evaluating <= _MOST_VALIDATING * seconds
    return primary_decides(share and timer.shortest_evaluation < left)


def _validate(task: Task, model: Model, timer: Timer) -> tuple[Metrics, Metrics]:
    """Measure the training data and what was held out, if anything was."""
    if task.evaluate is None:
        return {}, {}
    started = time.perf_counter()
    validation = task.evaluate(model).values()
    training = task.evaluate_training(model).values() if task.evaluate_training else {}
    seconds = time.perf_counter() - started
    timer.shortest_evaluation = min(timer.shortest_evaluation or seconds, seconds)
    if timer.running:
        timer.evaluating += seconds
    else:
        timer.final += seconds
    return training, validation


def _now(timer: Timer, schedule: Schedule) -> float:
    """Read the seconds of the run; if it ends by them, all processes read the same."""
    seconds = timer.seconds()
    return seconds if schedule.max_seconds is None else broadcast_number(seconds)


def place_state(mesh: Mesh, state: TrainState, shard_model: bool) -> TrainState:
    """Put a state where it is trained; its shapes then say where that is."""
    place = shard_params if shard_model else replicate
    return TrainState(
        step=replicate(mesh, state.step),
        model=place(mesh, state.model),
        optimizer=place(mesh, state.optimizer),
        carry=shard_rows(mesh, state.carry),
        key=replicate(mesh, state.key),
    )


def _stacked(
    task: Task, mesh: Mesh, count: int, x64: bool, first: int
) -> dict[str, jax.Array]:
    """Batches first, first + 1, ... on the devices, stacked along a leading axis.

    Whether there is float64 is told by the caller: JAX keeps that by thread.
    """
    numbers = range(first, first + count)

    def stack(batches: Iterable[Batch]) -> Batch:
        several = list(batches)
        shapes = [{name: np.shape(a) for name, a in b.items()} for b in several]
        if any(each != shapes[0] for each in shapes):
            raise InputError(
                f"--steps-per-call: expected 1, as the batches have several shapes, "
                f"found {count}"
            )
        return {name: np.stack([b[name] for b in several]) for name in several[0]}

    some = task.batch_rows
    with jax.enable_x64(x64):
        if some is None:
            whole = stack(task.batch(n) for n in numbers)
            return shard_batch(mesh, whole, axis=1)
        return shard_batch_by_process(
            mesh,
            task.rows,
            lambda rows: stack(some(n, rows) for n in numbers),
            axis=1,
        )
