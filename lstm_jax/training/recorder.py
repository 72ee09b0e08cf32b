"""What is kept while a run trains: its history, its best model, its checkpoints."""

import dataclasses
import math
import time
from pathlib import Path

import jax

from lstm_jax.distributed.multihost import any_says, first_says, leads, readable, tell
from lstm_jax.errors import InputError, note
from lstm_jax.storage.checkpoints import Checkpoints, Damaged, Record
from lstm_jax.storage.files import Fields
from lstm_jax.training.history import Fingerprint, HistoryFile, Line, validations
from lstm_jax.training.loop import Clock, NotFinite
from lstm_jax.training.states import resume_state, trees_of
from lstm_jax.training.step import TrainState
from lstm_jax.training.tensorboard import Board
from lstm_jax.typing import Model

_LEAST_SCALE = 2.0**-10  # of the learning rate, after which backing off is given up


@dataclasses.dataclass(frozen=True)
class CheckpointPolicy:
    """When a checkpoint is due that no validation asks for.

    Attributes:
        seconds: once so many have passed since the last one, if that one is written.
        steps: after so many steps instead, whatever time they take.
    """

    seconds: float = 120.0
    steps: int | None = None

    def is_due(self, step: int, saved: int, waited: float, busy: bool) -> bool:
        """Tell whether one is due at a step, so long after the last, `saved`."""
        if self.steps is not None:
            return step // self.steps > saved // self.steps
        # A slow disk delays the next checkpoint, and not the loop.
        return waited > self.seconds and not busy


def open_checkpoints(folder: Path) -> Checkpoints:
    """Open the states that a keeper has left in the folder of a run."""
    return Checkpoints(folder / "checkpoints")


