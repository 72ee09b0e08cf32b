"""One classifier with a validation and a test part, without cross-validation."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.results import read_result
from experiments.sentiment import __main__ as sentiment
from experiments.sentiment.data import LabelledTexts, split
from lstm_jax import InputError
from tests.helpers.experiment_runs import call

DATA = sentiment.generated()
SMALL = (
    *("--symbols", 40, "--features", 8, "--hidden", 8, "--members", 2, "--batch", 16),
    *("--dropout", 0.1, "--word-dropout", 0, "--learning-rate", 2e-2),
)


def table(path: Path, rows: range) -> Path:
    """Some of the generated texts as a file."""
    lines = (f"{DATA.texts[k]},{DATA.classes[DATA.labels[k]]}\n" for k in rows)
    path.write_text("text,label\n" + "".join(lines))
    return path


def history(run_dir: Path) -> list[dict]:
    text = (run_dir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_one_classifier_is_trained_chosen_and_tested(tmp_path: Path) -> None:
    """Of 100 texts 10 are tested on, and 9 of the rest choose the best step."""
    data = table(tmp_path / "a.csv", range(100))
    run_dir = tmp_path / "run"
    words = ("--data", data, "--folds", 1, "--epochs", 2, "--run-dir", run_dir)
    done = call("sentiment", *words, *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fold 1" not in done.stdout and "LSTM, 10 texts" in done.stdout
    result = read_result(run_dir)
    assert result.protocol == "test on 10 texts held out, stratified"
    assert result.data == "a.csv, 100 texts" and "±" not in result.ours
    assert "--folds 1" in result.command
    assert any(row.get("val_accuracy") for row in history(run_dir))
    assert not (run_dir / "folds").exists()
    assert (run_dir / "confusion-lstm.png").exists()


def test_files_of_their_own_choose_and_test(tmp_path: Path) -> None:
    data = table(tmp_path / "a.csv", range(100))
    test, validation = table(tmp_path / "b.csv", range(100, 130)), tmp_path / "c.csv"
    table(validation, range(130, 160))
    run_dir = tmp_path / "run"
    words = ("--data", data, "--test", test, "--validation", validation)
    patient = ("--patience", 1, "--min-improvement", 0.01)
    patient += ("--epochs", 40, "--evaluations", 40)
    done = call(
        *("sentiment", *words, "--folds", 0, *patient, "--run-dir", run_dir, *SMALL)
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = read_result(run_dir)
    assert result.protocol == "test on 30 texts of their own"
    assert result.data == "a.csv c.csv b.csv, 160 texts"
    rows = history(run_dir)
    assert len(rows) < 40 * 100 // 16, "it has no patience with what gets no better"
    done = call("sentiment", "evaluate", run_dir, "--data", test, "--json")
    accuracy = json.loads(done.stdout.splitlines()[-1])["accuracy"]
    assert result.ours.startswith(f"LSTM and n-grams {100 * accuracy:.1f} (")


@pytest.mark.slow
def test_a_test_part_beside_folds(tmp_path: Path) -> None:
    data, test = tmp_path / "a.csv", table(tmp_path / "b.csv", range(40, 50))
    table(data, range(40))
    words = ("--data", data, "--test", test, "--folds", 2, "--epochs", 1)
    done = call("sentiment", *words, "--run-dir", tmp_path / "run", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    result = read_result(tmp_path / "run")
    folds = "2-fold cross-validation, stratified, and test on 10 texts of their own"
    assert result.protocol == folds
    assert "±" in result.ours and "; test part LSTM and n-grams " in result.ours
    for part in ("LSTM alone", "n-grams alone"):
        assert f"; {part} " in result.ours


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "-1"], "^--folds: expected 0 or more, found -1"),
        (["--folds", "41"], "^--folds: expected a number from 2 to 40, the number of "),
        (["--test-fraction", "0"], r"^--test-fraction: expected a number in \(0, 0"),
        (["--patience", "2"], "^--patience: expected --evaluations and a held-out"),
        (["--test", "other.csv"], "^--test: expected the labels neg, pos, found so-so"),
        (["--validation", "other.csv"], "^--validation: expected the labels neg, pos"),
        (
            ["--validation", "a.csv", "--validation-fraction", "0.2"],
            "^--validation-fraction: expected none beside --validation, found 0.2",
        ),
        (
            ["--bayes", "0.6", "--ngrams", "0.4"],
            "^--ngrams: expected a weight that leav",
        ),
        (["--smoke"], "^--smoke: expected no --data beside it"),
    ],
)
def test_parts_that_make_no_sense_are_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(Path("a.csv"), range(40))
    Path("other.csv").write_text("text,label\nwell,so-so\n")
    with pytest.raises(InputError, match=message):
        sentiment.main(["--data", "a.csv", *words])
    assert not Path("runs").exists()


def test_what_is_held_out_follows_from_the_folds() -> None:
    options = sentiment.Options
    assert options().held_out == options(folds=2).held_out == 0
    assert options(folds=0).held_out == options(folds=1).held_out == 0.1
    assert options(folds=0, validation_fraction=0.0).held_out == 0
    assert options(folds=2, validation_fraction=0.2).held_out == 0.2
    assert options(folds=0, validation=(Path("a"),)).held_out == 0


def test_a_split_has_its_share_of_every_class() -> None:
    labels = np.array([0] * 60 + [1] * 40)
    data = LabelledTexts([str(k) for k in range(100)], labels, ("a", "b"))
    rest, some = split(data, 0.3, seed=0)
    assert np.bincount(some.labels).tolist() == [18, 12]
    assert sorted(rest.texts + some.texts, key=int) == data.texts


def test_texts_that_are_learned_and_tested_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text("text,label\nfine,pos\ndull,neg\nbad,neg\n")
    (tmp_path / "b.csv").write_text("text,label\nfine,pos\nweak,neg\n")
    data, test = ((tmp_path / name,) for name in ("a.csv", "b.csv"))
    parts, _ = sentiment.load(sentiment.Options(data=data, test=test, folds=0))
    assert parts.test and len(parts.test.texts) == 2
    assert "--test: of 2 texts 1 are among --data too" in caplog.text
