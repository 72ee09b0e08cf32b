"""A tokenizer.json of Hugging Face as a vocabulary."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.data.text import encode_text
from lstm_jax.data.tokenizers.huggingface import parse_tokenizer, read_tokenizer
from lstm_jax.data.tokenizers.saved import load_vocabulary, save_vocabulary
from lstm_jax.errors import InputError
from tests.helpers.hugging_face import TEXT, by_bytes, by_pieces, by_words

tokenizers = pytest.importorskip("tokenizers")


@pytest.mark.parametrize("make", [by_bytes, by_pieces])
def test_what_is_read_back_is_the_text(make: Callable[[], str]) -> None:
    vocab = parse_tokenizer(make(), "here")
    ids = vocab.encode(TEXT)
    assert vocab.decode(ids) == TEXT
    assert len(vocab) > ids.max() and vocab.dtype == ids.dtype
    assert vocab.size_of(ids) == (len(TEXT), len(TEXT.encode()))


@pytest.mark.parametrize("make", [by_bytes, by_pieces])
@pytest.mark.parametrize("cut", [0, 1, 7, 30])
def test_ids_that_come_one_by_one_make_the_same_text(
    make: Callable[[], str], cut: int
) -> None:
    vocab = parse_tokenizer(make(), "here")
    ids = vocab.encode(TEXT)
    prompt = vocab.decode(ids[:cut])
    decoder = vocab.decoder(ids[:cut])
    made = [decoder(ids[k : k + 1]) for k in range(cut, len(ids))]
    assert prompt + "".join(made) + decoder((), final=True) == TEXT
    assert not any("\ufffd" in part for part in made)


def test_what_it_has_no_symbol_for_is_unknown(caplog: pytest.LogCaptureFixture) -> None:
    vocab = parse_tokenizer(by_words(), "here")
    assert vocab.unknown("the dog, the emu") == ["dog", "emu"]
    assert vocab.encode("the dog")[1] == vocab.unknown_id
    assert vocab.names()[int(vocab.encode("the")[0])] == "the"
    assert parse_tokenizer(by_bytes(), "here").unknown_id is None


def test_a_tokenizer_that_loses_something_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(by_words(), encoding="utf-8")
    encode_text("the cat\nsat", str(path), 0.0)
    assert "loses a part of the text" in caplog.text and "the cat sat" in caplog.text


def test_it_is_kept_whole(tmp_path: Path) -> None:
    vocab = parse_tokenizer(by_bytes(), "here")
    save_vocabulary(vocab, tmp_path / "vocab.json")
    assert load_vocabulary(tmp_path / "vocab.json") == vocab


def test_nothing_is_added_or_cut(tmp_path: Path) -> None:
    """Padding, cuts and marks at the ends are for other uses."""
    found = tokenizers.Tokenizer.from_str(by_bytes())
    found.enable_truncation(4)
    found.enable_padding(length=100)
    vocab = parse_tokenizer(found.to_str(), "here")
    expected = parse_tokenizer(by_bytes(), "here").encode(TEXT)
    np.testing.assert_array_equal(vocab.encode(TEXT), expected)


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"model": {"type": "BPE"}}'])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a tokenizer\.json, found"):
        read_tokenizer(path)
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_tokenizer(tmp_path / "none.json")
