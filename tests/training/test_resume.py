"""An interrupted and resumed run is the run that was not interrupted, bit for bit."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lstm_jax import train
from lstm_jax.data.text import encode_text
from lstm_jax.errors import InputError
from lstm_jax.lm.config import load_config
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import Setup, first_state
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints
from lstm_jax.training.recorder import open_checkpoints
from lstm_jax.training.states import load_state, trees_of
from lstm_jax.training.trainer import Trained
from tests.helpers.clocks import TICK, tick_by_reading
from tests.helpers.experiment_runs import SETTINGS_OF_THE_PROCESS
from tests.helpers.tiny_runs import (
    CONFIG,
    TEXT,
    VOCAB,
    assert_same,
    checkpoint_steps,
    computed,
    copied_run,
    last_state,
    new_run,
    run_once,
)


def assert_same_run(
    run: RunDirectory, outcome: Trained, whole: tuple[RunDirectory, Trained]
) -> None:
    """Everything that a run comes to is the same in both."""
    expected_run, expected = whole
    assert outcome.ended == expected.ended == "finished"
    assert_same(last_state(run), last_state(expected_run))
    assert computed(run.history.read()) == computed(expected_run.history.read())
    assert run.history.read() == outcome.history
    assert outcome.step == expected.step
    assert_same(outcome.model, expected.model)
    assert_same(load_text_model(run.path).model, expected.model)
    assert {expected.step, 30} <= set(checkpoint_steps(run))
    seconds = [line.seconds for line in run.history.read()]
    assert seconds == sorted(seconds), "time goes on where it was"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Trained]:
    """The run that nothing interrupts."""
    run = new_run(tmp_path_factory.mktemp("whole") / "run")
    return run, run_once(run)


def test_the_whole_run_is_as_it_is_meant(whole: tuple[RunDirectory, Trained]) -> None:
    run, outcome = whole
    assert outcome.ended == "finished"
    assert [line.step for line in run.history.read()] == list(range(3, 31, 3))
    validated = [line.step for line in run.history.read() if line.val_loss is not None]
    assert validated == [9, 15, 24, 30]
    assert int(last_state(run).step) == 30
    assert run.history.read()[-1].train_loss < run.history.read()[0].train_loss


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The same run, interrupted after four calls. To be copied."""
    run = new_run(tmp_path_factory.mktemp("begun") / "run")
    first = run_once(run, calls=4)
    assert first.ended == "interrupted"
    assert [line.step for line in run.history.read()] == [3, 6, 9, 12]
    assert int(last_state(run).step) == 12
    return run


