"""What the lines of a run's history say: pure functions of them.

A line is the JSON object that `lstm_jax.training.history.Line` becomes in
`metrics.jsonl`. All that early stopping knows is derived from the history, which a
checkpoint brings back, so its state survives a resume exactly.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields, replace_file, writing

# Of a line of history, see `history.Line`.
_NUMBERS = ("step", "epoch", "characters", "seconds", "chars_per_second")
_NUMBERS += ("train_loss", "train_accuracy", "train_eval_loss", "train_eval_accuracy")
_NUMBERS += ("val_loss", "val_accuracy", "learning_rate", "gradient_norm")


def line_of(text: bytes) -> Fields | None:
    """A line of history, or None if it is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    line = dict.fromkeys((*_NUMBERS, "ended")) | line
    if not all(_is_number(line[name]) for name in _NUMBERS):
        return None
    return line if isinstance(line["ended"], str | None) else None


def _is_number(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return value is None or isinstance(value, float)


class Fingerprint:
    """What identifies a history: the number of its lines and their SHA-256.

    Why a run ended is left out: a run that is resumed goes on. So is what was not
    measured: a line that is older than a field lacks it.
    """

    def __init__(self, lines: Iterable[Fields] = ()) -> None:
        self._count = 0
        self._digest = hashlib.sha256()
        for line in lines:
            self.add(line)

    def add(self, line: Fields) -> None:
        """Take note of one more line."""
        self._count += 1
        measured = {
            name: value
            for name, value in line.items()
            if value is not None and name != "ended"
        }
        self._digest.update(json.dumps(measured, sort_keys=True).encode())

    def __str__(self) -> str:
        return f"{self._count} lines {self._digest.hexdigest()}"


def validations(lines: Sequence[Fields]) -> list[Fields]:
    """The lines on which the validation loss was measured."""
    return [line for line in lines if line["val_loss"] is not None]


def best_validation(lines: Sequence[Fields]) -> Fields | None:
    """The line of the lowest validation loss, the first if there are several.

    A loss that is no finite number is never the lowest.
    """
    finite = [line for line in validations(lines) if math.isfinite(line["val_loss"])]
    return min(finite, key=lambda line: line["val_loss"], default=None)


def waited(lines: Sequence[Fields], min_improvement: float = 0.0) -> int:
    """How many validations ago the loss last fell by more than `min_improvement`.

    It is held against the loss at the last such fall, so that a slow but steady
    improvement counts as one as soon as it has added up. What is no finite number is no
    improvement.
    """
    lowest, count = float("inf"), 0
    for line in validations(lines):
        loss = line["val_loss"]
        if math.isfinite(loss) and loss < lowest - min_improvement:
            lowest, count = loss, 0
        else:
            count += 1
    return count


def out_of_patience(
    lines: Sequence[Fields], patience: int | None, min_improvement: float = 0.0
) -> str | None:
    """Why the run should end now, or None if it should not."""
    if patience is None or waited(lines, min_improvement) < patience:
        return None
    return f"no improvement in {patience} validation{'s' * (patience > 1)}"


def overfitting_began(lines: Sequence[Fields]) -> Fields | None:
    """The first validation after the best from which on the run only learned by heart.

    From there to the end the validation loss never came back to its best, while the
    loss on the training text, measured in the same way, stayed below what it was then.
    None if there is no such place, or if a single last validation is all there is to
    say so: one loss may be higher by chance.
    """
    best = best_validation(lines)
    if best is None or best["train_eval_loss"] is None:
        return None
    after = [line for line in validations(lines) if line["step"] > best["step"]]
    began = len(after)
    while began and after[began - 1]["train_eval_loss"] < best["train_eval_loss"]:
        began -= 1
    return after[began] if len(after) - began >= 2 else None


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of history. Losses are in nats, means since the line before.

    `seconds` is the time spent in the loop so far, compilation included. `train_loss`
    is what the optimizer saw, with dropout and with a model that changed meanwhile;
    `train_eval_loss` is measured as the validation loss is, at the same time. Those two
    and the accuracies beside them are None on lines without a validation. `ended` is
    written on the last line of a run: why it was the last.
    """

    step: int
    epoch: float
    characters: int
    seconds: float
    train_loss: float
    train_accuracy: float | None
    train_eval_loss: float | None
    train_eval_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    gradient_norm: float
    chars_per_second: float
    ended: str | None = None


@dataclasses.dataclass(frozen=True)
class HistoryFile:
    """The lines of a run on the disk, `metrics.jsonl`: a JSON object each."""

    path: Path

    def append(self, line: Fields) -> None:
        """Add a line."""
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def sync(self) -> None:
        """Have all of it on the disk itself before a checkpoint counts on it."""
        if self.path.exists():
            with writing(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def read(self, last_step: int | None = None) -> list[Fields]:
        """Read the lines up to and with `last_step`; what one lacks is None in it.

        Raises:
            InputError: a line is damaged. One cut short at the very end is no damage:
                the run was stopped while writing it.
        """
        texts = self.path.read_bytes().splitlines() if self.path.exists() else []
        lines = []
        for number, text in enumerate(texts, 1):
            line = line_of(text)
            if line is None:
                if number == len(texts):
                    break
                raise InputError(
                    f"{self.path}: expected a JSON object with a step on line "
                    f"{number}, found {text[:60]!r}"
                )
            if last_step is None or line["step"] <= last_step:
                lines.append(line)
        return lines

    def rewrite(self, lines: Sequence[Fields]) -> None:
        """Replace all of them, or none."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        replace_file(self.path, text.encode())
