"""Runs whose settings are chosen: from the command line and from Python."""

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lstm_jax.config import ClusterConfig, RunConfig
from lstm_jax.errors import InputError
from lstm_jax.lm import probe, recipe
from lstm_jax.lm.choice import choose_here, leaves_open
from lstm_jax.lm.command_line import command_of
from lstm_jax.lm.config import TrainConfig, load_chosen, load_config
from lstm_jax.lm.training import fit_text
from lstm_jax.train import _chooser, _configure
from tests.helpers.clocks import tick_by_reading
from tests.helpers.commands import TEXT, assert_done, call, metrics
from tests.helpers.tiny_models import LESSON

FEW = (*("--hidden", "16", "--layers", "1", "--length", "16"), "--max-seconds", "15")
ONCE = 50.0


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[recipe.Given]:
    """Instead of a measurement, the machine is said to be a slow one; who asked."""
    asked: list[recipe.Given] = []

    def measured_machine(given: recipe.Given, devices: object) -> recipe.Machine:
        asked.append(given)
        return recipe.Machine(rows=4, operations_per_second=1e7)

    monkeypatch.setattr(probe, "measured_machine", measured_machine)
    monkeypatch.setattr(probe, "prepare_machine", lambda devices: None)
    tick_by_reading(monkeypatch)
    return asked


