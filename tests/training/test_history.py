"""What a history says, and runs that end because of it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.config import RunConfig
from lstm_jax.data.text import encode_text
from lstm_jax.lm.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.evaluation import window256
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import text_task
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.training.history import (
    HistoryRow,
    best_validation,
    out_of_patience,
    overfitting_began,
    validations,
    waited,
)
from lstm_jax.training.trainer import Trained
from tests.helpers.tiny_models import create_run
from tests.helpers.tiny_runs import run_once


def history(
    losses: Sequence[float | None], training: Sequence[float | None] | None = None
) -> list[HistoryRow]:
    """Lines at steps 1, 2, 3, ... with these losses, None for a line without one."""
    training = training or [None] * len(losses)
    return [
        HistoryRow(
            *(step, float(step), 8 * step, float(step), 0.1, 1.0, 8.0),
            train={"loss": 1.0},
            train_eval={} if trained is None else {"loss": trained},
            val={} if loss is None else {"loss": loss},
        )
        for step, (loss, trained) in enumerate(zip(losses, training, strict=True), 1)
    ]


def test_a_metric_whose_name_would_be_read_as_another_is_refused() -> None:
    (row,) = history([None])
    with pytest.raises(ValueError, match="eval_recall: expected the name of a metric"):
        dataclasses.replace(row, train={"loss": 1.0, "eval_recall": 0.5})


# The best.


def test_the_best_is_the_first_of_the_lowest() -> None:
    lines = history([None, 3.0, 2.0, None, 2.0, 2.5])
    assert [line.step for line in validations(lines)] == [2, 3, 5, 6]
    best = best_validation(lines)
    assert best and best.step == 3
    assert best_validation(history([None, None])) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_neither_best_nor_an_improvement(bad: float) -> None:
    best = best_validation(history([bad, 3.0, bad, 2.0, bad]))
    assert best and best.step == 4
    assert best_validation(history([bad, bad])) is None
    assert waited(history([bad, bad])) == 2
    assert waited(history([bad, 3.0, bad])) == 1
    assert out_of_patience(history([bad, 3.0, bad]), 2) is None
    assert overfitting_began(history([bad, bad, bad], [3, 2, 1])) is None


# Patience.


@pytest.mark.parametrize(
    ("losses", "least", "expected"),
    [
        ([], 0.0, 0),
        ([3.0], 0.0, 0),
        ([3.0, None, 2.0], 0.0, 0),
        ([3.0, 3.0], 0.0, 1),  # equal is no improvement
        ([3.0, 2.0, 2.5, None, 2.1], 0.0, 2),
        ([3.0, 4.0, 2.9], 0.0, 0),
        ([3.0, 2.9, 2.8], 0.15, 0),  # small steps add up
        ([3.0, 2.9, 2.95], 0.15, 2),
        ([3.0, 2.5], 0.5, 1),  # by more than this, not by as much
    ],
)
def test_validations_waited(
    losses: list[float | None], least: float, expected: int
) -> None:
    assert waited(history(losses), least) == expected


LOSSES = st.lists(st.floats(0, 5), min_size=1, max_size=12)


@given(LOSSES)
def test_one_has_waited_since_the_best(losses: list[float]) -> None:
    """Independently: without a least improvement, the reference is the best so far."""
    assert waited(history(losses)) == len(losses) - 1 - int(np.argmin(losses))


@given(LOSSES, st.integers(1, 4), st.floats(0, 1))
def test_patience_runs_out_step_by_step(
    losses: list[float], patience: int, least: float
) -> None:
    """A run asks after every line; it is told to end at the first that is too many."""
    lowest, unlucky = losses[0], 0
    for k in range(1, len(losses)):
        improved = losses[k] < lowest - least
        lowest, unlucky = (losses[k], 0) if improved else (lowest, unlucky + 1)
        ended = out_of_patience(history(losses[: k + 1]), patience, least)
        assert (ended is not None) == (unlucky >= patience)
        if ended:
            assert ended.startswith(f"no improvement in {patience} validation")
    assert out_of_patience(history(losses), None, least) is None


# Overfitting.


@pytest.mark.parametrize(
    ("losses", "training", "expected"),
    [
        ([3, 2, 2.1, 2.2, 2.3], [3, 2, 1.9, 1.8, 1.7], 3),
        ([3, 2, 2.1, 1.9, 2.0], [3, 2, 1.9, 1.8, 1.7], None),  # once is chance
        ([3, 2, 2.1, 2.2, 2.3], [3, 2, 2.1, 1.9, 1.8], 4),  # at first it diverged
        ([3, 2, 2.1, 2.2, 2.3], [3, 2, 2.1, 2.2, 2.3], None),  # it only diverged
        ([3, 2, 2.1, 2.2, 2.3], [3, 2, 1.9, 1.8, 2.5], None),  # and so in the end
        ([3, 2.5, 2], [3, 2, 1], None),
        ([None, None], [None, None], None),
        ([3, None, 2, None, 2.1, 2.2], [3, None, 2, None, 1.9, 1.8], 5),
    ],
)
def test_where_overfitting_began(
    losses: list[float | None],
    training: list[float | None],
    expected: int | None,
) -> None:
    began = overfitting_began(history(losses, training))
    assert (began.step if began else None) == expected


def test_overfitting_is_not_claimed_without_a_measure() -> None:
    assert overfitting_began(history([1.0, 2.0, 3.0])) is None


# Runs. Those that are the same program are compiled once.

WORDS = "the cat sat on a mat and ran to see what was in that hat of mine".split()
TEXT = " ".join(np.random.default_rng(0).choice(WORDS, size=150))
CORPUS, VOCAB = encode_text(TEXT, "char", 0.2)
# 20 steps, a validation every other step; nothing improves by 9 nats.
CONFIG = TrainConfig(
    text=DataConfig(validation_fraction=0.2),
    model=ModelConfig(layers=1, hidden=8, dropout=0.1),
    optimizer=OptimizerConfig(batch=16, length=7, learning_rate=0.03),
    run=RunConfig(
        epochs=4, evaluations=10, steps_per_call=2, patience=3, min_improvement=9.0
    ),
)


def train(
    run: RunDirectory,
    config: TrainConfig = CONFIG,
    *,
    calls: int | None = None,
    resume: bool = False,
) -> Trained:
    """Train for some calls, or until it ends by itself."""
    texts = {"corpus": CORPUS, "vocab": VOCAB}
    return run_once(run, config, calls=calls, resume=resume, **texts)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run directory, as the train command prepares it."""
    run = create_run(tmp_path / "run")
    run.start(CONFIG, VOCAB)
    return run


