"""Any model trained on any task: shapes that change, best models, shared programs."""

import dataclasses
import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.results import (
    DataFile,
    Result,
    describe_file,
    read_result,
    write_result,
)
from lstm_jax.config import RunConfig
from lstm_jax.data.bptt import Batch
from lstm_jax.errors import InputError
from lstm_jax.metrics.losses import Additive, LossSums, Mean, loss_sums
from lstm_jax.report.progress import Progress
from lstm_jax.report.run import report_run
from lstm_jax.training.callbacks import INTERRUPTED, Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryFile, HistoryRow
from lstm_jax.training.loop import Task, Timer, fit, has_time_to_validate
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.recorder import open_checkpoints
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.states import resume_state
from lstm_jax.training.step import TrainState, init_state, train_step
from lstm_jax.training.trainer import Trained, train_model
from lstm_jax.typing import Model
from tests.helpers.clocks import tick_by_reading
from tests.helpers.tiny_runs import StopAfter, assert_same

RATE = 0.05
SCHEDULE = Schedule(12, None, RATE, warmup=0.0, final_rate=1.0)


def squares(model: Model, carry: tuple, batch: Batch, key: object) -> tuple:
    """A regression: no right and wrong."""
    errors = (batch["x"] @ model["w"] - batch["y"]) ** 2
    return loss_sums(errors.sum(), jnp.float32(len(errors))), carry


