"""Event files, read back by the protocol's own messages."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_jax import train
from lstm_jax.errors import InputError
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.tensorboard import TensorBoardWriter

Point = tuple[str, int, float]


def line(step: int, loss: float | None = None) -> HistoryRow:
    """A line of history; every number differs."""
    x = step + 1 / 16
    measured = loss is not None
    return HistoryRow(
        *(step, x + 1, 8 * step, x + 2, x + 3, x + 4, x + 5),
        train={"loss": x + 6, "accuracy": x + 7},
        train_eval={"loss": x + 8, "accuracy": x + 9} if measured else {},
        val={"loss": loss, "accuracy": x + 10, "auroc": x + 11} if measured else {},
    )


TAGS = {
    "train_loss": "loss/train_with_dropout",
    "train_eval_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train_with_dropout",
    "train_eval_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "val_auroc": "auroc/validation",
    "learning_rate": "optimizer/learning_rate",
    "gradient_norm": "optimizer/gradient_norm",
    "epoch": "progress/epoch",
    "items_per_second": "progress/frames_per_second",
}


def expected(lines: list[HistoryRow]) -> set[Point]:
    """What should be found of these lines."""
    return {
        (tag, line.step, value)
        for line in lines
        for name, tag in TAGS.items()
        if (value := line.record().get(name)) is not None
    }


def points(folder: Path) -> Iterator[Point]:
    """Every scalar in the event files: records of a length, a body, two checksums."""
    messages = pytest.importorskip("tensorboardX.proto.event_pb2")
    (file,) = folder.iterdir()
    raw = file.read_bytes()
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        event = messages.Event.FromString(raw[12 : 12 + length])
        raw = raw[16 + length :]
        for value in event.summary.value:
            yield value.tag, event.step, value.simple_value


def test_every_measured_number_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    lines = [line(1), line(2, 0.5), line(3)]
    board = TensorBoardWriter(tmp_path / "tensorboard", "frames")
    board.begin(lines[:1])
    board.on_row(lines[1])
    board.on_row(lines[2])
    board.end()
    assert set(points(tmp_path / "tensorboard")) == expected(lines)


def test_a_run_that_has_no_line_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    board = TensorBoardWriter(tmp_path / "tensorboard", "frames")
    board.begin([])
    board.end()
    assert not list(tmp_path.iterdir())


def test_the_events_are_those_of_the_history(tmp_path: Path) -> None:
    """What a resume, or a step back, forgot is forgotten here too."""
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "tensorboard"
    board = TensorBoardWriter(folder, "frames")
    board.begin([line(1)])
    board.on_row(line(2, 1.0))
    board.end()
    for file in folder.iterdir():  # the names end in the second they were made
        file.rename(file.with_suffix(".0"))
    board.begin([line(1)])
    board.on_row(line(2, 2.0))
    board.end()
    assert set(points(folder)) == expected([line(1), line(2, 2.0)])


@pytest.mark.parametrize("given", [(), ("--run-dir", "run")])
def test_a_missing_package_is_named(
    given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.chdir(tmp_path)
    message = r"--tensorboard: expected .*pip install tensorboardX"
    with pytest.raises(InputError, match=message):
        train.main(["--tensorboard", *given])
    assert not list(tmp_path.iterdir())


def test_there_must_be_a_place_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", sys)
    with pytest.raises(InputError, match="--tensorboard: expected --run-dir"):
        train.main(["--tensorboard"])
