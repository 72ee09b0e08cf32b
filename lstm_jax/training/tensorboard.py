"""TensorBoard: the history as event files, by tensorboardX, without TensorFlow."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields

# Curves of one group share a picture: the tag before the slash.
TAGS = {
    "train_loss": "loss/train_with_dropout",
    "train_eval_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train_with_dropout",
    "train_eval_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "epoch": "progress/epoch",
    "chars_per_second": "progress/characters_per_second",
}


class Board:
    """Writes lines of history as TensorBoard events into a folder of its own.

    The events that the folder held before are replaced by `lines`, so that they are
    those of the history also after a resume, which may have forgotten some.

    Raises:
        InputError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path, lines: Sequence[Fields] = ()) -> None:
        package = require_tensorboard()
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        self._writer = package.SummaryWriter(str(folder))
        for line in lines:
            self.add(line)

    def add(self, line: Fields) -> None:
        """Write a line: every number that was measured, by step."""
        for name, tag in TAGS.items():
            if line[name] is not None:
                self._writer.add_scalar(tag, line[name], line["step"])

    def close(self) -> None:
        """Write what is still waiting."""
        self._writer.close()


def require_tensorboard() -> ModuleType:
    """The package that writes event files.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("tensorboardX")
    except ImportError:
        raise InputError(
            "--tensorboard: expected the package tensorboardX, found none; "
            "pip install 'lstm-jax[tensorboard]'"
        ) from None