def ragged(n: int) -> Batch:
    """Batches of 2 or of 4 rows."""
    x = np.random.default_rng(n).normal(size=(2 + 2 * (n // 2 % 2), 3))
    return {"x": x.astype(np.float32), "y": x.sum(1).astype(np.float32)}


def regression(evaluate: Callable[[Model], LossSums] | None = None) -> Task:
    return Task(
        squares,
        ragged,
        rows=2,
        steps_per_epoch=4,
        items_per_step=2,
        evaluate=evaluate,
    )


OPTIMIZER = make_optimizer(0.0, 1.0, 0.99)


def some_model() -> Model:
    return {"w": jnp.array([0.3, -0.2, 0.1])}


def first_state() -> TrainState:
    return init_state(some_model(), OPTIMIZER, (), jax.random.key(0))


def compiled() -> CompiledSteps:
    return CompiledSteps(squares, OPTIMIZER)


def settings(**given: Any) -> RunConfig:  # noqa: ANN401
    return dataclasses.replace(RunConfig(steps_per_call=1), **given)


def train(shared: CompiledSteps, steps_per_call: int = 1) -> Trained:
    run = settings(steps_per_call=steps_per_call)
    return train_model(regression(), first_state, SCHEDULE, shared, run)


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_batches_may_change_their_shape_between_calls(steps_per_call: int) -> None:
    shared = compiled()
    trained = train(shared, steps_per_call=steps_per_call)
    state = first_state()
    for n in range(12):
        rate = jnp.float32(RATE)
        state, _ = train_step(squares, shared.optimizer, state, ragged(n), rate)
    np.testing.assert_allclose(trained.model["w"], state.model["w"], rtol=1e-5)
    assert trained.step == 12


def test_one_call_takes_batches_of_one_shape() -> None:
    with pytest.raises(InputError, match=r"^--steps-per-call: expected 1, .*, found 4"):
        train(compiled(), steps_per_call=4)


def test_a_shape_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations = []
    whole = CompiledSteps._compile

    def counted(self: CompiledSteps, state: TrainState, batches: Batch) -> object:
        compilations.append(1)
        return whole(self, state, batches)

    monkeypatch.setattr(CompiledSteps, "_compile", counted)
    shared = compiled()
    first = train(shared)
    second = train(shared)
    assert len(compilations) == 2  # 2 rows and 4 rows
    np.testing.assert_array_equal(first.model["w"], second.model["w"])
    assert second.timer.compiling == 0 < first.timer.compiling


def test_the_best_model_is_kept(tmp_path: Path) -> None:
    seen, losses = [], iter([3.0, 1.0, 2.0])

    def evaluate(model: Model) -> LossSums:
        seen.append(np.array(model["w"]))
        return loss_sums(jnp.float32(next(losses)), jnp.float32(1))

    said: list[str] = []
    task = regression(evaluate)
    trained = train_model(
        task,
        first_state,
        SCHEDULE,
        compiled(),
        settings(evaluations=3),
        folder=tmp_path,
        callbacks=[Progress(SCHEDULE, "points", said.append)],
    )
    np.testing.assert_array_equal(trained.model["w"], seen[1])
    assert len([text for text in said if "val" in text]) == 3
    assert "val 1.0000" in said[7] and "acc" not in said[7] and "points/s" in said[7]
    assert HistoryFile(tmp_path / "metrics.jsonl").read() == trained.history
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert "train_accuracy" not in json.loads(written[-1])
    report_run(tmp_path, trained, task)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["best_step"], summary["steps"], summary["parameters"]) == (8, 12, 3)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("limit", "seconds", "spent", "shortest", "expected"),
    [
        (100.0, 40.0, 10.0, 2.0, True),
        (100.0, 40.0, 10.1, 2.0, False),  # more than a quarter of the time
        (100.0, 99.0, 10.0, 2.0, False),  # it would end after the budget
        (100.0, 0.5, 0.0, 0.0, True),  # the first one
        (None, 40.0, 39.0, 2.0, True),  # a run of so many steps is repeatable
    ],
)
def test_validations_leave_most_of_a_time_budget_to_training(
    limit: float | None, seconds: float, spent: float, shortest: float, expected: bool
) -> None:
    timer = Timer(evaluating=spent, shortest_evaluation=shortest)
    schedule = Schedule(1000, limit, RATE, warmup=0.0, final_rate=1.0)
    assert has_time_to_validate(timer, schedule, seconds) is expected


def test_a_validation_that_has_to_wait_is_made_as_soon_as_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By this clock: it ticks when it is read, and a step takes a few ticks."""
    tick_by_reading(monkeypatch)
    timer, shared = Timer(started=0.0), compiled()
    rows = []

    def may(timer: Timer, schedule: Schedule, seconds: float) -> bool:
        return len(rows) != 5

    monkeypatch.setattr("lstm_jax.training.loop.has_time_to_validate", may)
    loop = fit(
        regression(lambda model: loss_sums(*jnp.ones(2))),
        shared.optimizer,
        first_state(),
        Schedule(12, 1e6, RATE, warmup=0.0, final_rate=1.0),
        timer,
        steps_per_call=1,
        evaluations=2,
        compiled=shared,
    )
    for _, line in loop:
        rows.append(line)
    assert [line.step for line in rows if line.val] == [7, 12]


def test_callbacks_are_told_what_a_run_is_at() -> None:
    told: list[str] = []

    class Told(Callback):
        def on_phase(self, phase: str) -> None:
            told.append(phase)

        def on_row(self, row: HistoryRow) -> None:
            told.append(f"row {row.step}")

        def on_validation(self, row: HistoryRow, model: Model) -> None:
            assert model["w"].shape == (3,)
            told.append(f"model {row.step}")

    train_model(
        regression(lambda model: loss_sums(*jnp.ones(2))),
        first_state,
        SCHEDULE,
        compiled(),
        settings(evaluations=1),
        callbacks=[Told()],
    )
    assert told[:4] == ["compiling", "training", "row 1", "training"]
    assert told[-4:] == ["training", "validating", "row 12", "model 12"]
    assert told.count("validating") == told.count("compiling") == 1


def test_no_validation_is_lost_between_calls() -> None:
    """The clock passes every mark while a line is read, as by keeping a checkpoint."""
    timer, shared = Timer(), compiled()
    loop = fit(
        regression(lambda model: loss_sums(*jnp.ones(2))),
        shared.optimizer,
        first_state(),
        Schedule(None, 8e6, RATE, warmup=0.0, final_rate=1.0),
        timer,
        steps_per_call=1,
        evaluations=4,
        compiled=shared,
    )
    validated = []
    for _, line in loop:
        validated.append(line.val_loss is not None)
        timer.spent += 1.1e6
    assert validated == [False, False, True, False, True, False, True, False, True]


def test_patience_is_the_business_of_the_first_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others have not the whole history after a resume, or a step back."""
    monkeypatch.setattr("lstm_jax.training.trainer.is_primary", lambda: False)
    assert validated([1.0, 2.0, 3.0, 4.0], patience=1).ended == "finished"


def measured(losses: Sequence[float]) -> Callable[[Model], LossSums]:
    """Validations that find these losses."""
    left = iter(losses)
    return lambda model: loss_sums(jnp.float32(next(left)), jnp.float32(1))


def validated(
    losses: Sequence[float],
    *,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    **given: Any,  # noqa: ANN401
) -> Trained:
    """A run of 12 steps in which these are the validation losses."""
    return train_model(
        regression(measured(losses)),
        first_state,
        SCHEDULE,
        compiled(),
        settings(**{"evaluations": len(losses), **given}),
        folder=folder,
        callbacks=callbacks,
    )


def test_patience_ends_a_run() -> None:
    """Of six losses the third is the best, by enough; two more are waited for."""
    losses = [3.0, 2.95, 2.0, 2.1, 1.95]  # the sixth is not measured
    trained = validated(losses, evaluations=6, patience=2, min_improvement=0.1)
    assert trained.ended == "no improvement in 2 validations"
    assert [line.ended for line in trained.history][-2:] == [None, trained.ended]
    assert trained.step == 10, "the lowest loss is kept, however little it was lower"
    assert not trained.timer.running


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([NAN, 2.0, 3.0], 8),
        ([INF, NAN, 2.0], 12),
        ([2.0, NAN, -INF], 4),
        ([NAN, 3.0, 2.0], 12),
    ],
)
def test_what_is_no_number_is_never_the_best(losses: list[float], best: int) -> None:
    assert validated(losses).step == best


