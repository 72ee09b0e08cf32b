"""Machine translation: its small language, its scores, and what it refuses."""

import csv
import io
import json
from pathlib import Path

import pytest

from experiments.forecast import __main__ as forecast
from experiments.translate import __main__ as translate
from experiments.translate.__main__ import PredictOptions
from experiments.translate.inference import TextTranslator
from experiments.translate.task import NAME, TOKENIZERS
from lstm_jax import InputError
from lstm_jax.data import learn_subwords, save_tokenizer
from lstm_jax.models import ModelSpec, build_seq2seq, save_model


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the configuration of a model"):
        translate.predict(PredictOptions(tmp_path, ("ein hund",)))


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--batch", "0", "1 or more"),
        ("--hidden", "7", "an even number"),
        ("--hidden", "0", "2 or more"),
        ("--dropout", "1.5", r"a number in \[0, 1\)"),
        ("--seed", "-1", "0 or more"),
        ("--epochs", "0", "a number from 1 to 2,147,483,647"),
        ("--learning-rate", "-1", "a positive number"),
        ("--symbols", "-5", "1 or more"),
        ("--embedding", "0", "1 or more"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    flag: str, value: str, expected: str
) -> None:
    """Before anything is read: there are no such data."""
    message = f"^{flag}: expected {expected}, found {value}"
    with pytest.raises(InputError, match=message):
        translate.main(["--data", "/nowhere", flag, value])


WORDS = learn_subwords(["a b"], 10)


def a_translator(lower_case: bool = True) -> TextTranslator:
    sizes = {"embedding": 4, "hidden": 4, "layers": 1, "dropout": 0.0}
    model = build_seq2seq(len(WORDS), len(WORDS), 0, **sizes)
    return TextTranslator(model, WORDS, WORDS, lower_case)


def keep(run_dir: Path) -> None:
    """Leave what a run leaves of `a_translator`."""
    sizes = {"source_size": len(WORDS), "target_size": len(WORDS), "layers": 1}
    spec = ModelSpec("seq2seq", {**sizes, "embedding": 4, "hidden": 4, "dropout": 0.0})
    save_model(run_dir, NAME, spec, a_translator().model, {"lower_case": True})
    for file in TOKENIZERS:
        save_tokenizer(WORDS, run_dir / file)


def test_it_is_scored_on_texts_of_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(tmp_path / "run")
    for name in ("x.de", "x.en"):
        (tmp_path / name).write_text("a b\nb\n")
    given = ["evaluate", str(tmp_path / "run"), "--data"]
    files = [str(tmp_path / name) for name in ("x.de", "x.en")]
    translate.main([*given, *files, "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["pairs"] == 2 and 0 <= found["greedy"] <= 100
    assert "|case:lc|" in found["metric"]
    with pytest.raises(InputError, match="--data: expected two files, found 1"):
        translate.main([*given, files[0]])


def test_a_translator_is_asked_for_what_it_can_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(tmp_path / "run")
    words = ["predict", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"^--beam: expected 0 or more, found -1"):
        translate.main([*words, "a", "--beam", "-1"])
    monkeypatch.setattr("sys.stdin", None)  # closed by the shell
    translate.main(words)
    assert capsys.readouterr().out == ""
    picture = ["--beam", "0", "--picture", str(tmp_path / "a.png")]
    with pytest.raises(InputError, match=r"^--picture: expected a sentence, found"):
        translate.main([*words, *picture])
    with pytest.raises(InputError, match=r"^--picture: expected a name that ends in"):
        translate.main([*words, "--picture", str(tmp_path / "a.x")])
    monkeypatch.setattr("sys.stdin", io.StringIO("\na b\n"))
    translate.main([*words, *picture])
    assert capsys.readouterr().out.count("\n") == 2
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(InputError, match="expected a model of forecast, found 't"):
        forecast.main(["predict", str(tmp_path / "run"), "some.csv"])


def test_files_are_translated_line_by_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(tmp_path / "run")
    source, reference = tmp_path / "a.de", tmp_path / "a.en"
    source.write_bytes("a b\r\n\r\nB\r\n".encode("utf-16"))
    reference.write_text("a b\n\nb\n", encoding="utf-8-sig")
    given = ["predict", str(tmp_path / "run")]
    translate.main([*given, "a b", "", "b"])
    expected = capsys.readouterr().out
    assert expected.count("\n") == 3 and expected.split("\n")[1] == ""
    translate.main([*given, str(source)])
    assert capsys.readouterr().out == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(source.read_bytes())))
    scored = ["--references", str(reference)]
    translate.main([*given, *scored])
    out, err = capsys.readouterr()
    assert out == expected and err.startswith("BLEU|")
    for name in ("out.en", "out.csv"):
        written = tmp_path / name
        translate.main([*given, *scored, "--data", str(source), "--out", str(written)])
        assert capsys.readouterr().out == err
    assert (tmp_path / "out.en").read_text() == expected
    rows = list(csv.reader((tmp_path / "out.csv").read_text().splitlines()))
    assert rows[0] == ["text", "translation", "reference"] and rows[3][::2] == [
        "B",
        "b",
    ]
    assert [row[1] for row in rows[1:]] == expected.removesuffix("\n").split("\n")
    with pytest.raises(InputError, match=r"--references: expected 1 li.* found 3"):
        translate.main([*given, "a", *scored])
    out = tmp_path / "scored.tsv"
    words = ["--data", str(source), str(reference), "--out", str(out)]
    translate.main(["evaluate", str(tmp_path / "run"), *words])
    assert out.read_text().startswith("text\treference\ttranslation\na b\ta b\t")


def test_no_sentence_of_the_small_language_is_learned_and_tested() -> None:
    pairs = translate.generated()
    assert len(set(pairs)) == len(pairs) == 225
    for source, target in pairs:
        assert len(source.split()) == len(target.split()) and source[-1] == "."


def test_scores_come_with_their_signature() -> None:
    pairs = [("quelle", "The little dog runs over the grass.")]
    ours = ["the little dog runs over the grass."]
    perfect = translate.score(a_translator(), ours, pairs)
    assert perfect.score == pytest.approx(100)
    assert "|case:lc|" in perfect.name and "|tok:13a|" in perfect.name
    assert translate.score(a_translator(lower_case=False), ours, pairs).score < 99


def test_data_are_asked_for_before_the_package_that_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(translate, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^--data: expected a folder or two files"):
        translate.main([])
    with pytest.raises(InputError, match=r"^expected sacrebleu: pip install"):
        translate.main(["--smoke"])
