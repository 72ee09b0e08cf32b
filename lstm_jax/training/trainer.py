"""Training any model on any task: the one driver of the loop.

The text generator, every application, cross-validation and models trained side by side
go through `train_model`, which adds to the loop what a run needs: a folder to keep it
in, checkpoints and a resume, the best model, early stopping, going back when a loss is
no finite number, callbacks.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax

from lstm_jax.config import RunConfig
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.distributed.multihost import first_number, leads, settle, tell
from lstm_jax.training.callbacks import (
    INTERRUPTED,
    Callback,
    EarlyStopping,
    begin_all,
    tell_all,
)
from lstm_jax.training.compiled import Programs
from lstm_jax.training.history import Line
from lstm_jax.training.loop import Clock, NotFinite, Task, fit
from lstm_jax.training.recorder import CheckpointPolicy, RunRecorder
from lstm_jax.training.recovery import BackOff
from lstm_jax.training.schedule import Plan
from lstm_jax.training.step import TrainState
from lstm_jax.training.tensorboard import Board
from lstm_jax.typing import Model

FirstState = Callable[[], TrainState]


@dataclasses.dataclass(frozen=True)
class Trained:
    """The best model by validation loss, on the host, and how it came about.

    Without a finite validation loss it is the last one. `lines` is the history, `clock`
    says where the seconds went, `ended` why it was over: "finished", "interrupted", or
    what early stopping says.
    """

    model: Model
    step: int
    lines: list[Line]
    clock: Clock
    ended: str


def train_model(
    task: Task,
    first_state: FirstState,
    plan: Plan,
    programs: Programs,
    run: RunConfig | None = None,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train a model until its plan is over, or a callback ends the run.

    Args:
        task: what to learn. The loss must be that of the programs.
        first_state: makes the state before the first step, as `init_state` does; it is
            compiled, and on a resume only asked for its shapes.
        plan: when to end, and the learning rate until then.
        programs: loss and optimizer, and what was compiled of them before.
        run: how often to validate and to save, and the like. `epochs` and
            `max_seconds` are the plan's business, `run_dir` that of the caller.
        folder: where to keep `metrics.jsonl`, checkpoints and what TensorBoard reads;
            None keeps nothing. With `run.resume` it goes on from the newest good
            checkpoint there, bit for bit; one that was stopped before its first begins
            anew. Of several processes, process 0 alone writes.
        callbacks: are told of every row of history, and may end the run.

    Raises:
        InputError: there is no time for a step, the run can't be resumed, or the loss
            is no longer a finite number.
    """
    run = run or RunConfig()
    folder = folder if leads() else None
    clock = Clock()
    recorder = RunRecorder(folder, clock, CheckpointPolicy.of(run))
    callbacks = [*callbacks, EarlyStopping(run.patience, run.min_improvement)]
    if run.tensorboard and folder:
        callbacks.append(Board(folder / "tensorboard", task.items))
    try:
        state = _begin(recorder, first_state, run.resume)
        ended = begin_all(callbacks, recorder.lines)
        attempts = _attempts(
            task, first_state, state, plan, programs, run, recorder, callbacks
        )
        for state, line in () if ended else attempts:
            recorder.append(line)
            ended = tell_all(callbacks, line)
            answers = recorder.is_best(line), recorder.is_due(line)
            asked = ended is not None, ended == INTERRUPTED
            stop, interrupted, best, save = settle(asked, answers)
            recorder.keep(state, line, best=best, save=save)
            if interrupted:  # another process may have been asked to stop
                ended = INTERRUPTED
            if stop:
                break
        ended = ended or "finished"
        clock.stop()
        recorder.finish(state, ended)
    except Exception:
        recorder.close()  # what was being written is written
        raise
    finally:
        for callback in callbacks:
            callback.end()
    return Trained(
        recorder.best_model, recorder.best_step, recorder.lines, clock, ended
    )


def _begin(recorder: RunRecorder, first_state: FirstState, resume: bool) -> TrainState:
    """The state to start from: the first one, or that of a checkpoint."""
    if resume and recorder.has_begun():
        state = recorder.resume(jax.eval_shape(first_state))
    else:
        state = bounded_jit(first_state)()
        recorder.begin(state)
    return tell(state)


def _attempts(
    task: Task,
    first_state: FirstState,
    state: TrainState,
    plan: Plan,
    programs: Programs,
    run: RunConfig,
    recorder: RunRecorder,
    callbacks: Sequence[Callback],
) -> Iterator[tuple[TrainState, Line]]:
    """The loop; with --on-nan backoff, the loop again from the last good state."""
    back_off = BackOff(recorder)
    while True:
        scale = first_number(recorder.rate_scale)
        try:
            yield from fit(
                task,
                programs.optimizer,
                state,
                dataclasses.replace(plan, peak=plan.peak * scale),
                recorder.clock,
                steps_per_call=run.steps_per_call,
                evaluations=run.evaluations,
                devices=run.devices,
                shard_model=run.shard_model,
                programs=programs,
            )
            return
        except NotFinite as why:
            if run.on_nan == "stop":
                raise
            if leads():
                state = back_off(jax.eval_shape(first_state), why)
            else:
                state = bounded_jit(first_state)()
            state = tell(state)
            begin_all(callbacks, recorder.lines)
