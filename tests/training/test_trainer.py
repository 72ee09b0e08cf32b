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
from lstm_jax.data.bptt import Batch
from lstm_jax.errors import InputError
from lstm_jax.metrics.losses import Sums
from lstm_jax.storage.model_directory import load_model, load_settings, save_model
from lstm_jax.training.compiled import Programs
from lstm_jax.training.loop import Clock, Task, fit
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.schedule import Plan
from lstm_jax.training.step import TrainState, init_state, train_step
from lstm_jax.training.trainer import Trained, train_model
from lstm_jax.typing import Model

RATE = 0.05
PLAN = Plan(12, None, RATE, warmup=0.0, final_rate=1.0)


def squares(model: Model, carry: tuple, batch: Batch, key: object) -> tuple:
    """A regression: no right and wrong."""
    errors = (batch["x"] @ model["w"] - batch["y"]) ** 2
    count = jnp.float32(len(errors))
    return Sums(errors.sum(), jnp.float32(jnp.nan), count), carry


def ragged(n: int) -> Batch:
    """Batches of 2 or of 4 rows."""
    x = np.random.default_rng(n).normal(size=(2 + 2 * (n // 2 % 2), 3))
    return {"x": x.astype(np.float32), "y": x.sum(1).astype(np.float32)}


def regression(evaluate: Callable[[Model], Sums] | None = None) -> Task:
    return Task(
        squares,
        ragged,
        {"x": 0, "y": 0},
        rows=2,
        steps_per_epoch=4,
        symbols_per_step=2,
        evaluate=evaluate,
    )


def some_model() -> Model:
    return {"w": jnp.array([0.3, -0.2, 0.1])}


def programs() -> Programs:
    return Programs(squares, make_optimizer(0.0, 1.0, 0.99))


def train(shared: Programs, steps_per_call: int = 1) -> Trained:
    model = some_model()
    return train_model(regression(), model, PLAN, shared, steps_per_call=steps_per_call)


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_batches_may_change_their_shape_between_calls(steps_per_call: int) -> None:
    shared = programs()
    trained = train(shared, steps_per_call=steps_per_call)
    state = init_state(some_model(), shared.optimizer, (), jax.random.key(0))
    for n in range(12):
        rate = jnp.float32(RATE)
        state, _ = train_step(squares, shared.optimizer, state, ragged(n), rate)
    np.testing.assert_allclose(trained.model["w"], state.model["w"], rtol=1e-5)
    assert trained.step == 12


def test_a_shape_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    whole = Programs._compile

    def counted(self: Programs, state: TrainState, batches: Batch) -> object:
        compiled.append(1)
        return whole(self, state, batches)

    monkeypatch.setattr(Programs, "_compile", counted)
    shared = programs()
    first = train(shared)
    second = train(shared)
    assert len(compiled) == 2  # 2 rows and 4 rows
    np.testing.assert_array_equal(first.model["w"], second.model["w"])
    assert second.clock.compiling == 0 < first.clock.compiling


def test_the_best_model_is_kept_and_the_first_is_left_alone(tmp_path: Path) -> None:
    seen, losses = [], iter([3.0, 1.0, 2.0])

    def evaluate(model: Model) -> Sums:
        seen.append(np.array(model["w"]))
        return Sums(jnp.float32(next(losses)), jnp.float32(jnp.nan), jnp.float32(1))

    said: list[str] = []
    model = some_model()
    trained = train_model(
        regression(evaluate),
        model,
        PLAN,
        programs(),
        evaluations=3,
        run_dir=tmp_path,
        say=said.append,
    )
    np.testing.assert_array_equal(trained.model["w"], seen[1])
    np.testing.assert_array_equal(model["w"], some_model()["w"])
    assert len(said) == 3 and "val 1.0000" in said[1] and "acc" not in said[1]
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in written]
    assert lines == trained.lines and lines[-1]["train_accuracy"] is None


def test_no_validation_is_lost_between_calls() -> None:
    """The clock passes every mark while a line is read, as by keeping a checkpoint."""
    clock, shared = Clock(), programs()
    loop = fit(
        regression(lambda model: Sums(*jnp.ones(3))),
        shared.optimizer,
        init_state(some_model(), shared.optimizer, (), jax.random.key(0)),
        Plan(None, 8e6, RATE, warmup=0.0, final_rate=1.0),
        clock,
        steps_per_call=1,
        evaluations=4,
        programs=shared,
    )
    validated = []
    for _, line in loop:
        validated.append(line.val_loss is not None)
        clock.spent += 1.1e6
    assert validated == [False, False, True, False, True, False, True, False, True]


def test_patience_ends_a_run(tmp_path: Path) -> None:
    """Of six losses the third is the best, by enough; two more are waited for."""
    losses = iter([3.0, 2.95, 2.0, 2.1, 1.95, 0.1])

    def evaluate(model: Model) -> Sums:
        return Sums(jnp.float32(next(losses)), jnp.float32(jnp.nan), jnp.float32(1))

    trained = train_model(
        regression(evaluate),
        some_model(),
        PLAN,
        programs(),
        evaluations=6,
        patience=2,
        min_improvement=0.1,
        run_dir=tmp_path,
        say=lambda text: None,
    )
    assert next(losses) == 0.1, "the sixth was not measured"
    assert trained.ended == "no improvement in 2 validations"
    assert [line["ended"] for line in trained.lines][-2:] == [None, trained.ended]
    assert trained.step == 10, "the lowest loss is kept, however little it was lower"
    assert not trained.clock.running


def measured(losses: Sequence[float]) -> Callable[[Model], Sums]:
    """Validations that find these losses."""
    left = iter(losses)
    nothing = jnp.float32(jnp.nan)
    return lambda model: Sums(jnp.float32(next(left)), nothing, jnp.float32(1))


def validated(losses: Sequence[float], **settings: Any) -> Trained:  # noqa: ANN401
    """A run of 12 steps in which these are the validation losses."""
    return train_model(
        regression(measured(losses)),
        some_model(),
        PLAN,
        programs(),
        evaluations=len(losses),
        say=lambda text: None,
        **settings,
    )


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
    asked = iter([False] * 8 + [True])
    found = validated(
        [1.0, 2.0, 0.5], interrupted=lambda: next(asked), run_dir=tmp_path
    )
    assert found.ended == "interrupted" and found.step == 4
    assert found.lines[-1]["step"] == 9 and found.lines[-1]["ended"] == "interrupted"
    assert (tmp_path / "metrics.jsonl").is_file()


@pytest.mark.parametrize("seconds", [1e-9, -5.0, 0.0, NAN])
def test_without_time_for_a_step_there_is_no_model(seconds: float) -> None:
    plan = Plan(12, seconds, RATE, warmup=0.0, final_rate=1.0)
    with pytest.raises(
        InputError, match=r"^--max-seconds: expected time for a step, fo"
    ):
        train_model(regression(), some_model(), plan, programs())


def test_a_loss_that_is_not_a_number_is_named() -> None:
    shared = Programs(squares, optax.identity())
    steep = Plan(12, None, 1e30, warmup=0.0, final_rate=1.0)
    with pytest.raises(InputError, match=r"^step 2: expected a finite loss"):
        train_model(regression(), some_model(), steep, shared)


def a_model() -> Model:
    return {"a": {"w": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.int32([1, 2])}


def test_a_model_comes_back(tmp_path: Path) -> None:
    save_model(tmp_path, a_model(), {"units": 3, "name": "größe"})
    found = load_model(tmp_path, jax.eval_shape(a_model))
    assert jax.tree.structure(found) == jax.tree.structure(a_model())
    for ours, kept in zip(
        jax.tree.leaves(a_model()), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_array_equal(ours, kept)
    assert load_settings(tmp_path) == {"units": 3, "name": "größe"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": {"w": jnp.zeros((2, 3))}}, "the array b is not expected"),
        ({**a_model(), "c": jnp.zeros(1)}, "the array c is missing"),
        ({**a_model(), "b": jnp.zeros(2)}, "expected b to be float32.*, found int32"),
        (
            {**a_model(), "b": jnp.int32([1])},
            r"expected b to be .*\(1,\), found .*\(2,\)",
        ),
    ],
)
def test_another_model_is_refused(tmp_path: Path, other: Model, message: str) -> None:
    save_model(tmp_path, a_model(), {})
    with pytest.raises(InputError, match=message):
        load_model(tmp_path, other)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_model_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    save_model(tmp_path, a_model(), {})
    path = tmp_path / "model.npz"
    raw = path.read_bytes()
    flipped = raw.replace(np.float32(4.0).tobytes(), np.float32(5.0).tobytes())
    path.write_bytes(flipped if damage is None else damage)
    with pytest.raises(InputError, match=r"model\.npz: expected a model"):
        load_model(tmp_path, a_model())


def test_missing_and_damaged_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a finished run"):
        load_settings(tmp_path)
    (tmp_path / "settings.json").write_text("[1")
    with pytest.raises(InputError, match="expected JSON"):
        load_settings(tmp_path)
    (tmp_path / "settings.json").write_text("[1]")
    with pytest.raises(InputError, match="expected a JSON object"):
        load_settings(tmp_path)


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
    with pytest.raises(InputError, match="none: expected a text file, found nothing"):
        describe_file(tmp_path / "none")
