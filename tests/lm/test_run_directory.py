"""The run directory: what may be replaced, what is in it, and what damage does."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from lstm_jax.config import RunConfig
from lstm_jax.data.text import Corpus, encode_text
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError
from lstm_jax.lm.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.console import Reporter
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.lm.task import set_up
from lstm_jax.lm.text_model import load_text_model
from lstm_jax.lm.training import train_text
from lstm_jax.training.history import Fingerprint, HistoryRow
from lstm_jax.training.recorder import RunRecorder
from lstm_jax.training.trainer import Trained
from tests.helpers.tiny_models import create_run
from tests.helpers.tiny_runs import StopAfter

TEXT = "the cat sat on the mat and the rat ran. " * 20
CONFIG = TrainConfig(
    text=DataConfig(data=(Path("cats.txt"),), validation_fraction=0.1),
    model=ModelConfig(layers=1, hidden=8, dropout=0.1),
    optimizer=OptimizerConfig(batch=4, length=8),
    run=RunConfig(epochs=1, evaluations=2, steps_per_call=8),
)
HISTORY = [
    HistoryRow(s, s / 9, 8 * s, s / 2, 0.1, 1.5, 16.0, train={"loss": 1 / s})
    for s in (1, 2, 5, 9)
]


def encoded(text: str = TEXT) -> tuple[Corpus, Vocabulary]:
    """A text as a run has it."""
    return encode_text(text, CONFIG.text.vocab, CONFIG.text.validation_fraction)


def a_run(path: Path) -> RunDirectory:
    """A run that was begun."""
    run = create_run(path)
    run.start(CONFIG, CharTokenizer("char", "abc"))
    return run


def contents(path: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Trained]:
    """A tiny run with everything that the train command leaves."""
    corpus, vocab = encoded()
    run = create_run(tmp_path_factory.mktemp("runs") / "tiny")
    run.save_corpus(corpus)
    run.start(CONFIG, vocab)
    setup = set_up(CONFIG, corpus, vocab)
    reporter = Reporter(setup)
    outcome = train_text(setup, run, callbacks=[*reporter.callbacks()])
    during = outcome.timer.final  # the validation after the last step
    reporter.finish(outcome, run)
    assert outcome.timer.final > during > 0, "the last evaluation is timed too"
    return run, outcome


def test_who_has_a_gpu_is_told_that_a_cpu_may_be_faster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = set_up(CONFIG, *encoded())
    words = "JAX_PLATFORMS=cpu may train it faster"
    Reporter(setup)
    assert words not in capsys.readouterr().out
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    Reporter(setup)
    assert words in capsys.readouterr().out


# What may be replaced.


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert create_run(path).path == path
    assert path.is_dir() and not any(path.iterdir())


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert create_run(tmp_path).path == tmp_path


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(InputError, match="expected a folder for the run, found a file"):
        create_run(path, overwrite)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_under_a_file_is_refused(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="expected a folder to write to"):
        create_run(tmp_path / "file" / "run", overwrite)
    assert contents(tmp_path) == {"file": b"precious"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["/dev/null", "x" * 300])
def test_what_can_be_no_folder_is_refused(
    name: str, overwrite: bool, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="expected a folder"):
        create_run(tmp_path / name, overwrite)
    with pytest.raises(InputError, match="expected a run directory"):
        open_run(tmp_path / name)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_files_is_never_replaced(
    overwrite: bool, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    (tmp_path / "config.json").mkdir()  # has the name, but is no configuration
    with pytest.raises(InputError, match=r"expected an empty folder or a run, found"):
        create_run(tmp_path, overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_run_is_replaced_only_on_request(tmp_path: Path) -> None:
    a_run(tmp_path / "r").history.append(HISTORY[0])
    before = contents(tmp_path)
    with pytest.raises(InputError, match="found a run; --overwrite replaces it"):
        create_run(tmp_path / "r")
    assert contents(tmp_path) == before
    create_run(tmp_path / "r", overwrite=True)
    assert contents(tmp_path) == {}


def test_a_file_to_read_is_not_overwritten(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    text = run.path / "deep" / "text.txt"
    text.parent.mkdir()
    text.write_text("precious")
    before = contents(tmp_path)
    around = tmp_path / "r" / ".." / "r" / "deep" / "text.txt"
    for spare in (text, around):
        with pytest.raises(InputError, match=r"expected a folder without .*text\.txt"):
            create_run(run.path, overwrite=True, spare=[tmp_path / "other", spare])
    assert contents(tmp_path) == before
    create_run(run.path, overwrite=True, spare=[tmp_path / "rest" / "text.txt"])


def test_what_a_link_leads_to_is_not_overwritten(tmp_path: Path) -> None:
    a_run(tmp_path / "r")
    before = contents(tmp_path / "r")
    (tmp_path / "link").symlink_to(tmp_path / "r")
    with pytest.raises(InputError, match="link"):
        create_run(tmp_path / "link", overwrite=True)
    assert contents(tmp_path / "r") == before


# What can be opened.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("nothing", "expected a run directory, found no folder"),
        ("file", "expected a run directory, found no folder"),
        ("folder", r"found a folder without config\.json"),
    ],
)
def test_what_is_no_run_is_not_opened(make: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r"
    if make == "file":
        path.write_text("text")
    if make == "folder":
        path.mkdir()
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message) as raised:
        open_run(path)
    assert str(path) in str(raised.value)
    assert contents(tmp_path) == before and path.exists() == (make != "nothing")


def test_what_was_written_at_the_start_comes_back(tmp_path: Path) -> None:
    vocab = CharTokenizer("char", "\n\u2028ab\U0001f600")
    run = create_run(tmp_path / "r")
    run.start(CONFIG, vocab)
    opened = open_run(tmp_path / "r")
    assert (opened.config(), opened.vocab()) == (CONFIG, vocab)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_the_split_of_the_corpus_comes_back(fraction: float, tmp_path: Path) -> None:
    corpus, vocab = encode_text(TEXT, "char", fraction)
    run = create_run(tmp_path / "r")
    run.save_corpus(corpus)
    config = dataclasses.replace(
        CONFIG, text=dataclasses.replace(CONFIG.text, validation_fraction=fraction)
    )
    found = run.corpus(config, vocab)
    np.testing.assert_array_equal(found.ids, corpus.ids)
    assert found.ids.dtype == corpus.ids.dtype
    assert found.train_size == corpus.train_size
    assert found.has_validation == (fraction > 0)


@pytest.mark.parametrize("raw", [None, b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_corpus_is_refused(raw: bytes | None, tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    if raw is not None:
        run.corpus_path.write_bytes(raw)
    with pytest.raises(InputError, match=r"corpus\.npy: expected encoded text"):
        run.corpus(CONFIG, encoded()[1])


def test_a_corpus_cut_short_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    run.save_corpus(encoded()[0])
    run.corpus_path.write_bytes(run.corpus_path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"corpus\.npy: expected encoded text"):
        run.corpus(CONFIG, encoded()[1])


@pytest.mark.parametrize(
    "array", [np.zeros((3, 4), np.uint8), np.zeros(9), np.zeros(9, np.int64)]
)
def test_an_array_of_something_else_is_refused(
    array: np.ndarray, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "r")
    np.save(run.corpus_path, array)
    with pytest.raises(InputError, match=r"corpus\.npy: expected a row of ids"):
        run.corpus(CONFIG, encoded()[1])


# History.


def test_lines_come_back(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    assert run.history.read() == []
    for line in HISTORY:
        run.history.append(line)
    assert run.history.read() == HISTORY
    run.history.rewrite(HISTORY[:2])
    assert run.history.read() == HISTORY[:2]
    run.history.append(HISTORY[2])
    assert run.history.read() == HISTORY[:3]


@pytest.mark.parametrize(
    ("last", "count"), [(0, 0), (1, 1), (4, 2), (5, 3), (100, 4), (None, 4)]
)
def test_lines_after_a_step_are_left_out(
    last: int | None, count: int, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "r")
    run.history.rewrite(HISTORY)
    assert run.history.read(last) == HISTORY[:count]


@pytest.mark.parametrize("removed", range(1, len(json.dumps(HISTORY[-1].record())) + 1))
def test_a_last_line_cut_short_is_dropped(removed: int, tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    run.history.rewrite(HISTORY)
    path = run.path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[: -1 - removed])
    assert run.history.read() == HISTORY[:-1]


DAMAGED = [
    b'{"step": 2, "tra',
    b"[]",
    b"3",
    b"{}",
    b'{"step": "two"}',
    b'{"step": true}',
    b'{"step": 2, "val_loss": "low"}',
    b'{"step": 2, "ended": 3}',
    b"[" * 100_000,
    b"\xff\xfe",
    b"",
]


def test_a_line_older_than_a_field_has_none_of_it(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    (run.path / "metrics.jsonl").write_text('{"step": 3, "more": [1]}\n')
    (line,) = run.history.read()
    assert (line.step, line.train, line.val) == (3, {}, {})
    measured = {name for name, value in line.record().items() if value is not None}
    assert measured == {"step"}


# A line as it was before tasks said what they count, and the SHA-256 that the former
# version took of it.
FORMER = (
    b'{"step": 3, "epoch": 1.0, "characters": 5, "seconds": 1.0, "train_loss": 1.5, '
    b'"train_accuracy": 0.25, "train_eval_loss": null, "train_eval_accuracy": null, '
    b'"val_loss": NaN, "val_accuracy": 0.5, "learning_rate": 0.1, '
    b'"gradient_norm": 2.0, "chars_per_second": 9.0, "ended": null}'
)
FORMER_SHA256 = "5ef76ef5e202beb5a6e759ba224a2f2ac86e6216d50966707d283a030942b41a"


def test_a_line_of_a_former_version_is_known_again(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    (run.path / "metrics.jsonl").write_bytes(FORMER + b"\n")
    (line,) = run.history.read()
    assert (line.items, line.items_per_second, line.ended) == (5, 9.0, None)
    assert line.train == {"loss": 1.5, "accuracy": 0.25} and not line.train_eval
    assert line.val_loss is not None and math.isnan(line.val_loss)
    assert str(Fingerprint([line])) == f"1 lines {FORMER_SHA256}"


@pytest.mark.parametrize("raw", DAMAGED, ids=lambda raw: raw[:20])
def test_a_damaged_line_in_the_middle_is_refused(raw: bytes, tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    run.history.rewrite(HISTORY)
    path = run.path / "metrics.jsonl"
    first, _, *rest = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, raw, *rest, b""]))
    with pytest.raises(InputError, match=r"metrics\.jsonl: expected .*line 2") as error:
        run.history.read()
    assert "\n" not in str(error.value)


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    run = a_run(tmp_path / "r")
    run.write_samples("\ud800 lone\r\n")  # any text is written as it is
    run.write_summary({"loss": 1.5})
    run.write_summary({"loss": 0.5})
    assert (run.path / "samples.txt").read_bytes() == b"\xed\xa0\x80 lone\r\n"
    assert json.loads((run.path / "summary.json").read_text()) == {"loss": 0.5}
    names = {path.name for path in run.path.iterdir()}
    assert names == {"config.json", "vocab.json", "samples.txt", "summary.json"}


# What a whole run leaves.

LINE_KEYS = {
    "step",
    "epoch",
    "items",
    "seconds",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "train_eval_loss",
    "train_eval_accuracy",
    "ended",
    "learning_rate",
    "gradient_norm",
    "items_per_second",
}
SCORES = {"loss", "bits_per_char", "perplexity", "accuracy", "characters"}
SCORES |= {"nats_per_char", "nats_per_byte", "bits_per_byte", "symbols"}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_leaves_the_documented_files(
    trained: tuple[RunDirectory, Trained],
) -> None:
    run, _ = trained
    not_asked_for = {"tensorboard", "inspect", "split.json"}
    documented = lines_of_the_docstring() - not_asked_for
    assert {path.name for path in run.path.iterdir()} == documented


def lines_of_the_docstring() -> set[str]:
    """The files that the module says a run consists of."""
    import lstm_jax.lm.run_directory

    lines = (lstm_jax.lm.run_directory.__doc__ or "").splitlines()
    return {line.split()[0].rstrip("/") for line in lines if line.startswith("    ")}


def test_config_vocabulary_and_text_are_those_of_the_run(
    trained: tuple[RunDirectory, Trained],
) -> None:
    run, _ = trained
    corpus, vocab = encoded()
    assert run.config() == CONFIG
    assert run.vocab() == vocab
    np.testing.assert_array_equal(run.corpus(CONFIG, vocab).ids, corpus.ids)


def test_the_history_says_how_the_run_went(
    trained: tuple[RunDirectory, Trained],
) -> None:
    run, outcome = trained
    lines = run.history.read()
    assert lines == outcome.history
    assert all(line.record().keys() == LINE_KEYS for line in lines)
    steps = -(-(encoded()[0].train_size - 1) // (4 * 8))  # of one epoch
    assert [line.step for line in lines] == [8, 16, steps]
    for line in lines:
        assert line.items == line.step * 4 * 8
        assert line.epoch == pytest.approx(line.step / steps)
        assert 0 < line.train_loss < 10 and 0 <= line.train["accuracy"] <= 1
        assert line.items_per_second > 0 and line.learning_rate > 0
    # Two validations are asked for: the first once half the run is over.
    assert [line.val_loss is None for line in lines] == [True, False, False]
    for line in lines[1:]:
        for part in (line.val, line.train_eval):
            assert 0 < part["loss"] < 10 and 0 <= part["accuracy"] <= 1
    assert [line.ended for line in lines] == [None, None, "finished"]
    seconds = [line.seconds for line in lines]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_the_summary_has_the_results(trained: tuple[RunDirectory, Trained]) -> None:
    run, outcome = trained
    summary = read_json(run.path / "summary.json")
    for protocol in ("window256", "stream"):
        found = summary["validation"][protocol]
        assert found.keys() == SCORES
        assert found["bits_per_char"] == pytest.approx(found["loss"] / math.log(2))
        assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    best = min(run.history.read(), key=lambda line: line.val_loss or math.inf)
    assert summary["best_step"] == best.step == outcome.step
    assert summary["validation"]["window256"]["loss"] == pytest.approx(best.val_loss)
    assert summary["ended"] == "finished"
    assert summary["steps"] == run.history.read()[-1].step and summary["epochs"] == 1
    # [V, 4H] table, [H, 4H], [4H], [H, V] and [V], with V = 14 characters and unknown.
    hidden, symbols = 8, len(encoded()[1])
    assert summary["parameters"] == (
        (symbols + hidden + 1) * 4 * hidden + (hidden + 1) * symbols
    )
    seconds = summary["seconds"]
    assert seconds["loop"] == pytest.approx(
        sum(seconds[name] for name in ("compile", "train", "evaluate", "save"))
    )
    assert seconds["loop"] == pytest.approx(run.history.read()[-1].seconds)
    assert all(seconds[name] > 0 for name in (*seconds,))
    assert summary["chars_per_second"] == pytest.approx(
        run.history.read()[-1].items / seconds["train"]
    )
    assert summary["engine"]["name"] == "fused" and "cpu" in summary["device"]
    assert "on CPU" in summary["engine"]["reason"]
    assert summary["engine"]["others"].keys() == {
        *("scan", "native", "cudnn", "pallas_gpu", "pallas_tpu")
    }
    assert summary["versions"].keys() >= {"python", "lstm_jax", "jax", "flax", "optax"}


def test_samples_continue_the_held_out_text(
    trained: tuple[RunDirectory, Trained],
) -> None:
    run, _ = trained
    samples = (run.path / "samples.txt").read_text(encoding="utf-8")
    corpus, vocab = encoded()
    prompt = vocab.decode(corpus.validation[:16])
    parts = samples.split("--- temperature ")[1:]
    assert len(parts) >= 2
    for part in parts:
        temperature, _, text = part.partition("\n")
        assert float(temperature) >= 0
        assert text.startswith(prompt) and len(text) > 100


def test_the_curves_are_a_picture(trained: tuple[RunDirectory, Trained]) -> None:
    run, _ = trained
    raw = (run.path / "curves.png").read_bytes()
    assert raw.startswith(b"\x89PNG\r\n\x1a\n") and raw.endswith(b"IEND\xaeB`\x82")
    assert len(raw) > 5_000


def test_a_run_can_be_used_without_its_history_and_text(
    trained: tuple[RunDirectory, Trained], tmp_path: Path
) -> None:
    run, _ = trained
    path = shutil.copytree(run.path, tmp_path / "r")
    for name in ("metrics.jsonl", "summary.json", "samples.txt", "curves.png"):
        (path / name).unlink()
    (path / "corpus.npy").unlink()
    loaded = load_text_model(path)
    assert (loaded.config, loaded.vocab) == (CONFIG, encoded()[1])


def test_a_run_stopped_before_its_first_validation_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long runs save every now and then; what is on disk is of use at any moment."""
    monkeypatch.setattr(RunRecorder, "finish", _killed)
    corpus, vocab = encoded()
    run = a_run(tmp_path / "r")
    run.start(CONFIG, vocab)
    settings = dataclasses.replace(CONFIG.run, checkpoint_seconds=1e-9)
    often = dataclasses.replace(CONFIG, run=settings)
    with pytest.raises(SystemExit):
        train_text(set_up(often, corpus, vocab), run, callbacks=[StopAfter(1)])
    loaded = load_text_model(run.path)
    assert loaded.config == CONFIG


def _killed(recorder: RunRecorder, *_: object) -> None:
    """End as a killed run does: after the last save, but without a word."""
    assert recorder._checkpoints is not None
    recorder._checkpoints.close()
    raise SystemExit
