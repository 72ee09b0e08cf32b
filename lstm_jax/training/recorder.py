"""What is kept while a model trains: its history, its best state, its checkpoints."""

import dataclasses
import functools
import math
import time
from pathlib import Path

import jax

from lstm_jax.config import RunConfig
from lstm_jax.distributed.multihost import (
    any_process,
    broadcast,
    broadcast_path,
    gather_replicated,
    is_primary,
    primary_decides,
)
from lstm_jax.errors import InputError, warn
from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints, Damaged
from lstm_jax.storage.sharded import require_orbax, save_sharded
from lstm_jax.training.history import Fingerprint, HistoryFile, HistoryRow, validations
from lstm_jax.training.loop import Timer
from lstm_jax.training.states import read_state, trees_of
from lstm_jax.training.step import TrainState
from lstm_jax.typing import Model


@dataclasses.dataclass(frozen=True)
class CheckpointPolicy:
    """When a checkpoint is due that no validation asks for.

    Attributes:
        seconds: once so many have passed since the last one, if that one is written.
        steps: after so many steps instead, whatever time they take.
    """

    seconds: float = 120.0
    steps: int | None = None

    @classmethod
    def of(cls, run: RunConfig) -> "CheckpointPolicy":
        """Take the policy that a run's settings ask for."""
        return cls(run.checkpoint_seconds, run.checkpoint_steps)

    def is_due(self, step: int, saved: int, waited: float, busy: bool) -> bool:
        """Tell whether one is due at a step, so long after the last, `saved`."""
        if self.steps is not None:
            return step // self.steps > saved // self.steps
        # A slow disk delays the next checkpoint, and not the loop.
        return waited > self.seconds and not busy


def open_checkpoints(folder: Path) -> Checkpoints:
    """Open the states that a recorder has left in the folder of a run."""
    return Checkpoints(folder / "checkpoints")


