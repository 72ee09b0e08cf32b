"""The history of a run: its lines, what they say, and the file they are kept in.

A line is written after every compiled call, as one JSON object in `metrics.jsonl`. All
that early stopping knows is derived from the history, which a checkpoint brings back,
so its state survives a resume exactly. Free of JAX.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields, replace_file, writing

Metrics = Mapping[str, float]
_PARTS = ("train_eval", "train", "val")  # the longer name of two first
_RENAMED = {"characters": "items", "chars_per_second": "items_per_second"}
_FORMER = {new: old for old, new in _RENAMED.items()}
_COUNTS = ("step", "items")
_NUMBERS = ("epoch", "seconds", "learning_rate", "gradient_norm", "items_per_second")


@dataclasses.dataclass(frozen=True)
class HistoryRow:
    """One line of history.

    Attributes:
        step: optimizer steps taken so far.
        epoch: passes over the training data so far.
        items: what has been read so far, in the unit that the task counts: characters,
            frames, points.
        seconds: spent in the loop so far, compilation included.
        learning_rate: of the last step.
        gradient_norm: mean over the steps since the line before.
        items_per_second: over those steps.
        train: metrics as the optimizer saw them, by name: means over those steps, with
            dropout and of a model that changed meanwhile. "loss" is always there.
        train_eval: metrics of the training data, measured as the validation is and at
            the same time; empty if that was not done here.
        val: metrics of the validation data; empty on lines without a validation.
        ended: why the run is over, on its last line.
    """

    step: int
    epoch: float
    items: int
    seconds: float
    learning_rate: float
    gradient_norm: float
    items_per_second: float
    train: Metrics
    train_eval: Metrics = dataclasses.field(default_factory=dict)
    val: Metrics = dataclasses.field(default_factory=dict)
    ended: str | None = None

    def __post_init__(self) -> None:
        """Refuse a metric that `metrics.jsonl` would give to another part."""
        for name in self.train:
            if name.startswith("eval_"):
                raise ValueError(
                    f"{name}: expected the name of a metric not to begin with eval_"
                )

    @property
    def train_loss(self) -> float:
        """The loss that the optimizer saw; NaN if that was not kept."""
        return self.train.get("loss", math.nan)

    @property
    def val_loss(self) -> float | None:
        """The validation loss, None if there was no validation."""
        return self.val.get("loss")

    @property
    def train_eval_loss(self) -> float | None:
        """The training loss measured as the validation loss is; None if it was not."""
        return self.train_eval.get("loss")

    def record(self) -> Fields:
        """Make the JSON object of the line: flat, `val_loss` and the like, null for no.

        Every metric of the training has its place in every part, so that all lines of
        a run have the same columns.
        """
        names = (*_COUNTS, *_NUMBERS)
        fields: Fields = {name: _or_null(getattr(self, name)) for name in names}
        for part in ("train", "train_eval", "val"):
            metrics: Metrics = getattr(self, part)
            names = dict.fromkeys((*self.train, *metrics))
            fields |= {f"{part}_{name}": metrics.get(name) for name in names}
        return {**fields, "ended": self.ended}


def line_of(text: bytes) -> HistoryRow | None:
    """Read a line of history; None if it is none."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or type(fields.get("step")) is not int:
        return None
    fields = {_RENAMED.get(name, name): value for name, value in fields.items()}
    ended = fields.get("ended")
    plain = {name: fields.pop(name, None) for name in (*_COUNTS, *_NUMBERS)}
    parts: dict[str, dict[str, float]] = {part: {} for part in _PARTS}
    for name, value in fields.items():
        part = next((part for part in _PARTS if name.startswith(f"{part}_")), None)
        if part and value is not None:
            parts[part][name.removeprefix(f"{part}_")] = value
    numbers = [*plain.values(), *(x for part in parts.values() for x in part.values())]
    if not all(map(_is_number, numbers)) or not isinstance(ended, str | None):
        return None
    # What a line of an older version lacks is not known.
    known = {name: math.nan if n is None else n for name, n in plain.items()}
    fields: Fields = {**known, **parts, "ended": ended}
    return HistoryRow(**fields)


