"""Cross-validation of a text: blocks, vocabularies, and that nothing leaks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.config import RunConfig
from lstm_jax.data.folds import block_folds
from lstm_jax.data.special_ids import NO_PREDICTION
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.cross_validation import cross_validate_text, fold_job
from lstm_jax.training.cross_validation import CrossValidation
from tests.helpers.commands import assert_done, assert_refused, call

CONFIG = TrainConfig(
    model=ModelConfig(layers=1, hidden=8, dropout=0.1),
    optimizer=OptimizerConfig(batch=2, length=8, learning_rate=0.02),
    run=RunConfig(epochs=4, steps_per_call=8),
)
# Three blocks of 200: Z is in the second one alone.
TEXT = "abc abd " * 25 + "abZ abd " * 25 + "abc abd " * 25
BLOCKS = block_folds(600, 3)


def test_a_fold_is_the_text_without_its_block() -> None:
    text = "abcdefghij"
    for fold, (rest, seam) in zip(
        block_folds(10, 3),
        (("efghij", None), ("abcdhij", 4), ("abcdefg", None)),
        strict=True,
    ):
        job = fold_job(text, fold.test, CONFIG)
        assert job.vocab.decode(job.corpus.ids) == rest
        assert job.corpus.seam == seam and not job.corpus.has_validation


def test_the_block_leaves_no_trace() -> None:
    """Whatever stands there: vocabulary and training text are the same."""
    for fold in BLOCKS:
        symbols = list(TEXT)
        symbols[fold.test[0] : fold.test[-1] + 1] = "§" * len(fold.test)
        clean, poisoned = (
            fold_job(text, fold.test, CONFIG) for text in (TEXT, "".join(symbols))
        )
        assert poisoned.vocab == clean.vocab and poisoned.config == clean.config
        np.testing.assert_array_equal(poisoned.corpus.ids, clean.corpus.ids)
    has_z = ["Z" in fold_job(TEXT, f.test, CONFIG).vocab.characters for f in BLOCKS]
    assert has_z == [True, False, True]


@pytest.fixture(scope="module")
def found() -> CrossValidation:
    """One seed, fold by fold."""
    (result,) = cross_validate_text(TEXT, CONFIG, 3)
    return result


def test_every_symbol_is_predicted_out_of_fold(found: CrossValidation) -> None:
    """The scores of a fold are those of its predictions."""
    predicted, nats = found.predictions["predicted"], found.predictions["nats"]
    assert len(predicted) == len(nats) == len(TEXT)
    codes = np.array([ord(c) for c in TEXT])
    for fold, block in zip(found.folds, BLOCKS, strict=True):
        first, rest = block.test[0], block.test[1:]
        assert predicted[first] == NO_PREDICTION and np.isnan(nats[first])
        assert fold["stream_loss"] == pytest.approx(nats[rest].mean(), rel=1e-5)
        right = (predicted[rest] == codes[rest]).mean()
        assert fold["stream_accuracy"] == pytest.approx(right)
        assert right > 0.6, "something was learned"
    assert ord("Z") not in predicted[BLOCKS[1].test], "never seen, never predicted"
    z = np.flatnonzero(codes == ord("Z"))
    assert nats[z].min() > 2, "and a surprise"


def test_together_is_fold_by_fold(found: CrossValidation) -> None:
    seeds = cross_validate_text(TEXT, CONFIG, 3, (0, 1), jointly=True)
    assert len(seeds) == 2
    for one, other in zip(seeds[0].folds, found.folds, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)
    for name, values in found.predictions.items():
        np.testing.assert_allclose(seeds[0].predictions[name], values, rtol=2e-3)
    assert seeds[1].mean["stream_loss"] != pytest.approx(
        seeds[0].mean["stream_loss"], rel=1e-3
    )


def test_bytes_can_be_folded() -> None:
    """Also those that are no text."""
    text = dataclasses.replace(CONFIG.text, vocab="byte")
    config = dataclasses.replace(CONFIG, text=text)
    raw = bytes([200, 10, 255, 0] * 12)
    job = fold_job(raw, np.arange(7, 20), config)
    assert bytes(job.corpus.ids) == raw[:7] + raw[20:] and len(job.vocab) == 256


def test_a_text_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="blocks of at least 2 symbols, found 4 folds"):
        cross_validate_text("abcdefg", CONFIG, 4)


# The command.


@pytest.mark.parametrize(
    ("given", "mentioned"),
    [
        ((), "--data: expected a text file, found none"),
        (("--data", "missing.txt"), "missing.txt: expected a text file"),
        (("--data", "t.txt", "--seeds", "0"), "--seeds: expected 1 or more"),
        (("--data", "t.txt", "--hidden", "0"), "--hidden: expected a number from 1"),
        (
            ("--data", "t.txt", "--jointly", "--max-seconds", "3"),
            "--jointly: expected --epochs, found --max-seconds",
        ),
        (("--data", "t.txt", "--run-dir", "full"), "expected an empty folder or a run"),
        (("--data", "t.txt", "--run-dir", "node", "--overwrite"), "or a run"),
        (("--data", "t.txt", "--run-dir", "t.txt/a"), "expected a folder to write to"),
        (("--data", "t.txt", "--folds", "1"), "folds: expected"),
        (("--data", "t.txt", "--folds", "301"), "folds: expected blocks"),
        (("--data", "t.txt", "--engine", "cudnn"), "--engine: engine 'cudnn': needs"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: tuple[str, ...], mentioned: str, tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_text(TEXT)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "config.json").write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    assert_refused(call("crossval", *given, cwd=tmp_path), mentioned)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_prints_and_keeps(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TEXT)
    # The programs are those of CONFIG.
    small = "--hidden 8 --layers 1 --dropout 0.1 --batch 2 --length 8 --epochs 1"
    given = ("crossval", "--data", "t.txt", *small.split(), "--steps-per-call", 8)
    given += ("--learning-rate", 0.02, "--folds", 3)
    done = call(*given, "--seeds", 2, "--jointly", cwd=tmp_path)
    assert_done(done)
    folder, printed = tmp_path / "runs" / "t-crossval", done.stdout
    assert "6 models trained jointly" in printed and "means over folds" in printed
    for seed in (0, 1):
        kept = json.loads((folder / f"seed-{seed}" / "crossval.json").read_text())
        assert len(kept["folds"]) == 3
        assert f"{kept['mean']['stream_loss']:.4f}" in printed
        with np.load(folder / f"seed-{seed}" / "predictions.npz") as arrays:
            assert arrays["nats"].shape == (600,)
    assert (folder / "config.json").is_file()
    again = call(*given, cwd=tmp_path)
    assert_refused(again, "found a run; --overwrite replaces it\n")
    (folder / "seed-0" / "notes.txt").touch()
    assert call(*given, "--overwrite", cwd=tmp_path).returncode == 0
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        *("config.json", "crossval.json", "predictions.npz", "seed-0/notes.txt")
    }


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_folds_that_came_to_nothing_leave_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object, **named: object) -> None:
        assert any(tmp_path.rglob("config.json.draft"))
        raise error

    monkeypatch.setattr("lstm_jax.lm.cross_validation.cross_validate_text", failing)
    (tmp_path / "t.txt").write_text(TEXT)
    given = ("crossval", "--data", "t.txt", "--hidden", 8)
    if isinstance(error, KeyboardInterrupt):
        assert call(*given, cwd=tmp_path).returncode == 130
    else:
        with pytest.raises(RuntimeError):
            call(*given, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]
