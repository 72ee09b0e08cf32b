"""The page of a text generator: what stands on it, and that it stays small."""

from pathlib import Path
from typing import Literal

import pytest

from lstm_jax.data.text import encode_text
from lstm_jax.lm import looking
from lstm_jax.lm.looking import try_to_report_text, write_text_report
from lstm_jax.lm.run_directory import RunDirectory
from tests.helpers.tiny_models import create_run, untrained
from tests.report.test_page import data_of


@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_text_is_shown_symbol_by_symbol(
    kind: Literal["char", "byte"], tmp_path: Path
) -> None:
    text = "Zwölf \0 漢字, a\n" * 40
    trained = untrained(text, kind)
    corpus, vocab = encode_text(text, kind, 0.5)
    run = create_run(tmp_path / "run")
    run.start(trained.config, vocab)
    data = data_of(write_text_report(run, trained, corpus))
    reading = data["reading"]
    shown = "".join(reading["symbols"][k] for k in reading["ids"])
    expected = vocab.decode(corpus.validation)
    if kind == "byte":
        names = vocab.names()
        symbols = [bytes([k]).decode("ascii", "replace") for k in corpus.validation]
        expected = "".join(
            names[k] if s == "\ufffd" else s
            for k, s in zip(corpus.validation, symbols, strict=True)
        )
    assert shown == expected and len(reading["surprise"]) == len(reading["ids"])
    assert len(data["network"]["layers"]) == 1 and data["confusion"][0]["cells"]


def test_the_shortest_texts_have_a_page(tmp_path: Path) -> None:
    for text in ("ab", "a" * 40):
        trained = untrained(text)
        corpus, vocab = encode_text(text, "char", 0.0)
        run = create_run(tmp_path / str(len(text)))
        run.start(trained.config, vocab)
        assert data_of(write_text_report(run, trained, corpus))["reading"]["ids"]


def test_a_page_of_a_wide_network_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstm_jax.report.page.reading._CELLS", 20_000)
    text = "the cat sat. " * 100
    trained = untrained(text)
    corpus, vocab = encode_text(text, "char", 0.5)
    run = create_run(tmp_path / "run")
    run.start(trained.config, vocab)
    reading = data_of(write_text_report(run, trained, corpus))["reading"]
    assert len(reading["ids"]) == 300
    for quantity in reading["quantities"]:
        assert len(quantity["units"]) == 13
        assert quantity["label"].endswith(", 13 of 16 units")
    for pattern in reading["patterns"]:
        for unit in pattern["units"]:
            assert unit["unit"] in reading["quantities"][unit["quantity"]]["units"]


def test_a_look_inside_that_fails_leaves_the_rest_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(looking, "look_inside", broken)
    text = "the cat sat. " * 100
    trained = untrained(text)
    corpus, vocab = encode_text(text, "char", 0.5)
    run = create_run(tmp_path / "run")
    run.start(trained.config, vocab)
    try_to_report_text(run, trained, corpus)
    assert "report.html: written without a look inside: a fault" in caplog.text
    data = data_of(run.path / "report.html")
    assert "reading" not in data and data["facts"]


def test_of_a_wide_network_less_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page must not cost much: 32 excerpts of the small one, fewer of this one."""
    seen = []

    def look(run: object, trained: object, ids: object, rows: int) -> None:
        seen.append(rows)
        raise StopIteration

    monkeypatch.setattr(looking, "look_inside", look)
    text = "the cat sat. " * 100
    trained = untrained(text)
    corpus, _ = encode_text(text, "char", 0.5)
    # Of 16 units: 2 * 16 * 64 weights in the recurrence, 16 * 9 in the softmax.
    ten = 2 * 3 * (2 * 16 * 64 + 16 * 9) * 10 * 256
    for operations in (2 * 10**10, ten, 1):
        monkeypatch.setattr("lstm_jax.report.inspection._OPERATIONS", operations)
        with pytest.raises(StopIteration):
            write_text_report(RunDirectory(Path("none")), trained, corpus)
    assert seen == [32, 10, 4]
