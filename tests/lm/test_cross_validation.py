"""Cross-validation of a text: blocks, vocabularies, and that nothing leaks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.config import RunConfig
from lstm_jax.data.folds import block_folds
from lstm_jax.data.special_ids import NO_PREDICTION
from lstm_jax.errors import InputError, Interrupted
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.cross_validation import (
    cross_validate_text,
    cross_validations,
    fold_job,
)
from lstm_jax.lm.joint_training import Job
from lstm_jax.training.cross_validation import CrossValidation
from tests.helpers.commands import assert_done, assert_refused, call, contents
from tests.helpers.stops import After

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
    has_z = [not fold_job(TEXT, f.test, CONFIG).vocab.unknown("Z") for f in BLOCKS]
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


@pytest.fixture(scope="module")
def together() -> list[CrossValidation]:
    """Two seeds, as few programs as there are shapes."""
    return cross_validate_text(TEXT, CONFIG, 3, (0, 1), jointly=True)


def test_together_is_fold_by_fold(
    found: CrossValidation, together: list[CrossValidation]
) -> None:
    assert len(together) == 2
    for one, other in zip(together[0].folds, found.folds, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)
    for name, values in found.predictions.items():
        np.testing.assert_allclose(together[0].predictions[name], values, rtol=2e-3)
    assert together[1].mean["stream_loss"] != pytest.approx(
        together[0].mean["stream_loss"], rel=1e-3
    )


def assert_same(one: CrossValidation, other: CrossValidation) -> None:
    """To the bit."""
    assert one.folds == other.folds
    assert one.predictions.keys() == other.predictions.keys()
    for name, values in one.predictions.items():
        assert values.dtype == other.predictions[name].dtype
        np.testing.assert_array_equal(values, other.predictions[name])


def test_stopped_inside_a_fold_it_goes_on_there(
    found: CrossValidation, tmp_path: Path
) -> None:
    """A fold is 13 calls."""
    with pytest.raises(Interrupted, match="fold 2 of 3 is not finished; --resume"):
        cross_validate_text(TEXT, CONFIG, 3, folder=tmp_path, stop=After(20))
    said, rows = list[str](), After(10**9)
    (result,) = cross_validate_text(
        TEXT, CONFIG, 3, folder=tmp_path, stop=rows, log=said.append
    )
    assert_same(result, found)
    assert rows.seen == 6 + 13, "what was done is not done again"
    assert [line.split(":")[0] for line in said] == [
        f"seed 0, fold {k} of 3" for k in (2, 3)
    ]


def test_stopped_between_folds_it_goes_on_with_the_next(
    found: CrossValidation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def job(text: str, test: np.ndarray, config: TrainConfig) -> Job:
        if test[0] > 0:
            raise Killed
        return fold_job(text, test, config)

    with monkeypatch.context() as patch:
        patch.setattr("lstm_jax.lm.cross_validation.fold_job", job)
        with pytest.raises(Killed):
            cross_validate_text(TEXT, CONFIG, 3, folder=tmp_path)
    rows = After(10**9)
    (result,) = cross_validate_text(TEXT, CONFIG, 3, folder=tmp_path, stop=rows)
    assert_same(result, found)
    assert rows.seen == 2 * 13


def test_models_that_train_together_go_on_together(
    together: list[CrossValidation], tmp_path: Path
) -> None:
    """Also after the first of two programs, and after a kill while they are tested."""
    given = TEXT, CONFIG, 3, (0, 1)
    with pytest.raises(Interrupted, match=r"no fold is finished, .*; --resume goes"):
        cross_validate_text(*given, jointly=True, folder=tmp_path, stop=After(20))

    class Killed(BaseException):
        pass

    def say(line: str) -> None:
        if "seed 0, fold 3" in line:
            raise Killed

    rows = After(10**9)
    with pytest.raises(Killed):
        cross_validate_text(*given, jointly=True, folder=tmp_path, stop=rows, log=say)
    assert rows.seen == 6
    again = cross_validate_text(*given, jointly=True, folder=tmp_path, stop=rows)
    assert rows.seen == 6, "they were trained"
    for one, other in zip(again, together, strict=True):
        assert_same(one, other)
    assert not list(tmp_path.rglob("checkpoints"))


def test_another_text_or_other_settings_are_refused(tmp_path: Path) -> None:
    run = dataclasses.replace(CONFIG.run, epochs=1)
    config = dataclasses.replace(CONFIG, run=run)
    given = (TEXT, config, 3)
    cross_validations(*given, folder=tmp_path)  # the plan is there, and nothing else
    wider = dataclasses.replace(
        config, model=dataclasses.replace(CONFIG.model, hidden=9)
    )
    for text, other, folds, seed, mentioned in (
        (TEXT.replace("Z", "Y"), config, 3, 0, "the text that .* was begun with"),
        (TEXT, wider, 3, 0, "--hidden as the run has it, 8, found 9"),
        (TEXT, CONFIG, 3, 0, "--epochs as the run has it, 1, found 4"),
        (TEXT, config, 4, 0, "--folds as the run has it, 3, found 4"),
        (TEXT, config, 3, 1, "--seed as the run has it, 0, found 1"),
    ):
        with pytest.raises(InputError, match=f"^--resume: expected {mentioned}"):
            cross_validate_text(text, other, folds, (seed,), folder=tmp_path)
    with pytest.raises(InputError, match="--jointly as the run has it, False"):
        cross_validate_text(*given, jointly=True, folder=tmp_path)
    elsewhere = dataclasses.replace(run, run_dir=tmp_path / "elsewhere")
    cross_validations(
        TEXT, dataclasses.replace(config, run=elsewhere), 3, folder=tmp_path
    )
    assert [path.name for path in tmp_path.iterdir()] == ["crossval-plan.json"]


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
        (("--data", "missing.txt"), "missing.txt: expected a file"),
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
        (("--data", "t.txt", "--max-seconds", "1e-6"), "--max-seconds: expected time"),
        (("--resume",), "--resume: expected --run-dir, found none"),
        (("--resume", "--data", "t.txt"), "runs/t-crossval: expected a run directory"),
        (("--resume", "--run-dir", "node"), "expected a cross-validation that was beg"),
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
    assert_refused(again, "found a run; --resume continues it, --overwrite replaces")
    resumed = ("crossval", "--resume", "--data", "t.txt")
    before = contents(tmp_path)
    (tmp_path / "t.txt").write_text(TEXT.replace("Z", "Y"))
    assert_refused(call(*resumed, cwd=tmp_path), "--resume: expected the text that")
    (tmp_path / "t.txt").write_text(TEXT)
    for words, mentioned in (
        (("--hidden", 9), "--resume: expected --hidden as the run has it, 8, found 9"),
        (("--seeds", 3), "--resume: expected --seeds as the run has it"),
        (("--overwrite",), "expected --resume or --overwrite, found both"),
    ):
        assert_refused(call(*resumed, *words, cwd=tmp_path), mentioned)
    assert contents(tmp_path) == before
    (folder / "seed-0" / "notes.txt").touch()
    assert call(*given, "--overwrite", cwd=tmp_path).returncode == 0
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        *("config.json", "crossval.json", "predictions.npz", "seed-0/notes.txt"),
        *("folds/crossval-plan.json", "folds/seed-0/fold-1.json"),
        *("folds/seed-0/fold-2.json", "folds/seed-0/fold-3.json"),
    }


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
def test_folds_that_came_to_nothing_leave_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object, **named: object) -> None:
        assert any(tmp_path.rglob("config.json.draft"))
        raise error

    monkeypatch.setattr("lstm_jax.lm.cross_validation.cross_validations", failing)
    (tmp_path / "t.txt").write_text(TEXT)
    given = ("crossval", "--data", "t.txt", "--hidden", 8)
    if isinstance(error, KeyboardInterrupt):
        assert call(*given, cwd=tmp_path).returncode == 130
    else:
        with pytest.raises(RuntimeError):
            call(*given, cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]