def test_a_run_of_which_the_time_is_given_has_the_rest_chosen(
    tmp_path: Path, measured: list[recipe.Given]
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    given = ("--data", "text.txt", "--run-dir", "run", *FEW)
    done = call("train", *given, "--learning-rate", 0.003, cwd=tmp_path)
    assert_done(done)
    (asked,) = measured
    assert (asked.hidden, asked.layers, asked.batch) == (16, 1, None)

    kept = load_config(tmp_path / "run" / "config.json")
    assert (kept.model.hidden, kept.optimizer.length) == (16, 16)
    assert kept.optimizer.learning_rate == 0.003
    assert (kept.model.mogrifier, kept.model.capped_gate) == (2, True)
    assert kept.regularizer.variational and kept.model.precision == "mixed"
    assert kept.optimizer.batch == 8 and kept.run.max_seconds == 15

    lines = load_chosen(tmp_path / "run" / "config.json")
    assert lines and all(line in done.stdout for line in lines)
    assert "1 layer of 16 units, Mogrifiers of 2 rounds" in "".join(lines)

    measured.clear()
    longer = ("--resume", "--run-dir", "run", "--max-seconds", "17")
    assert_done(call("train", *longer, cwd=tmp_path))
    assert not measured
    resumed = load_config(tmp_path / "run" / "config.json")
    assert resumed.model == kept.model and resumed.optimizer == kept.optimizer
    assert load_chosen(tmp_path / "run" / "config.json") == lines


def test_the_command_of_such_a_run_leaves_nothing_to_be_chosen(
    measured: list[recipe.Given],
) -> None:
    kept = _settled(("--data", "a.txt", *FEW), 1000)
    command = command_of(kept)
    passes = f"--epochs {kept.run.epochs}"
    for flag in ("--batch 8", "--capped-gate", "--evaluations 2", "--ema", passes):
        assert flag in command
    # Another text and time would have other settings.
    assert _settled(("--data", "a.txt", *FEW), 10) != kept
    repeated, _ = _configure(shlex.split(command)[3:])
    assert repeated == kept and not leaves_open(repeated)


def test_passes_that_are_over_before_the_time_are_told_of(
    tmp_path: Path, measured: list[recipe.Given]
) -> None:
    """And a resume that has more of the time alone makes no more of them."""
    (tmp_path / "text.txt").write_text(TEXT)
    small = ("--hidden", "16", "--layers", "1", "--length", "16", "--mogrifier", "0")
    given = ("--data", "text.txt", "--run-dir", "run", *small, "--max-seconds", "3600")
    told = (
        "2 passes were made before the time was over; --resume with a larger --epochs"
    )
    done = call("train", *given, "--epochs", 2, cwd=tmp_path)
    assert_done(done)
    assert told in done.stdout
    resume = ("--resume", "--run-dir", "run")
    done = call("train", *resume, "--max-seconds", "7200", cwd=tmp_path)
    assert_done(done)
    assert told in done.stdout
    done = call("train", *resume, "--epochs", 3, cwd=tmp_path)
    assert_done(done)
    assert "3 passes were made" in done.stdout
    assert metrics(tmp_path / "run")[-1]["epoch"] == 3


def _settled(words: Sequence[str], symbols: int) -> TrainConfig:
    """The settings of a command, for a text of so many symbols."""
    asked, _ = _configure(words)
    choose = _chooser(words, asked)
    assert choose
    return choose(symbols, 30)[0]


def test_what_is_said_of_a_short_text_is_what_is_done(
    tmp_path: Path, measured: list[recipe.Given]
) -> None:
    """Its batch is smaller than the one chosen."""
    (tmp_path / "text.txt").write_text(TEXT[:40])
    given = ("--data", "text.txt", "--run-dir", "run", "--max-seconds", "15")
    given = (*given, "--batch", "8", "--length", "32")
    assert_done(call("train", *given, cwd=tmp_path))
    optimizer = load_config(tmp_path / "run" / "config.json").optimizer
    assert (optimizer.batch, optimizer.length) != (8, 32)
    said = f"{optimizer.batch} rows of {optimizer.length} symbols a step"
    assert said in "".join(load_chosen(tmp_path / "run" / "config.json"))


def test_what_measuring_took_is_part_of_the_time(
    tmp_path: Path, measured: list[recipe.Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([100.0, 105.0])
    monkeypatch.setattr(
        "lstm_jax.lm.choice.time.perf_counter", lambda: next(readings, 105.0)
    )
    (tmp_path / "text.txt").write_text(TEXT)
    assert_done(call("train", "--data", "text.txt", *FEW, cwd=tmp_path))
    seconds = [line["seconds"] for line in metrics(tmp_path / "runs" / "text")]
    assert 5 < seconds[0] and 14 < seconds[-1] < 16


def test_from_python(tmp_path: Path, measured: list[recipe.Given]) -> None:
    model = fit_text(LESSON, max_seconds=15.0)
    assert measured and model.config.model.mogrifier == 2
    assert model.config.run.max_seconds == 15
    short = fit_text(LESSON, max_seconds=3.0)  # nothing is chosen for less than 15
    assert short.config.model.mogrifier == 0 and len(measured) == 1
    with pytest.raises(InputError, match="max_seconds: expected no settings beside"):
        fit_text(LESSON, TrainConfig(), max_seconds=10.0)
    with pytest.raises(InputError, match="--max-seconds: expected"):
        fit_text(LESSON, max_seconds=-1.0)


def test_what_is_said_otherwise_is_left_alone() -> None:
    timed = TrainConfig(run=RunConfig(max_seconds=180.0))
    assert leaves_open(timed)
    for changed in (
        TrainConfig(),
        dataclasses.replace(timed, preset="shakespeare-3min"),
        dataclasses.replace(timed, from_run=Path("runs/a")),
        dataclasses.replace(timed, run=RunConfig(max_seconds=180.0, epochs=3)),
        dataclasses.replace(timed, run=RunConfig(max_seconds=14.0)),
        dataclasses.replace(timed, cluster=ClusterConfig(coordinator="auto")),
    ):
        assert not leaves_open(changed)


@pytest.fixture
def measuring_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[float], recipe.Machine]:
    """Seconds of a clock that nothing else moves, but `ONCE` for what is done once."""
    now = [0.0]
    machine = recipe.Machine(rows=4, operations_per_second=1e7)

    def take(seconds: float) -> recipe.Machine:
        now[0] += seconds
        return machine

    def measured_in(seconds: float) -> recipe.Machine:
        monkeypatch.setattr(probe, "measured_machine", lambda *_: take(seconds))
        return machine

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(probe, "prepare_machine", lambda devices: take(ONCE))
    return measured_in


def test_measuring_leaves_half_of_the_time(
    measuring_takes: Callable[[float], recipe.Machine],
) -> None:
    """On a machine so busy that measuring it takes longer than the whole run may."""
    config, machine = TrainConfig(run=RunConfig(max_seconds=30.0)), measuring_takes(40)
    found, seconds = choose_here(config, 10_000, 30)
    assert seconds == 15
    assert found.work == recipe.choose(10_000, 30, 15.0, machine).work > 0


def test_what_is_done_once_on_a_machine_takes_none_of_the_time(
    measuring_takes: Callable[[float], recipe.Machine],
) -> None:
    """The engine native is compiled before; it takes `ONCE` here."""
    config, machine = TrainConfig(run=RunConfig(max_seconds=30.0)), measuring_takes(2)
    found, seconds = choose_here(config, 10_000, 30)
    assert seconds == 2
    assert found.work == recipe.choose(10_000, 30, 28.0, machine).work
