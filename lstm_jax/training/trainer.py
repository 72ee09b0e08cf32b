"""Training any model on any task: the one driver of the loop.

The text generator, every application, cross-validation and models trained side by side
go through `train_model`, which adds to the loop what a run needs: a folder to keep it
in, checkpoints and a resume, the best model, early stopping, going back when a loss is
no finite number, callbacks.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from lstm_jax.config import RunConfig
from lstm_jax.distributed.bounded import run_once
from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.distributed.multihost import (
    any_process,
    broadcast,
    broadcast_number,
    broadcast_path,
    is_primary,
    primary_decides,
    settle,
)
from lstm_jax.storage.sharded import load_sharded
from lstm_jax.training.callbacks import (
    INTERRUPTED,
    Callback,
    EarlyStopping,
    begin_all,
    tell_all,
)
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.loop import NotFinite, Task, Timer, fit, place_state
from lstm_jax.training.recorder import CheckpointPolicy, RunRecorder
from lstm_jax.training.recovery import BackOff
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.step import TrainState
from lstm_jax.training.tensorboard import TensorBoardWriter
from lstm_jax.typing import Model

FirstState = Callable[[], TrainState]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best model by validation loss, on the host, and how it came about.

    Without a finite validation loss it is the last one. `timer` says where the seconds
    went, `ended` why it was over: "finished", "interrupted", or what early stopping
    says.
    """

    model: Model
    step: int
    history: list[HistoryRow]
    timer: Timer
    ended: str


def train_model(
    task: Task,
    first_state: FirstState,
    schedule: Schedule,
    compiled: CompiledSteps,
    run: RunConfig | None = None,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    spent: float = 0.0,
) -> Trained:
    """Train a model until its schedule is over, or a callback ends the run.

    Args:
        task: what to learn. The loss must be that of `compiled`.
        first_state: makes the state before the first step, as `init_state` does; it is
            compiled, and on a resume only asked for its shapes.
        schedule: when to end, and the learning rate until then.
        compiled: loss and optimizer, and what was compiled of them before.
        run: how often to validate and to save, and the like. `epochs` and
            `max_seconds` are the schedule's business, `run_dir` that of the caller.
        folder: where to keep `metrics.jsonl`, checkpoints and what TensorBoard reads;
            None keeps nothing. With `run.resume` it goes on from the newest good
            checkpoint there, bit for bit; one that was stopped before its first begins
            anew. Of several processes, process 0 alone writes.
        callbacks: are told of every row of history, and may end the run.
        spent: seconds of its time that a new run has used already.

    Raises:
        InputError: there is no time for a step, the run can't be resumed, or the loss
            is no longer a finite number.
    """
    run = run or RunConfig()
    folder = folder if is_primary() else None
    timer = Timer(spent=spent)
    start = _Start(first_state, task, run)
    recorder = RunRecorder(
        folder, timer, CheckpointPolicy.of(run), in_parts=run.shard_model
    )
    callbacks = [*callbacks]
    if is_primary():  # the others have not all of a history that went back
        callbacks.append(EarlyStopping(run.patience, run.min_improvement))
    if run.tensorboard and folder:
        callbacks.append(TensorBoardWriter(folder / "tensorboard", task.items))
    try:
        state = _begin(recorder, start, run.resume)
        ended = begin_all(callbacks, recorder.history)
        over = any_process(ended is not None)  # process 0 alone has a history to go by
        attempts = _attempts(
            task, start, state, schedule, compiled, run, recorder, callbacks
        )
        for state, line in () if over else attempts:
            recorder.append(line)
            ended = tell_all(callbacks, line)
            if line.val:
                for callback in callbacks:
                    callback.on_validation(line, state.eval_model)
            answers = recorder.is_best(line), recorder.is_due(line)
            asked = ended is not None, ended == INTERRUPTED
            stop, interrupted, best, save = settle(asked, answers)
            recorder.keep(state, line, best=best, save=save)
            if interrupted:  # another process may have been asked to stop
                ended = INTERRUPTED
            if stop:
                break
        ended = ended or "finished"
        timer.stop()
        recorder.finish(state, ended)
    except Exception:
        recorder.close()  # what was being written is written
        raise
    finally:
        with contextlib.ExitStack() as ending:  # all of them, should one fail
            for callback in callbacks:
                ending.callback(callback.end)
    return Trained(
        recorder.best_model, recorder.best_step, recorder.history, timer, ended
    )


@dataclasses.dataclass(frozen=True)
class _Start:
    """Where a training starts: its first state, or one that was kept."""

    first_state: FirstState
    task: Task
    run: RunConfig

    @functools.cached_property
    def like(self) -> TrainState:
        """The shapes of any state, and where its arrays lie while training."""
        mesh = row_mesh(self.task.rows, self.run.devices)
        shapes = jax.eval_shape(self.first_state)
        return place_state(mesh, shapes, self.run.shard_model)

    def first(self) -> TrainState:
        """Make the first state; one in parts is made where they are to lie."""
        if not self.run.shard_model:
            return broadcast(run_once(self.first_state)())
        places = jax.tree.map(lambda leaf: leaf.sharding, self.like)
        return run_once(self.first_state, out_shardings=places)()

    def told(self, found: TrainState | Path | None) -> TrainState:
        """What process 0 has found, a state or a folder of its parts, everywhere."""
        folder = broadcast_path(found if isinstance(found, Path) else None)
        if folder:
            return load_sharded(folder, self.like)
        if not isinstance(found, TrainState):  # another process: of the same shapes
            found = run_once(self.first_state)()
        return broadcast(found)


def _begin(recorder: RunRecorder, start: _Start, resume: bool) -> TrainState:
    """The state to start from: the first one, or that of a checkpoint."""
    begun = resume and recorder.has_begun()
    found = recorder.resume(start.like) if begun else None
    if primary_decides(begun):
        return start.told(found)
    state = start.first()
    recorder.begin(state)
    return state


def _attempts(
    task: Task,
    start: _Start,
    state: TrainState,
    schedule: Schedule,
    compiled: CompiledSteps,
    run: RunConfig,
    recorder: RunRecorder,
    callbacks: Sequence[Callback],
) -> Iterator[tuple[TrainState, HistoryRow]]:
    """The loop; with --on-nan backoff, the loop again from the last good state."""
    back_off = BackOff(recorder)

    def on_phase(phase: str) -> None:
        for callback in callbacks:
            callback.on_phase(phase)

    while True:
        scale = broadcast_number(recorder.rate_scale)
        try:
            yield from fit(
                task,
                compiled.optimizer,
                state,
                dataclasses.replace(schedule, peak=schedule.peak * scale),
                recorder.timer,
                steps_per_call=run.steps_per_call,
                evaluations=run.evaluations,
                devices=run.devices,
                shard_model=run.shard_model,
                compiled=compiled,
                on_phase=on_phase,
            )
            return
        except NotFinite as why:
            if run.on_nan == "stop":
                raise
            state = start.told(back_off(start.like, why) if is_primary() else None)
            begin_all(callbacks, recorder.history)
