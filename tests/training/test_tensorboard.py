"""Event files, read back by the protocol's own messages."""

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_jax import train
from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields
from lstm_jax.training.tensorboard import TAGS, Board

Point = tuple[str, int, float]


def line(step: int, loss: float | None = None) -> Fields:
    """A line of history; every number differs."""
    numbers: Fields = {name: step + k / 16 for k, name in enumerate(TAGS)}
    measured = {"val_loss", "val_accuracy", "train_eval_loss", "train_eval_accuracy"}
    if loss is None:
        numbers |= dict.fromkeys(measured)
    else:
        numbers["val_loss"] = loss
    return numbers | {"step": step}


def expected(lines: list[Fields]) -> set[Point]:
    """What should be found of these lines."""
    return {
        (tag, line["step"], line[name])
        for line in lines
        for name, tag in TAGS.items()
        if line[name] is not None
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
    board = Board(tmp_path / "tensorboard", lines[:1])
    board.add(lines[1])
    board.add(lines[2])
    board.close()
    assert set(points(tmp_path / "tensorboard")) == expected(lines)


def test_the_events_are_those_of_the_history(tmp_path: Path) -> None:
    """What a resume forgot is forgotten here too."""
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "tensorboard"
    Board(folder, [line(1), line(2, 1.0)]).close()
    for file in folder.iterdir():  # the names end in the second they were made
        file.rename(file.with_suffix(".0"))
    board = Board(folder, [line(1)])
    board.add(line(2, 2.0))
    board.close()
    assert set(points(folder)) == expected([line(1), line(2, 2.0)])


@pytest.mark.parametrize("given", [(), ("--run-dir", "run")])
def test_a_missing_package_is_named(
    given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.chdir(tmp_path)
    message = r"--tensorboard: expected .*tensorboardX.*'lstm-jax\[tensorboard\]'"
    with pytest.raises(InputError, match=message):
        train.main(["--tensorboard", *given])
    assert not list(tmp_path.iterdir())


def test_there_must_be_a_place_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", sys)
    with pytest.raises(InputError, match="--tensorboard: expected --run-dir"):
        train.main(["--tensorboard"])
