"""Hostile text, from a file through training to what is generated: nothing is lost.

Combining marks, NUL, CRLF and a lone CR, a byte order mark in the middle and at the
start, what Python takes for line ends, lone surrogates, no newline at the end.
"""

from pathlib import Path

import pytest

from lstm_jax.data.text import encode_file, encode_files, survey_files
from lstm_jax.data.tokenizers.characters import Kind, to_bytes
from lstm_jax.errors import InputError
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.text_model import TextModel, load_text_model, save
from lstm_jax.lm.training import fit_text

MARKS = "e\u0301o\u0308\u0323\0a\r\nb\rc\u2028\ufeff\U0001f600 "
SURROGATES = "\ud800\udfff"


@pytest.fixture(scope="module", params=["char", "byte"])
def learned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TextModel, str]:
    """A model that knows a lesson by heart, kept and loaded again, and the lesson."""
    from tests.helpers.tiny_models import config

    kind: Kind = request.param
    # Bytes of a lone surrogate are no text, so as bytes they can't be written as one.
    lesson = "\ufeff" + MARKS + (SURROGATES if kind == "char" else "")
    path = tmp_path_factory.mktemp("learned") / "run"
    save(fit_text(lesson * 40, config(kind)), path)
    return load_text_model(path), lesson


def test_what_was_learned_is_written_to_the_last_mark(
    learned: tuple[TextModel, str],
) -> None:
    model, lesson = learned
    assert model.vocab.decode(model.vocab.encode(lesson * 2)) == lesson * 2
    length = len(lesson) if model.vocab.kind == "char" else len(to_bytes(lesson))
    for prompt in (lesson, lesson[:3], lesson + lesson[:7]):
        made = generate_text(model, prompt, 2 * length)
        whole = lesson * 4
        assert whole.startswith(prompt + made.rstrip("\ufffd")), (prompt, made)
        assert len(made) >= len(lesson)


@pytest.mark.parametrize("prompt", ["\udcff", "\ud83d", "x\ud800"])
def test_a_lone_surrogate_in_a_prompt(
    prompt: str, learned: tuple[TextModel, str]
) -> None:
    """An argument that is no UTF-8 comes as such: refused by name, or read as bytes."""
    model, _ = learned
    if model.vocab.kind == "byte":
        assert isinstance(generate_text(model, prompt, 3), str)
        assert to_bytes("x\udcff\udcd8") == b"x\xff\xd8"
        return
    with pytest.raises(InputError, match=r"the prompt: .*found '.*' \(U\+") as raised:
        generate_text(model, prompt, 3)
    assert str(raised.value).encode("ascii", "backslashreplace")


@pytest.mark.parametrize("kind", ["char", "byte"])
@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n", "\0"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_files_are_what_they_are(
    start: str, end: str, kind: Kind, tmp_path: Path
) -> None:
    text = start + (MARKS + SURROGATES) * 9 + end
    path = tmp_path / "text"
    path.write_bytes(to_bytes(text))
    survey = survey_files([path], kind, 0.0)
    corpus = encode_files([path], survey, tmp_path / "corpus.npy")
    if kind == "byte":
        assert corpus.ids.tobytes() == path.read_bytes()
    else:
        assert survey.vocab.decode(corpus.ids) == text
    assert encode_file(path, survey.vocab).tobytes() == corpus.ids.tobytes()