def test_without_a_finite_validation_the_last_model_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = validated([NAN, INF, NAN])
    np.testing.assert_array_equal(
        found.model["w"], validated([3.0, 2.0, 1.0]).model["w"]
    )
    assert found.step == 12
    said = "note: no validation loss is a finite number; the last model is kept"
    assert caplog.messages == [said]


def test_an_interrupted_run_has_the_best_model_so_far(tmp_path: Path) -> None:
    found = validated([1.0, 2.0, 0.5], callbacks=[StopAfter(9)], folder=tmp_path)
    assert found.ended == INTERRUPTED and found.step == 4
    assert found.history[-1].step == 9 and found.history[-1].ended == INTERRUPTED
    assert HistoryFile(tmp_path / "metrics.jsonl").read() == found.history


@pytest.mark.parametrize("seconds", [1e-9, -5.0, 0.0, NAN])
def test_without_time_for_a_step_there_is_no_model(seconds: float) -> None:
    schedule = Schedule(12, seconds, RATE, warmup=0.0, final_rate=1.0)
    with pytest.raises(
        InputError, match=r"^--max-seconds: expected time for a step, fo"
    ):
        train_model(regression(), first_state, schedule, compiled(), settings())


STEEP = Schedule(12, None, 1e30, warmup=0.0, final_rate=1.0)


def test_a_loss_that_is_not_a_number_is_named() -> None:
    plain = optax.identity()
    with pytest.raises(InputError, match=r"^step 2: expected a finite loss"):
        train_model(
            regression(),
            lambda: init_state(some_model(), plain, (), jax.random.key(0)),
            STEEP,
            CompiledSteps(squares, plain),
            settings(),
        )


# A run that is kept, of something that is no text.

LOSSES = [5.0, 4.0, 3.0, 3.5, 3.4, 3.3]


def computed(lines: Sequence[HistoryRow]) -> list[dict[str, Any]]:
    """The history without what the clock says."""
    timer = ("seconds", "items_per_second")
    records = [line.record() for line in lines]
    return [{k: v for k, v in each.items() if k not in timer} for each in records]


def state_of(folder: Path) -> TrainState:
    with open_checkpoints(folder) as checkpoints:
        return resume_state(checkpoints, jax.eval_shape(first_state))[1]