def measured(outcome: Trained) -> list[tuple]:
    """The history without what the clock says."""
    return [
        (line.step, line.train_loss, line.val_loss, line.ended)
        for line in outcome.history
    ]


def test_a_run_without_improvement_ends_and_keeps_the_best(
    run: RunDirectory,
) -> None:
    """Stopped at the 4th validation, and after an interruption at the same one."""
    outcome = train(run)
    assert outcome.ended == "no improvement in 3 validations"
    assert [line.step for line in outcome.history] == [2, 4, 6, 8]
    assert run.history.read() == outcome.history
    assert [line.ended for line in run.history.read()] == [None] * 3 + [outcome.ended]
    best = best_validation(outcome.history)
    assert best and outcome.step == best.step
    found = window256(outcome.model, CORPUS.validation)
    assert found.mean_loss() == pytest.approx(best.val_loss, rel=1e-5)
    for one, other in zip(
        *map(jax.tree.leaves, (load_text_model(run.path).model, outcome.model)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)

    # Resumed, it stays over; with more patience it goes on.
    again = train(run, resume=True)
    assert (again.ended, measured(again)) == (outcome.ended, measured(outcome))
    patient = dataclasses.replace(CONFIG.run, patience=5)
    longer = train(run, dataclasses.replace(CONFIG, run=patient), resume=True)
    assert longer.ended == "no improvement in 5 validations"
    assert [line.step for line in longer.history] == [2, 4, 6, 8, 10, 12]
    assert [line.ended for line in run.history.read()] == [None] * 5 + [longer.ended]


def test_patience_survives_an_interruption(run: RunDirectory, tmp_path: Path) -> None:
    whole = create_run(tmp_path / "whole")
    whole.start(CONFIG, VOCAB)
    expected = train(whole)
    first = train(run, calls=3)
    assert first.ended == run.history.read()[-1].ended == "interrupted"
    assert measured(train(run, resume=True)) == measured(expected)


def test_training_and_validation_are_measured_alike(run: RunDirectory) -> None:
    """The comparable training loss: no dropout, and as many windows."""
    outcome = train(run, calls=1)
    task = text_task(CONFIG, CORPUS)
    assert task.evaluate and task.evaluate_training
    model = outcome.model
    line = outcome.history[0]
    # One window was held out: of the training text the first one is measured.
    assert len(CORPUS.validation) <= 257 < CORPUS.train_size
    expected = window256(model, CORPUS.train[:257])
    assert line.train_eval_loss == pytest.approx(expected.mean_loss(), rel=1e-5)
    assert line.train_eval["accuracy"] == pytest.approx(expected.values()["accuracy"])
    assert line.val_loss == pytest.approx(task.evaluate(model).mean_loss())


def test_nothing_is_measured_if_nothing_was_held_out() -> None:
    whole, _ = encode_text(TEXT, "char", 0.0)
    task = text_task(CONFIG, whole)
    assert task.evaluate is None and task.evaluate_training is None
