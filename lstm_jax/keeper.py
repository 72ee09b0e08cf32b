"""What is kept while a run trains: its history, its best model, its checkpoints."""

import dataclasses
import time
from typing import TYPE_CHECKING

import jax

from lstm_jax.agree import any_says, first_says, readable, tell
from lstm_jax.board import Board
from lstm_jax.fit import Clock, Line
from lstm_jax.rundir import Fields, Record, RunDirectory
from lstm_jax.step import Model, TrainState

if TYPE_CHECKING:
    from lstm_jax.checkpoint import Checkpoints

_SAVE_SECONDS = 120.0


def open_checkpoints(run: RunDirectory) -> "Checkpoints":
    """The states of a run."""
    # Orbax takes as long to import as JAX: only those who need it shall wait.
    from lstm_jax.checkpoint import Checkpoints

    return Checkpoints(run.checkpoint_path)


class Keeper:
    """Remembers the best model in memory and, given a run directory, all on disk.

    Of several processes each has a keeper and calls it at the same time; only that of
    process 0 is given the run directory.

    Args:
        run: where to keep it.
        clock: of the run.
        tensorboard: whether the run directory gets TensorBoard event files too.

    Attributes:
        lines: the history so far.
        best_model: the model of the lowest validation loss, on the host; the last one
            if nothing was validated.
        best_step: when it was reached.
    """

    def __init__(
        self, run: RunDirectory | None, clock: Clock, tensorboard: bool = False
    ) -> None:
        self.lines: list[Fields] = []
        self.best_model: Model = None
        self.best_step = 0
        self._best_loss: float | None = None
        self._run = run
        self._clock = clock
        self._checkpoints: Checkpoints | None = open_checkpoints(run) if run else None
        self._saved_at = time.perf_counter()
        self._saved_step = -1
        self._tensorboard = tensorboard
        self._board: Board | None = None

    def resume(self, like: TrainState) -> TrainState:
        """The state of the latest checkpoint; the history after it is forgotten."""
        assert self._run is not None and self._checkpoints is not None
        record = self._checkpoints.latest()
        self._clock.spent = record.seconds
        self._clock.compiling = record.compile_seconds
        self._clock.evaluating = record.evaluate_seconds
        self._saved_step = record.step
        self.best_step, self._best_loss = record.best_step, record.best_loss
        if record.best_loss is not None:
            self.best_model = self._checkpoints.load_model(record.best_step, like.model)
        self.lines = self._run.lines(record.step)
        if self.lines:
            self.lines[-1]["ended"] = None  # it goes on
        self._run.rewrite_lines(self.lines)
        return self._checkpoints.load_state(record.step, like)

    def keep(self, state: TrainState, line: Line) -> None:
        """Take note of a line of history; save when it is worth it."""
        record = dataclasses.asdict(line)
        self.lines.append(record)
        if self._run:
            self._run.append_line(record)
            self._show(self._run, record)
        loss = line.val_loss
        better = loss is not None and (
            self._best_loss is None or loss < self._best_loss
        )
        if first_says(better):
            self._best_loss, self.best_step = loss, line.step
            self.best_model = jax.device_get(readable(state.model))
        waited = time.perf_counter() - self._saved_at
        if first_says(bool(self._run) and (loss is not None or waited > _SAVE_SECONDS)):
            self._save(readable(state), line.step, loss)

    def finish(self, state: TrainState, ended: str) -> None:
        """Save what was not, say in the history why it ended, wait for the disk."""
        step = int(state.step)
        if self.lines:
            self.lines[-1]["ended"] = ended
            if self._run:
                self._run.rewrite_lines(self.lines)
        if self._board:
            self._board.close()
        if self._best_loss is None:
            self.best_step = step
        if any_says(self.best_model is None):
            last = jax.device_get(readable(state.model))
            self.best_model = last if self.best_model is None else self.best_model
        self.best_model = tell(self.best_model)
        if first_says(bool(self._run) and step != self._saved_step):
            self._save(readable(state), step, None)
        if self._checkpoints:
            self._checkpoints.close()

    def _show(self, run: RunDirectory, record: Fields) -> None:
        if self._board:
            self._board.add(record)
        elif self._tensorboard:
            self._board = Board(run.path / "tensorboard", self.lines)

    def _save(self, state: TrainState, step: int, loss: float | None) -> None:
        if not self._checkpoints:
            return  # process 0 has them
        record = Record(
            step=step,
            loss=loss,
            best_step=step if self._best_loss is None else self.best_step,
            best_loss=self._best_loss,
            seconds=self._clock.seconds(),
            compile_seconds=self._clock.compiling,
            evaluate_seconds=self._clock.evaluating,
        )
        self._checkpoints.save(state, record)
        self._saved_at, self._saved_step = time.perf_counter(), step
