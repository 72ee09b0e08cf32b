"""A loss or a gradient that is no finite number: named, not taken, backed off from."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import build_model, first_state
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.metrics.losses import LossSums, Mean, loss_sums
from lstm_jax.models.language import language_loss
from lstm_jax.training.loop import NotFinite
from lstm_jax.training.step import TrainState, init_state, train_steps
from lstm_jax.typing import Batch, Carry, Model
from tests.helpers.tiny_runs import (
    CONFIG,
    VOCAB,
    assert_same,
    computed,
    new_run,
    run_once,
)


def spoiled_squares(
    model: Model, carry: Carry, batch: Batch, key: Array | None
) -> tuple[LossSums, Carry]:
    """A loss whose value or whose gradient a batch can spoil."""
    error = jnp.sum((model["w"] - batch["target"]) ** 2) + batch["spoil"]
    root = jnp.sqrt(jnp.sum((model["w"] * batch["factor"]) ** 2))  # of 0, no gradient
    return loss_sums(error + root, jnp.float32(0)), carry + 1


def a_state() -> TrainState:
    model = {"w": jnp.arange(3.0)}
    return init_state(model, optax.identity(), jnp.int32(0), jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "value"), [("spoil", np.nan), ("spoil", np.inf), ("factor", 0.0)]
)
def test_the_step_is_not_taken_and_none_after_it(name: str, value: float) -> None:
    batches = {
        "target": np.ones((5, 3), np.float32),
        "spoil": np.zeros(5, np.float32),
        "factor": np.ones(5, np.float32),
    }
    steps = jax.jit(functools.partial(train_steps, spoiled_squares, optax.identity()))
    rates = jnp.full(5, 0.1)
    expected, good = steps(a_state(), batches, rates, jnp.int32(2))
    assert expected.step == expected.carry == 2
    batches[name][2] = value
    found, report = steps(a_state(), batches, rates, jnp.int32(5))
    assert_same(found, expected)
    assert_same(report.sums, good.sums)


# A whole run. The language model's loss is spoiled once its weights are long enough, as
# they are at step 15 at the full learning rate, and never at a quarter of it from step
# 12 on. So the checkpoint of step 15 is not a good one, and that of step 12 is.

LIMIT = 16.76


def fragile_loss(
    model: Model, carry: Carry, batch: Batch, key: Array | None
) -> tuple[LossSums, Carry]:
    """No number for long weights."""
    sums, carry = language_loss(model, carry, batch, key)
    length = optax.tree.norm(jax.lax.stop_gradient(model))
    spoiled = jnp.where(length > LIMIT, jnp.nan, sums.loss)
    loss = Mean(spoiled, sums.count)
    return LossSums({**sums.metrics, "loss": loss}, sums.penalty), carry


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstm_jax.lm.task.language_loss", fragile_loss)


def with_run(**changes: Any) -> TrainConfig:  # noqa: ANN401
    """The usual run with other settings."""
    return dataclasses.replace(CONFIG, run=dataclasses.replace(CONFIG.run, **changes))


def length_of(run: RunDirectory) -> float:
    return float(optax.tree.norm(load_text_model(run.path).model))


@pytest.mark.usefixtures("fragile")
def test_the_run_stops_and_names_the_step(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(NotFinite, match=r"^step \d+: expected a finite loss") as raised:
        run_once(run)
    last = run.history.read()[-1].step
    assert last < raised.value.step <= last + CONFIG.run.steps_per_call
    # What is in memory is the state before that very step, what is on disk a good one.
    state = raised.value.state
    assert int(state.step) == raised.value.step - 1
    assert optax.tree.norm(state.model) > LIMIT, "whose loss it is"
    assert np.isfinite(length_of(run))
    assert all(np.isfinite(line.train_loss) for line in run.history.read())
    like = jax.eval_shape(lambda: first_state(CONFIG, VOCAB))
    assert jax.tree.structure(state) == jax.tree.structure(like)


@pytest.mark.usefixtures("fragile")
@pytest.mark.parametrize("shard_model", [False, True])
def test_backing_off_goes_on_to_the_end(
    shard_model: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if shard_model:
        pytest.importorskip("orbax.checkpoint", reason="the extra `sharded`")
    config = with_run(on_nan="backoff", checkpoint_steps=3, shard_model=shard_model)
    whole, run = (new_run(tmp_path / name, config) for name in ("whole", "run"))
    outcome = run_once(whole, config)
    lines = whole.history.read()
    assert outcome.ended == "finished" and lines == outcome.history
    assert [line.step for line in lines] == list(range(3, 31, 3))
    assert all(np.isfinite(line.train_loss) for line in lines)
    notes = [text for text in caplog.messages if "no finite number" in text]
    assert [note.split("; ")[1] for note in notes] == [
        "going on from step 15 at 0.5 of the learning rate",
        "going on from step 12 at 0.25 of the learning rate",
    ]
    # Killed on the way and resumed, it is the same run: the rate is in the checkpoint.
    run_once(run, config, calls=6)
    found = run_once(run, config, resume=True)
    assert computed(run.history.read()) == computed(lines)
    assert_same(found.model, outcome.model)


@pytest.mark.usefixtures("fragile")
def test_backing_off_ends_if_nothing_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long_from_the_start(config: TrainConfig, vocab: CharTokenizer) -> Model:
        return jax.tree.map(lambda w: 2 * w, build_model(config, vocab))

    monkeypatch.setattr("lstm_jax.lm.task.build_model", too_long_from_the_start)
    config = with_run(on_nan="backoff")
    run = new_run(tmp_path / "run", config)
    with pytest.raises(NotFinite, match=r"^step 1:"):
        run_once(run, config)
    assert run.history.read() == [] and np.isfinite(length_of(run))


def test_without_a_directory_there_is_nothing_to_go_back_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lstm_jax.lm.task.language_loss", fragile_loss)
    with pytest.raises(NotFinite):
        run_once(None, with_run(on_nan="backoff"))