@pytest.mark.usefixtures("compiled_anew")
def test_a_resumed_run_is_the_same_run(
    begun: RunDirectory, whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """Its programs are compiled anew, as by a process of its own."""
    run = copied_run(begun, tmp_path / "run")
    assert_same_run(run, run_once(run, resume=True, anew=True), whole)


@pytest.mark.parametrize("calls", [1, 9])
def test_whenever_it_was_interrupted(
    calls: int, whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run")
    run_once(run, calls=calls)
    assert_same_run(run, run_once(run, resume=True), whole)


def test_a_run_may_be_interrupted_again_and_again(
    whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run")
    run_once(run, calls=2)
    run_once(run, calls=1, resume=True)
    run_once(run, calls=3, resume=True)
    assert_same_run(run, run_once(run, resume=True), whole)


def test_what_was_logged_after_the_last_checkpoint_is_done_again(
    begun: RunDirectory, whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """A killed run has lines that its checkpoint does not know; the last is torn."""
    run = copied_run(begun, tmp_path / "run")
    later = whole[0].history.read()[4:7]
    for line in later:
        run.history.append(dataclasses.replace(line, train={"loss": 99.0}))
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(run.history.read()) == 6
    assert_same_run(run, run_once(run, resume=True), whole)


def test_a_finished_run_that_is_resumed_stays_as_it_is(
    whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = copied_run(whole[0], tmp_path / "run")
    before = run.history.read()
    again = run_once(run, resume=True)
    assert run.history.read() == before
    assert 0 <= again.timer.seconds() - before[-1].seconds < 5
    assert_same_run(run, again, whole)


def test_a_longer_plan_continues_a_finished_run(
    whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = copied_run(whole[0], tmp_path / "run")
    longer = dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, epochs=8))
    outcome = run_once(run, longer, resume=True)
    lines = run.history.read()
    before = whole[0].history.read()
    before[-1] = dataclasses.replace(before[-1], ended=None)  # it went on
    assert computed(lines[:10]) == computed(before)
    assert [line.step for line in lines] == [*range(3, 40, 3), 40]
    assert outcome.history == lines
    assert int(last_state(run).step) == 40


def test_the_best_model_is_restored_if_nothing_better_comes(tmp_path: Path) -> None:
    # A rate that ruins everything: what was best before is best at the end.
    run = new_run(tmp_path / "run")
    first = run_once(run, calls=9)  # one call after what turns out to be the best
    assert checkpoint_steps(run) == [24, 27]
    optimizer = dataclasses.replace(CONFIG.optimizer, learning_rate=500.0)
    ruined = dataclasses.replace(CONFIG, optimizer=optimizer)
    second = run_once(run, ruined, resume=True)
    losses = [line.val_loss for line in run.history.read() if line.val_loss is not None]
    assert losses[-1] > 2 * min(losses)
    assert second.step == first.step == 24
    assert_same(second.model, first.model)
    assert_same(load_text_model(run.path).model, first.model)
    assert checkpoint_steps(run) == [24, 27, 30]


def test_a_best_that_is_no_number_is_none(
    whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    """As in runs whose first validation was NaN, which was the best for good then."""
    run = new_run(tmp_path / "run")
    run_once(run, calls=6)
    like = jax.eval_shape(lambda: first_state(CONFIG, VOCAB))
    with open_checkpoints(run.path) as checkpoints:
        state, record = load_state(checkpoints, 18, like), checkpoints.record(18)
        shutil.rmtree(run.checkpoint_path / "18")
        record = dataclasses.replace(record, best_step=9, best_loss=float("nan"))
        checkpoints.save(trees_of(state), record)
        checkpoints.wait()
        found = checkpoints.record(18)
        assert (found.step, found.best_loss) == (18, None)
        assert_same(checkpoints.best_model(like.model), state.eval_model)
    assert_same_run(run, run_once(run, resume=True), whole)


OTHER_RUNS: dict[str, dict[str, dict[str, object]]] = {
    "another program": {
        "run": {"devices": 1, "steps_per_call": 16},
        "model": {"engine": "scan", "precision": "bfloat16"},
        "optimizer": {"ema": 0.9},
        "regularizer": {"zoneout_cell": 0.3, "weight_drop": 0.3, "l2": 0.01},
    },
    "validated at its end": {"run": {"evaluations": 0}},
    "nothing held out": {"text": {"validation_fraction": 0.0}},
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_so_is_any_other_run(name: str, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, epochs=4))
    for section, change in OTHER_RUNS[name].items():
        part = dataclasses.replace(getattr(config, section), **change)
        config = dataclasses.replace(config, **{section: part})
    corpus, _ = encode_text(TEXT, "char", config.text.validation_fraction)
    whole, run = (new_run(tmp_path / name, config) for name in ("whole", "run"))
    expected = run_once(whole, config, corpus=corpus)
    run_once(run, config, calls=1, corpus=corpus)
    found = run_once(run, config, resume=True, corpus=corpus)
    assert_same(last_state(run, config), last_state(whole, config))
    assert computed(run.history.read()) == computed(whole.history.read())
    assert found.step == expected.step
    assert_same(found.model, expected.model)


def test_without_a_directory_it_is_the_same_run_and_another_seed_is_another(
    whole: tuple[RunDirectory, Trained],
) -> None:
    outcome = run_once(None)
    assert_same(outcome.model, whole[1].model)
    assert computed(outcome.history) == computed(whole[1].history)
    settings = dataclasses.replace(CONFIG.run, seed=6)
    other = run_once(None, dataclasses.replace(CONFIG, run=settings))
    assert computed(other.history)[0] != computed(outcome.history)[0]


def test_a_budget_goes_on_with_the_time_already_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its schedule follows the clock: no two such runs are the same, but none loses."""
    tick_by_reading(monkeypatch)
    settings = dataclasses.replace(CONFIG.run, epochs=None, max_seconds=3.0)
    config = dataclasses.replace(CONFIG, run=settings)
    run = new_run(tmp_path / "run", config)
    first = run_once(run, config, calls=2)
    spent = first.timer.seconds()
    outcome = run_once(run, config, resume=True)
    lines = run.history.read()
    assert lines == outcome.history and outcome.ended == "finished"
    steps = [line.step for line in lines]
    assert steps == sorted(set(steps)) and len(steps) > 2
    assert lines[1].seconds <= spent <= lines[2].seconds
    assert lines[-1].seconds == pytest.approx(outcome.timer.seconds())
    assert spent < 1 < 3 - 5 * TICK < outcome.timer.seconds() < 3 + 5 * TICK
    rates = [line.learning_rate for line in lines]
    assert rates[-1] < rates[2]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ({"checkpoint_steps": 6}, [0, 6, 12, 18, 24, 30]),
        ({"checkpoint_steps": 7}, [0, 9, 15, 21, 30]),
        ({"checkpoint_seconds": 3600.0}, [0, 30]),
        ({"checkpoint_seconds": 1e-9}, [0, *range(3, 31, 3)]),
    ],
    ids=str,
)
def test_checkpoints_come_at_the_interval_asked_for(
    interval: dict[str, Any],
    expected: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Checkpoints, "busy", lambda checkpoints: False)
    save = Checkpoints.save

    def noted(checkpoints: Checkpoints, trees: dict, record: CheckpointInfo) -> None:
        saved.append(record.step)
        save(checkpoints, trees, record)

    monkeypatch.setattr(Checkpoints, "save", noted)
    settings = dataclasses.replace(CONFIG.run, evaluations=0, **interval)
    config = dataclasses.replace(CONFIG, run=settings)
    outcome = run_once(new_run(tmp_path / "run", config), config)
    assert saved == expected
    assert 0 < outcome.timer.saving < outcome.timer.seconds()


def test_a_history_changed_behind_our_back_is_not_resumed(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    run_once(run, calls=3)
    path = run.path / "metrics.jsonl"
    good, lines = path.read_bytes(), run.history.read()
    for bad in (
        good.replace(b'"train_loss": ', b'"train_loss": 1'),
        good.split(b"\n")[0],
    ):
        path.write_bytes(bad)
        with pytest.raises(InputError, match=r"metrics\.jsonl: expected the 3 lines"):
            run_once(run, resume=True)
        assert path.read_bytes() == bad
    path.unlink()  # then it is not missed
    outcome = run_once(run, resume=True)
    assert run.history.read() == outcome.history and outcome.history[0].step == 12
    assert lines[-1].step == 9


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(
    whole: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run")
    assert_same_run(run, run_once(run, resume=True), whole)


def test_a_run_whose_checkpoints_are_gone_is_not_resumed(tmp_path: Path) -> None:
    """It has a history, and a history is not replaced."""
    run = new_run(tmp_path / "run")
    run_once(run, calls=1)
    shutil.rmtree(run.checkpoint_path)
    with pytest.raises(InputError, match=r"expected a checkpoint in .*, found none"):
        run_once(run, resume=True)


def test_a_damaged_history_is_not_resumed(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    run_once(run, calls=2)
    path = run.path / "metrics.jsonl"
    path.write_text("{\n" + path.read_text())
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"metrics\.jsonl: expected .* line 1"):
        run_once(run, resume=True)
    assert path.read_bytes() == before


def test_settings_are_on_disk_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command hands to the loop is what the directory already holds."""

    class Reached(Exception):
        pass

    def instead(setup: Setup, run: RunDirectory, **_: object) -> None:
        config, corpus, vocab = setup.config, setup.corpus, setup.vocab
        assert load_config(run.path / "config.json") == config
        assert run.vocab() == vocab
        np.testing.assert_array_equal(run.corpus(config, vocab).ids, corpus.ids)
        assert run.corpus(config, vocab).train_size == corpus.train_size
        # Resolved: what was not asked for is written too, and fits the text.
        assert (config.model.hidden, config.model.layers) == (9, 2)
        assert config.optimizer.batch * config.optimizer.length < corpus.train_size
        raise Reached

    monkeypatch.setattr("lstm_jax.lm.training.train_text", instead)
    for name in SETTINGS_OF_THE_PROCESS:
        monkeypatch.setattr(f"lstm_jax.distributed.host.{name}", lambda *_, **__: None)
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(Reached):
        train.main(
            [
                *("--data", str(tmp_path / "text.txt"), "--hidden", "9"),
                *("--run-dir", str(tmp_path / "run")),
            ]
        )