def _is_number(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return value is None or isinstance(value, float)


def _or_null(value: float) -> float | None:
    """What is not a number was not measured, or by a version that did not keep it."""
    return None if math.isnan(value) else value


class Fingerprint:
    """What identifies a history: the number of its lines and their SHA-256.

    Why a run ended is left out: a run that is resumed goes on. So is what was not
    measured: a line that is older than a field lacks it.
    """

    def __init__(self, lines: Iterable[HistoryRow] = ()) -> None:
        self._count = 0
        self._digest = hashlib.sha256()
        for line in lines:
            self.add(line)

    def add(self, line: HistoryRow) -> None:
        """Take note of one more line."""
        self._count += 1
        measured = {
            # By the names of the first runs, so that those can still be resumed.
            _FORMER.get(name, name): value
            for name, value in line.record().items()
            if value is not None and name != "ended"
        }
        self._digest.update(json.dumps(measured, sort_keys=True).encode())

    def __str__(self) -> str:
        return f"{self._count} lines {self._digest.hexdigest()}"


def validations(lines: Sequence[HistoryRow]) -> list[HistoryRow]:
    """The lines on which the validation loss was measured."""
    return [line for line in lines if line.val_loss is not None]


def best_validation(lines: Sequence[HistoryRow]) -> HistoryRow | None:
    """The line of the lowest validation loss, the first if there are several.

    A loss that is no finite number is never the lowest.
    """
    losses = [(line.val["loss"], line) for line in validations(lines)]
    finite = [pair for pair in losses if math.isfinite(pair[0])]
    return min(finite, key=lambda pair: pair[0], default=(None, None))[1]


def waited(lines: Sequence[HistoryRow], min_improvement: float = 0.0) -> int:
    """How many validations ago the loss last fell by more than `min_improvement`.

    It is held against the loss at the last such fall, so that a slow but steady
    improvement counts as one as soon as it has added up. What is no finite number is no
    improvement.
    """
    lowest, count = float("inf"), 0
    for line in validations(lines):
        loss = line.val["loss"]
        if math.isfinite(loss) and loss < lowest - min_improvement:
            lowest, count = loss, 0
        else:
            count += 1
    return count


def out_of_patience(
    lines: Sequence[HistoryRow], patience: int | None, min_improvement: float = 0.0
) -> str | None:
    """Why the run should end now, or None if it should not."""
    if patience is None or waited(lines, min_improvement) < patience:
        return None
    return f"no improvement in {patience} validation{'s' * (patience > 1)}"


def overfitting_began(lines: Sequence[HistoryRow]) -> HistoryRow | None:
    """The first validation after the best from which on the run only learned by heart.

    From there to the end the validation loss never came back to its best, while the
    loss on the training text, measured in the same way, stayed below what it was then.
    None if there is no such place, or if a single last validation is all there is to
    say so: one loss may be higher by chance.
    """
    best = best_validation(lines)
    if best is None or best.train_eval_loss is None:
        return None
    after = [line for line in validations(lines) if line.step > best.step]
    began, least = len(after), best.train_eval_loss
    while began and after[began - 1].train_eval.get("loss", math.inf) < least:
        began -= 1
    return after[began] if len(after) - began >= 2 else None


@dataclasses.dataclass(frozen=True)
class HistoryFile:
    """The lines of a run on the disk, `metrics.jsonl`: a JSON object each."""

    path: Path

    def append(self, line: HistoryRow) -> None:
        """Add a line."""
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line.record()) + "\n")

    def sync(self) -> None:
        """Have all of it on the disk itself before a checkpoint counts on it."""
        if self.path.exists():
            with writing(self.path), open(self.path, "rb") as file:
                os.fsync(file.fileno())

    def read(self, last_step: int | None = None) -> list[HistoryRow]:
        """Read the lines up to and with `last_step`.

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
            if last_step is None or line.step <= last_step:
                lines.append(line)
        return lines

    def rewrite(self, lines: Sequence[HistoryRow]) -> None:
        """Replace all of them, or none."""
        text = "".join(json.dumps(line.record()) + "\n" for line in lines)
        replace_file(self.path, text.encode())