class Keeper:
    """Remembers the best model in memory and, given a folder, all on disk.

    Of several processes each has a keeper and calls it at the same time; only that of
    process 0 is given the folder.

    Args:
        folder: where to keep it: `metrics.jsonl`, `checkpoints`, `tensorboard`.
        clock: of the run; it is told how long saving held up the loop.
        policy: when to save between validations.
        tensorboard: write TensorBoard event files too.

    Attributes:
        lines: the history so far.
        best_model: the model of the lowest validation loss, on the host; the last one
            if nothing was validated, or no loss was a finite number.
        best_step: when it was reached.
        rate_scale: what backing off has left of the learning rate.
    """

    def __init__(
        self,
        folder: Path | None,
        clock: Clock,
        policy: CheckpointPolicy | None = None,
        *,
        tensorboard: bool = False,
    ) -> None:
        self.lines: list[Fields] = []
        self.best_model: Model = None
        self.best_step = 0
        self.rate_scale = 1.0
        self._best_loss: float | None = None
        self._folder = folder
        self._history = HistoryFile(folder / "metrics.jsonl") if folder else None
        self._clock = clock
        self._policy = policy or CheckpointPolicy()
        self._tensorboard = tensorboard
        self._checkpoints = open_checkpoints(folder) if folder else None
        self._saved_at = time.perf_counter()
        self._saved_step = -1
        self._backed_to: int | None = None
        self._fingerprint = Fingerprint()
        self._board: Board | None = None

    def begin(self, first: TrainState) -> None:
        """Save the first state: from the first line on there is something to resume."""
        if self._checkpoints:
            self._save(first, 0, None)

    def has_begun(self) -> bool:
        """Whether there is something to resume, be it damaged."""
        assert self._history is not None and self._checkpoints is not None
        return bool(self._checkpoints.steps() or self._history.read())

    def resume(self, like: TrainState, before: int | None = None) -> TrainState:
        """The state of the latest good checkpoint; the history after it is forgotten.

        Args:
            like: its shapes.
            before: only checkpoints of earlier steps.

        Raises:
            InputError: there is none, or the history up to it is damaged. Nothing has
                been changed then.
        """
        assert self._history is not None and self._checkpoints is not None
        record, state = resume_state(self._checkpoints, like, before)
        self.lines = self._lines_up_to(self._history, record)
        self._clock.spent = record.seconds
        self._clock.compiling = record.compile_seconds
        self._clock.evaluating = record.evaluate_seconds
        self._clock.saving = record.save_seconds
        self._saved_step = record.step
        self.rate_scale = record.rate_scale
        self.best_step, self._best_loss = record.best_step, record.best_loss
        if record.best_loss is not None:
            self.best_model = self._best_or_none(record.best_step, like.model)
        if self.lines:
            self.lines[-1]["ended"] = None  # it goes on
        self._fingerprint = Fingerprint(self.lines)
        self._checkpoints.forget_after(record.step)
        self._history.rewrite(self.lines)
        return state

    def back_off(self, like: TrainState, why: NotFinite) -> TrainState:
        """The last good state, from which to go on at half the learning rate.

        One from which the run has come to grief before, without another having been
        saved since, was not good: the one before it is taken then.

        Raises:
            NotFinite: there is none left, or it was tried too often.
        """
        if not self._checkpoints:
            raise why
        self._checkpoints.wait()
        scale = self.rate_scale / 2
        newest, *older = self._checkpoints.steps()
        again = newest == self._backed_to
        if scale < _LEAST_SCALE or (again and not older):
            raise why
        clock = dataclasses.replace(self._clock)
        state = self.resume(like, before=newest if again else None)
        self._clock.go_on_from(clock)  # the time is spent, if in vain
        self.rate_scale, self._backed_to = scale, self._saved_step
        note(
            f"step {why.step}: the loss or its gradient is no finite number; going on "
            f"from step {self._saved_step} at {scale:g} of the learning rate"
        )
        return state

    def keep(self, state: TrainState, line: Line) -> None:
        """Take note of a line of history; save when it is worth it."""
        record = dataclasses.asdict(line)
        if self._checkpoints and not self.lines:
            self._checkpoints.wait()  # for the first state: no line without a state
        self.lines.append(record)
        self._fingerprint.add(record)
        if self._folder and self._history:
            self._history.append(record)
            self._show(self._folder, record)
        loss = line.val_loss
        lowest = math.inf if self._best_loss is None else self._best_loss
        better = loss is not None and math.isfinite(loss) and loss < lowest
        if first_says(better):
            self._best_loss, self.best_step = loss, line.step
            self.best_model = jax.device_get(readable(state.result))
        due = bool(self._checkpoints) and (loss is not None or self._is_due(line.step))
        if first_says(due):
            self._save(readable(state), line.step, loss)

    def finish(self, state: TrainState, ended: str) -> None:
        """Save what was not, say in the history why it ended, wait for the disk."""
        step = int(state.step)
        if self.lines:
            self.lines[-1]["ended"] = ended
            if self._history:
                self._history.rewrite(self.lines)
        if self._board:
            self._board.close()
        if self._best_loss is None:
            self.best_step = step
            if leads() and validations(self.lines):
                note("no validation loss is a finite number; the last model is kept")
        if any_says(self.best_model is None):
            last = jax.device_get(readable(state.result))
            self.best_model = last if self.best_model is None else self.best_model
        self.best_model = tell(self.best_model)
        if first_says(bool(self._folder) and step != self._saved_step):
            self._save(readable(state), step, None)
        self.close()

    def close(self) -> None:
        """Wait for the disk, and let go; at the end, or of a run that failed."""
        if self._checkpoints:
            self._checkpoints.close()

    def _is_due(self, step: int) -> bool:
        """Whether a checkpoint is due for its interval alone."""
        assert self._checkpoints is not None
        waited = time.perf_counter() - self._saved_at
        busy = self._checkpoints.busy()
        return self._policy.is_due(step, self._saved_step, waited, busy)

    def _lines_up_to(self, history: HistoryFile, record: Record) -> list[Fields]:
        """The lines that lead to a checkpoint."""
        lines = history.read(record.step)
        missing = not history.path.exists()
        if missing and record.step and record.history:
            note(f"{history.path.parent} has no history; it begins anew")
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
            note(f"{error}; the best model so far is lost")
            self._best_loss, self.best_step = None, self._saved_step
            return None

    def _show(self, folder: Path, record: Fields) -> None:
        if self._board:
            self._board.add(record)
        elif self._tensorboard:
            self._board = Board(folder / "tensorboard", self.lines)

    def _save(self, state: TrainState, step: int, loss: float | None) -> None:
        if not self._history or not self._checkpoints:
            return  # process 0 has them
        started = time.perf_counter()
        self._history.sync()
        record = Record(
            step=step,
            loss=loss,
            best_step=step if self._best_loss is None else self.best_step,
            best_loss=self._best_loss,
            seconds=self._clock.seconds(),
            compile_seconds=self._clock.compiling,
            evaluate_seconds=self._clock.evaluating,
            save_seconds=self._clock.saving,
            rate_scale=self.rate_scale,
            history=str(self._fingerprint),
        )
        self._checkpoints.save(trees_of(state), record)
        self._saved_at, self._saved_step = time.perf_counter(), step
        self._clock.saving += self._saved_at - started