class RunRecorder:
    """Remembers the best model in memory and, given a folder, all on disk.

    Of several processes each has a recorder and calls it at the same time; only that of
    process 0 is given the folder.

    Args:
        folder: where to keep it: `metrics.jsonl` and `checkpoints`.
        timer: of the run; it is told how long saving held up the loop.
        policy: when to save between validations.
        in_parts: whether each process writes its parts of the state itself, which then
            is in no place as a whole. The model is, as it is on every device while
            training.

    Attributes:
        history: its rows so far.
        best_model: the model of the lowest validation loss, on the host; the last one
            if nothing was validated, or no loss was a finite number.
        best_step: when it was reached.
        rate_scale: what backing off has left of the learning rate.
        saved_step: that of the newest checkpoint, -1 if there is none.
    """

    def __init__(
        self,
        folder: Path | None,
        timer: Timer,
        policy: CheckpointPolicy | None = None,
        *,
        in_parts: bool = False,
    ) -> None:
        self.history: list[HistoryRow] = []
        self.best_model: Model = None
        self.best_step = 0
        self.rate_scale = 1.0
        self.saved_step = -1
        self.timer = timer
        self._best_loss: float | None = None
        self._history = HistoryFile(folder / "metrics.jsonl") if folder else None
        self._policy = policy or CheckpointPolicy()
        self._checkpoints = open_checkpoints(folder) if folder else None
        self._saved_at = time.perf_counter()
        self._fingerprint = Fingerprint()
        self._in_parts = in_parts and primary_decides(folder is not None)
        if self._in_parts:
            require_orbax()

    def begin(self, first: TrainState) -> None:
        """Save the first state: from the first line on there is something to resume."""
        self._save(first, 0, None)

    def has_begun(self) -> bool:
        """Tell whether there is something to resume, be it damaged."""
        if self._history is None or self._checkpoints is None:
            return False
        return bool(self._checkpoints.steps() or self._history.read())

    def saved_steps(self) -> list[int]:
        """List the steps of the checkpoints that are written, the newest first."""
        if self._checkpoints is None:
            return []
        self._checkpoints.wait()
        return self._checkpoints.steps()

    def resume(self, like: TrainState, before: int | None = None) -> TrainState | Path:
        """Read the latest good checkpoint; the history after it is forgotten.

        Args:
            like: the shapes of the state.
            before: only checkpoints of earlier steps.

        Returns:
            The state, or the folder of its parts, see `read_state`.

        Raises:
            InputError: there is none, or the history up to it is damaged. Nothing has
                been changed then.
        """
        assert self._history is not None and self._checkpoints is not None
        read = functools.partial(read_state, self._checkpoints, like=like)
        record, state = self._checkpoints.newest(read, before)
        self.history = self._lines_up_to(self._history, record)
        self.timer.spent = record.seconds
        self.timer.compiling = record.compile_seconds
        self.timer.evaluating = record.evaluate_seconds
        self.timer.saving = record.save_seconds
        self.saved_step = record.step
        self.rate_scale = record.rate_scale
        self.best_step, self._best_loss = record.best_step, record.best_loss
        if record.best_loss is not None:
            self.best_model = self._best_or_none(record.best_step, like.model)
        if self.history:  # it goes on
            self.history[-1] = dataclasses.replace(self.history[-1], ended=None)
        self._fingerprint = Fingerprint(self.history)
        self._checkpoints.forget_after(record.step)
        self._history.rewrite(self.history)
        return state

    def append(self, line: HistoryRow) -> None:
        """Add a line to the history, in memory and on disk."""
        if self._checkpoints and not self.history:
            self._checkpoints.wait()  # for the first state: no line without a state
        self.history.append(line)
        self._fingerprint.add(line)
        if self._history:
            self._history.append(line)

    def is_best(self, line: HistoryRow) -> bool:
        """Tell whether a line's validation loss is the lowest so far."""
        lowest = math.inf if self._best_loss is None else self._best_loss
        loss = line.val_loss
        return loss is not None and math.isfinite(loss) and loss < lowest

    def is_due(self, line: HistoryRow) -> bool:
        """Tell whether a checkpoint is due after a line."""
        if self._checkpoints is None:
            return False
        if line.val_loss is not None:
            return True
        waited = time.perf_counter() - self._saved_at
        busy = self._checkpoints.busy()
        return self._policy.is_due(line.step, self.saved_step, waited, busy)

    def keep(
        self, state: TrainState, line: HistoryRow, *, best: bool, save: bool
    ) -> None:
        """Keep the state after a line as the best one, or on disk; all processes do."""
        if best:
            self._best_loss, self.best_step = line.val_loss, line.step
            self.best_model = jax.device_get(gather_replicated(state.eval_model))
        if save:
            self._save(state, line.step, line.val_loss)

    def finish(self, state: TrainState, ended: str) -> None:
        """Save what was not, say in the history why it ended, wait for the disk."""
        step = int(state.step)
        if self.history:
            self.history[-1] = dataclasses.replace(self.history[-1], ended=ended)
            if self._history:
                self._history.rewrite(self.history)
        if self._best_loss is None:
            self.best_step = step
            if is_primary() and validations(self.history):
                warn("no validation loss is a finite number; the last model is kept")
        if any_process(self.best_model is None):
            last = jax.device_get(gather_replicated(state.eval_model))
            self.best_model = last if self.best_model is None else self.best_model
        self.best_model = broadcast(self.best_model)
        if primary_decides(bool(self._checkpoints) and step != self.saved_step):
            self._save(state, step, None)
        self.close()

    def close(self) -> None:
        """Wait for the disk, and let go; at the end, or of a run that failed."""
        if self._checkpoints:
            self._checkpoints.close()

    def _lines_up_to(
        self, history: HistoryFile, record: CheckpointInfo
    ) -> list[HistoryRow]:
        """The lines that lead to a checkpoint."""
        lines = history.read(record.step)
        if not lines and record.step and record.history:  # or the file of such a run
            warn(f"{history.path.parent} has no history; it begins anew")
        elif record.history and record.history != str(Fingerprint(lines)):
            count = record.history.split()[0]
            raise InputError(
                f"{history.path}: expected the {count} lines up to step "
                f"{record.step} as they were written, found {len(lines)} lines, or "
                "damaged ones; without the file --resume goes on without a history"
            )
        return lines

    def _best_or_none(self, step: int, like: Model) -> Model:
        """The best model; if it can't be read, the best is yet to come."""
        assert self._checkpoints is not None
        try:
            return self._checkpoints.load_model(step, like)
        except Damaged as error:
            warn(f"{error}; the best model so far is lost")
            self._best_loss, self.best_step = None, self.saved_step
            return None

    def _save(self, state: TrainState, step: int, loss: float | None) -> None:
        started = time.perf_counter()
        if self._in_parts:
            self._write_parts(state, step)
            trees = {"model": gather_replicated(state.eval_model)}
        else:
            trees = trees_of(gather_replicated(state))
        if not self._history or not self._checkpoints:
            return  # process 0 has them
        self._history.sync()
        record = CheckpointInfo(
            step=step,
            loss=loss,
            best_step=step if self._best_loss is None else self.best_step,
            best_loss=self._best_loss,
            seconds=self.timer.seconds(),
            compile_seconds=self.timer.compiling,
            evaluate_seconds=self.timer.evaluating,
            save_seconds=self.timer.saving,
            rate_scale=self.rate_scale,
            history=str(self._fingerprint),
        )
        self._checkpoints.save(trees, record)
        self._saved_at, self.saved_step = time.perf_counter(), step
        self.timer.saving += self._saved_at - started

    def _write_parts(self, state: TrainState, step: int) -> None:
        """Write the whole state, every process its parts."""
        mine = self._checkpoints.begin(step) if self._checkpoints else None
        folder = broadcast_path(mine)  # nobody passes before it is there
        assert folder, "process 0 has one"
        save_sharded(folder, state)
