"""Machine translation: its small language, its scores, and what it refuses."""

import io
from pathlib import Path

import pytest

from experiments.forecast import __main__ as forecast
from experiments.translate import __main__ as translate
from experiments.translate.__main__ import Options, PredictOptions
from experiments.translate.inference import TextTranslator, save_translator
from lstm_jax import InputError
from lstm_jax.data import learn_subwords
from lstm_jax.models import build_translator


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a finished run"):
        translate.predict(PredictOptions(tmp_path, ("ein hund",)))


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--batch", "0", "1 or more"),
        ("--hidden", "7", "an even number"),
        ("--hidden", "0", "2 or more"),
        ("--dropout", "1.5", r"a number in \[0, 1\)"),
        ("--seed", "-1", "0 to 4294967295"),
        ("--epochs", "0", "1 or more"),
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


def a_translator() -> TextTranslator:
    words = learn_subwords(["a b"], 10)
    sizes = {"embedding": 4, "hidden": 4, "layers": 1, "dropout": 0.0}
    model = build_translator(len(words), len(words), 0, **sizes)
    return TextTranslator(model, words, words, lower_case=True)


def test_a_translator_is_asked_for_what_it_can_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_translator(tmp_path / "run", a_translator())
    words = ["predict", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"^--beam: expected 0 or more, found -1"):
        translate.main([*words, "a", "--beam", "-1"])
    monkeypatch.setattr("sys.stdin", None)  # closed by the shell
    translate.main(words)
    assert capsys.readouterr().out == ""
    picture = ["--beam", "0", "--picture", str(tmp_path / "a.png")]
    with pytest.raises(InputError, match=r"^--picture: expected a sentence, found"):
        translate.main([*words, *picture])
    monkeypatch.setattr("sys.stdin", io.StringIO("\na b\n"))
    translate.main([*words, *picture])
    assert capsys.readouterr().out.count("\n") == 2
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(InputError, match=r"run: expected a forecaster, found \["):
        forecast.main(["predict", str(tmp_path / "run"), "some.csv"])


def test_no_sentence_of_the_small_language_is_learned_and_tested() -> None:
    pairs = translate.generated()
    assert len(set(pairs)) == len(pairs) == 225
    for source, target in pairs:
        assert len(source.split()) == len(target.split()) and source[-1] == "."


def test_scores_come_with_their_signature() -> None:
    pairs = [("quelle", "The little dog runs over the grass.")]
    ours = ["the little dog runs over the grass."]
    perfect = translate.score(Options(), ours, pairs)
    assert perfect.score == pytest.approx(100)
    assert "|case:lc|" in perfect.name and "|tok:13a|" in perfect.name
    assert translate.score(Options(capitals=True), ours, pairs).score < 99
