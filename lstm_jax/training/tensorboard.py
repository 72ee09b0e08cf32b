"""TensorBoard: the history as event files, by tensorboardX, without TensorFlow."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lstm_jax.errors import InputError
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow

# Curves of one group share a picture: the tag before the slash.
_PARTS = {"train": "train_with_dropout", "train_eval": "train", "val": "validation"}


class TensorBoardWriter(Callback):
    """Writes the history as TensorBoard events into a folder of its own.

    The events that the folder held before are replaced by those of the history, also
    after a resume or a step back, which forget some lines.

    Args:
        folder: where to.
        items: what the task counts.

    Raises:
        InputError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, items: str = "items") -> None:
        self._package = require_tensorboard()
        self._folder, self._items = folder, items
        self._waiting: list[HistoryRow] = []
        self._writer: Any = None

    def begin(self, history: Sequence[HistoryRow]) -> None:
        """Begin anew; the history is written with the next line, if there is one."""
        self.end()
        self._waiting = list(history)

    def on_row(self, row: HistoryRow) -> None:
        """Write a line: every number that was measured, by step."""
        if self._writer is None:
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink(missing_ok=True)
            self._writer = self._package.SummaryWriter(str(self._folder))
        for line in (*self._waiting, row):
            for tag, value in scalars(line, self._items):
                self._writer.add_scalar(tag, value, line.step)
        self._waiting = []

    def end(self) -> None:
        """Write what is still waiting."""
        if self._writer:
            self._writer.close()
        self._writer = None


def scalars(line: HistoryRow, items: str) -> Iterator[tuple[str, float]]:
    """Yield the tag and the value of every number of a line."""
    for part, curve in _PARTS.items():
        for name, value in getattr(line, part).items():
            yield f"{name}/{curve}", value
    yield "optimizer/learning_rate", line.learning_rate
    yield "optimizer/gradient_norm", line.gradient_norm
    yield "progress/epoch", line.epoch
    yield f"progress/{items}_per_second", line.items_per_second


def require_tensorboard() -> ModuleType:
    """Import the package that writes event files.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("tensorboardX")
    except ImportError:
        raise InputError(
            "--tensorboard: expected the package tensorboardX, found none; "
            "pip install tensorboardX"
        ) from None
