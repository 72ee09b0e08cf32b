"""Training from Python: kept, shown and continued as the command does it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.config import RunConfig
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.loading import load_text
from lstm_jax.lm.training import fit_text
from lstm_jax.training.history import HistoryFile
from tests.helpers.tiny_models import LESSON, config

SHORT = LESSON[:200]


def settings(**run: object) -> TrainConfig:
    """One epoch, or what else is asked for."""
    given = {"epochs": 1, "evaluations": 2, **run}
    return dataclasses.replace(config(), run=RunConfig(**given))  # pyrefly: ignore


def test_a_run_is_kept_and_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    model = fit_text(SHORT, settings(run_dir=kept), show=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("100%") and "val " in lines[-1]
    history = HistoryFile(kept / "metrics.jsonl").read()
    assert [row.step for row in model.history] == [row.step for row in history]
    assert (kept / "curves.png").exists()
    again = load_text(kept)
    np.testing.assert_array_equal(again.model.w_out[...], model.model.w_out[...])
    assert generate_text(again, "ab", 9) == generate_text(model, "ab", 9)
    with pytest.raises(InputError, match="expected a new folder"):
        fit_text(SHORT, settings(run_dir=kept))

    longer = fit_text(SHORT, settings(run_dir=kept, resume=True, epochs=2))
    assert longer.history[-1].step == 2 * model.history[-1].step
    with pytest.raises(InputError, match="expected the text of the run"):
        fit_text(SHORT[:-7] + "abcdab,", settings(run_dir=kept, resume=True))
    with pytest.raises(InputError, match="--seed 0, found 1"):
        fit_text(SHORT, settings(run_dir=kept, resume=True, seed=1))
    fit_text(SHORT, settings(run_dir=kept, overwrite=True))
    assert len(HistoryFile(kept / "metrics.jsonl").read()) == len(history)
    assert capsys.readouterr().out == ""


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(InputError, match="--tensorboard: expected --run-dir"):
        fit_text(SHORT, settings(tensorboard=True))
    with pytest.raises(InputError, match="--resume: expected --run-dir"):
        fit_text(SHORT, settings(resume=True))
    with pytest.raises(InputError, match="text: expected a str, found bytes"):
        fit_text(SHORT.encode(), settings())


def test_events_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    fit_text(SHORT, settings(run_dir=tmp_path / "kept", tensorboard=True))
    assert list((tmp_path / "kept" / "tensorboard").iterdir())
