"""Training from Python: kept, shown and continued as the command does it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lstm_jax import train
from lstm_jax.config import RunConfig
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.fine_tuning import _has_begun
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.loading import load_text
from lstm_jax.lm.training import fit_text
from lstm_jax.storage.files import read_json
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


def open_settings(**run: object) -> TrainConfig:
    """Dropout, and perhaps the length, are left open."""
    open_ = dataclasses.replace(config().model, dropout=None)
    return dataclasses.replace(config(), model=open_, run=RunConfig(**run))  # pyrefly: ignore


def test_what_was_left_open_is_that_of_the_run(tmp_path: Path) -> None:
    """Although more passes would ask for more dropout."""
    kept = tmp_path / "kept"
    model = fit_text(SHORT, open_settings(run_dir=kept, epochs=8, evaluations=2))
    assert model.config.model.dropout == 0.15
    longer = open_settings(run_dir=kept, resume=True, epochs=16, evaluations=2)
    assert fit_text(SHORT, longer).history[-1].epoch == pytest.approx(16)
    same = fit_text(SHORT, open_settings(run_dir=kept, resume=True, evaluations=2))
    assert same.config.run.epochs == 16 and same.config.model.dropout == 0.15


def test_a_fine_tuned_run_is_continued(tmp_path: Path) -> None:
    """Its symbols are those of the model it began with, and more."""
    start = fit_text(SHORT, settings())
    new = "cab, fed, " * 20
    asked = {"run_dir": tmp_path / "kept", "evaluations": 2}
    before = fit_text(new, settings(**asked), start=start)
    again = settings(**asked, epochs=2, resume=True)
    after = fit_text(new, again, start=start)
    assert after.history[-1].step == 2 * before.history[-1].step
    assert after.vocab.names() == before.vocab.names()


def test_the_command_goes_on_with_a_run_of_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which has no file of its text, and is no "hello world"."""
    kept = tmp_path / "kept"
    fit_text(SHORT, settings(run_dir=kept))
    assert train.main(["--resume", "--run-dir", str(kept), "--epochs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "hel" not in printed.replace("held", "") and "parameters" in printed
    assert (kept / "summary.json").exists() and (kept / "samples.txt").exists()


def test_a_finished_run_without_a_history_is_still_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is resumed."""
    kept = tmp_path / "kept"
    fit_text(SHORT, settings(run_dir=kept))
    (kept / "metrics.jsonl").unlink()
    for _ in range(2):
        assert train.main(["--resume", "--run-dir", str(kept)]) == 0
        assert "has no history; it begins anew" in caplog.text
        caplog.clear()
    assert read_json(kept / "summary.json", "a summary")["steps"] is None
    longer = ["--resume", "--run-dir", str(kept), "--epochs", "2"]
    assert train.main(longer) == 0
    assert HistoryFile(kept / "metrics.jsonl").read()


def test_a_draft_of_a_checkpoint_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    """The model of --from is; a run killed at its first checkpoint has no other."""
    (tmp_path / "checkpoints" / "0.draft").mkdir(parents=True)
    assert not _has_begun(tmp_path)
    (tmp_path / "checkpoints" / "0").mkdir()
    (tmp_path / "checkpoints" / "0" / "record.json").touch()
    assert _has_begun(tmp_path) and not _has_begun(None)


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
