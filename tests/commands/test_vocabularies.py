"""Words, subwords and a tokenizer of others, from `train` to the last command."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.lm import load_text
from tests.helpers.commands import (
    SMALL,
    TEXT,
    assert_done,
    assert_refused,
    call,
    last_json,
    read_json,
)
from tests.helpers.hugging_face import by_bytes

QUICK = (*SMALL, "--epochs", 1, "--evaluations", 1)
TAIL = " a hat of the cat and a hëat sat"  # with words and a letter that are new
each_kind = pytest.mark.parametrize(
    "kind",
    [
        "bpe",
        pytest.param("word", marks=pytest.mark.slow),
        pytest.param("tokenizer.json", marks=pytest.mark.slow),
    ],
)


def vocab_flags(kind: str, folder: Path) -> Sequence[object]:
    """The flags for a vocabulary."""
    if kind in ("word", "bpe"):
        return "--vocab", kind, "--vocab-size", 40
    pytest.importorskip("tokenizers")
    path = folder / "tokenizer.json"
    path.write_text(by_bytes(), encoding="utf-8")
    return "--vocab", path


@each_kind
def test_every_command_has_it(kind: str, tmp_path: Path) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT + TAIL, encoding="utf-8")
    flags = ("--data", text, *vocab_flags(kind, tmp_path), *QUICK)
    done = call("train", *flags, "--run-dir", run, cwd=tmp_path)
    assert_done(done)
    assert "tokens to learn from" in done.stdout and "per token" in done.stdout
    _check_corpus(run)

    _check_evaluation(run, tmp_path)
    done = call("generate", run, "--prompt", "the cat", "--stop", "the", cwd=tmp_path)
    assert_done(done)
    assert done.stdout.startswith("the cat") and "\ufffd" not in done.stdout
    assert "the" not in done.stdout[7:]
    assert_done(call("inspect", run, "--text", "the cat", cwd=tmp_path))
    assert_done(call("generate", run, "--json", cwd=tmp_path))
    longer = ("--resume", "--run-dir", run, "--epochs", 2)
    assert_done(call("train", *longer, cwd=tmp_path))
    changed = call("train", *longer, "--vocab", "char", cwd=tmp_path)
    assert_refused(changed, "--vocab", "--resume")


def _check_corpus(run: Path) -> None:
    """The text is kept without loss, and cut where that of characters is."""
    trained = load_text(run)
    ids = np.load(run / "corpus.npy")
    assert trained.vocab.decode(ids).replace("\ufffd", "ë") == TEXT + TAIL
    split = read_json(run / "split.json")["train_size"]
    cut = int(len(TEXT + TAIL) * 0.9)
    assert trained.vocab.decode(ids[:split]) == TEXT[:cut]


def _check_evaluation(run: Path, folder: Path) -> None:
    done = call("evaluate", run, "--json", cwd=folder)
    assert_done(done)
    found = last_json(done)["stream"]
    held_out = (TEXT + TAIL)[int(len(TEXT + TAIL) * 0.9) :]
    assert found["characters"] == len(held_out)
    nats = found["loss"] * found["symbols"]
    assert found["nats_per_char"] == pytest.approx(nats / len(held_out))
    assert found["bits_per_char"] == pytest.approx(nats / len(held_out) / math.log(2))
    size = len(held_out.encode()) + held_out.count("ë") * ("\ufffd" in _back(run))
    assert found["bits_per_byte"] == pytest.approx(nats / size / math.log(2))
    assert "bits per byte" in done.stdout and "tokens" in done.stdout


def _back(run: Path) -> str:
    return load_text(run).vocab.decode(np.load(run / "corpus.npy"))


@each_kind
def test_cross_validation_has_it(kind: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    flags = ("--data", "text.txt", *vocab_flags(kind, tmp_path), *SMALL)
    done = call("crossval", *flags, "--folds", 2, "--epochs", 1, cwd=tmp_path)
    assert_done(done)
    record = read_json(tmp_path / "runs" / "text-crossval" / "crossval.json")
    for fold in record["folds"]:
        nats = fold["stream_loss"] * fold["stream_symbols"]
        bits = nats / fold["stream_characters"] / math.log(2)
        assert fold["stream_bits_per_char"] == pytest.approx(bits)
        assert fold["stream_symbols"] < fold["stream_characters"] < len(TEXT) / 2


@pytest.mark.parametrize(
    ("flags", "mentioned"),
    [
        (("--vocab", "wrod"), ("--vocab: expected one of char, byte, word, bpe",)),
        (("--vocab", "none.json"), ("--vocab", "none.json: no such file")),
        (("--vocab-size", 100), ("--vocab-size: expected --vocab word or bpe",)),
        (("--vocab", "bpe", "--vocab-size", 3), ("--vocab-size: expected at least",)),
    ],
)
def test_what_is_no_vocabulary_is_refused(
    flags: Sequence[object], mentioned: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    done = call("train", "--data", "text.txt", *flags, cwd=tmp_path)
    assert_refused(done, *mentioned)
    assert not (tmp_path / "runs").exists()