@pytest.mark.parametrize("calls", [1, 5, 11])
def test_a_run_that_is_resumed_is_the_same_run(calls: int, tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = validated(LOSSES, folder=whole)
    validated(LOSSES, folder=stopped, callbacks=[StopAfter(calls)])
    left = LOSSES[calls // 2 :]
    found = validated(left, folder=stopped, resume=True, evaluations=len(LOSSES))
    assert found.ended == expected.ended == "finished"
    assert found.step == expected.step == 6
    assert_same(found.model, expected.model)
    assert_same(state_of(stopped), state_of(whole))
    assert computed(found.history) == computed(expected.history)
    assert HistoryFile(stopped / "metrics.jsonl").read() == found.history


def test_a_finished_run_that_is_resumed_is_not_trained_again(tmp_path: Path) -> None:
    expected = validated(LOSSES, folder=tmp_path)
    again = validated([], folder=tmp_path, resume=True, evaluations=len(LOSSES))
    assert_same(again.model, expected.model)
    assert again.history == expected.history and again.step == expected.step


class Witness(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, history: Sequence[HistoryRow]) -> None:
        self.told.append(f"begin after {len(history)}")

    def on_row(self, row: HistoryRow) -> None:
        self.told.append(f"row {row.step}")

    def end(self) -> None:
        self.told.append("end")


def test_callbacks_are_told_of_the_history_and_of_every_row(tmp_path: Path) -> None:
    first, second = Witness(), Witness()
    validated(LOSSES, folder=tmp_path, callbacks=[first, StopAfter(2)])
    assert first.told == ["begin after 0", "row 1", "row 2", "end"]
    left = LOSSES[1:]
    validated(
        left, folder=tmp_path, callbacks=[second], resume=True, evaluations=len(LOSSES)
    )
    assert second.told[:2] == ["begin after 2", "row 3"]
    assert second.told[-2:] == ["row 12", "end"]


class Full(Callback):
    """Ends the run for a reason of its own."""

    def on_row(self, row: HistoryRow) -> str | None:
        return "the disk is full" if row.step == 3 else None


def test_the_first_callback_with_a_reason_ends_the_run() -> None:
    witness = Witness()
    found = validated(LOSSES, callbacks=[Full(), StopAfter(3), witness])
    assert found.ended == "the disk is full"
    assert witness.told[-2:] == ["row 3", "end"], "the others are told all the same"


class Broken(Callback):
    """Fails."""

    def on_row(self, row: HistoryRow) -> str | None:
        raise OSError("no more")


def test_callbacks_are_ended_when_one_of_them_fails(tmp_path: Path) -> None:
    witness = Witness()
    with pytest.raises(OSError, match="no more"):
        validated(LOSSES, folder=tmp_path, callbacks=[witness, Broken()])
    assert witness.told == ["begin after 0", "row 1", "end"]
    assert HistoryFile(tmp_path / "metrics.jsonl").read()[-1].step == 1


class BrokenEnd(Callback):
    """Fails when the run is over."""

    def end(self) -> None:
        raise OSError("not even that")


def test_every_callback_is_ended_even_if_one_cannot_be() -> None:
    before, after = Witness(), Witness()
    with pytest.raises(OSError, match="not even that"):
        validated(LOSSES, callbacks=[before, BrokenEnd(), after])
    assert before.told[-1] == after.told[-1] == "end"


def fragile(model: Model, carry: tuple, batch: Batch, key: object) -> tuple:
    """No number far from where it began, where only small steps keep it from."""
    sums, carry = squares(model, carry, batch, key)
    far = jnp.linalg.norm(jax.lax.stop_gradient(model["w"]) - some_model()["w"])
    spoiled = jnp.where(far > 0.4, jnp.nan, sums.loss)
    return loss_sums(spoiled, sums.count), carry


def test_it_goes_back_and_on_more_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    witness = Witness()
    schedule = Schedule(12, None, RATE, warmup=0.0, final_rate=1.0)
    found = train_model(
        dataclasses.replace(regression(), loss=fragile),
        first_state,
        schedule,
        CompiledSteps(fragile, OPTIMIZER),
        settings(on_nan="backoff", checkpoint_steps=2),
        folder=tmp_path,
        callbacks=[witness],
    )
    begun = [told for told in witness.told if told.startswith("begin")]
    assert begun[0] == "begin after 0" and len(begun) > 1
    assert caplog.messages
    assert all("going on from step" in message for message in caplog.messages)
    assert found.ended == "finished" and found.history[-1].learning_rate < RATE
    steps = [line.step for line in found.history]
    assert steps == list(range(1, 13)), "what came to nothing is not in the history"
    told = [int(each.split()[-1]) for each in witness.told if each.startswith("row")]
    assert len(told) > 12 and told[-1] == 12


# What a task measures besides the loss.


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Largest(Additive):
    """The share of the largest bin of a histogram: no mean of anything."""

    bins: jax.Array

    def value(self) -> float:
        return float(jnp.max(self.bins) / jnp.sum(self.bins))


def binned(model: Model, carry: tuple, batch: Batch, key: object) -> tuple:
    sums, carry = squares(model, carry, batch, key)
    bins = jnp.histogram(batch["y"], jnp.array([-9.0, -1.0, 1.0, 9.0]))[0]
    absolute = jnp.abs(batch["y"]).sum()
    metrics = {
        "largest_bin": Largest(bins.astype(jnp.float32)),
        "size": Mean(absolute, sums.count),
    }
    return LossSums({**sums.metrics, **metrics}), carry


def test_named_metrics_reach_the_history(tmp_path: Path) -> None:
    task = dataclasses.replace(
        regression(lambda model: binned(model, (), ragged(99), None)[0]), loss=binned
    )
    found = train_model(
        task,
        first_state,
        SCHEDULE,
        CompiledSteps(binned, OPTIMIZER),
        settings(steps_per_call=2, evaluations=2),
        folder=tmp_path,
    )
    targets = np.concatenate([ragged(n)["y"] for n in (0, 1)])
    bins = np.histogram(targets, [-9, -1, 1, 9])[0]
    first = found.history[0].train
    assert list(first) == ["loss", "largest_bin", "size"]
    assert first["largest_bin"] == pytest.approx(bins.max() / bins.sum())
    assert first["size"] == pytest.approx(np.abs(targets).mean(), rel=1e-6)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    held_out = np.abs(ragged(99)["y"]).mean()
    assert last["val_size"] == pytest.approx(held_out, rel=1e-6)
    report_run(tmp_path, found, task)
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_a_result_comes_back_and_is_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = [f"word {k}" for k in range(9)]
    result = Result(*words, minutes=1.5, command="python")
    write_result(tmp_path / "new", result)
    assert read_result(tmp_path / "new") == result
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["ours"] == "word 5" and last["minutes"] == 1.5
    files = (DataFile("a.txt", 3, "abc"), DataFile("a pipe", None, None))
    result = dataclasses.replace(result, files=files)
    write_result(tmp_path / "new", result)
    assert read_result(tmp_path / "new") == result
    path = tmp_path / "new" / "result.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"files": [{"size": 3}]}))
    with pytest.raises(InputError, match=r"result\.json: expected data files, found"):
        read_result(tmp_path / "new")
    del fields["files"]  # as results were before
    path.write_text(json.dumps(fields))
    assert read_result(tmp_path / "new").files == ()
    (tmp_path / "new" / "result.json").write_text('{"task": "x"}')
    with pytest.raises(InputError, match=r"result\.json: expected \["):
        read_result(tmp_path / "new")


def test_a_file_is_described_by_what_is_read_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc")
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write(b"abc")
    # The SHA-256 of "abc", from FIPS 180-2.
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in ("a.txt", "a.txt.gz"):
        assert describe_file(tmp_path / name) == DataFile("a.txt", 3, known)
    os.mkfifo(tmp_path / "pipe")  # it was read before, and is empty now
    assert describe_file(tmp_path / "pipe") == DataFile("pipe", None, None)
    with pytest.raises(InputError, match="none: expected a file, found nothing"):
        describe_file(tmp_path / "none")
