"""Words of all scripts: a mark belongs to its letter, however both are encoded."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lstm_jax.data.tokenizers.saved import load_tokenizer, save_tokenizer
from lstm_jax.data.tokenizers.subwords import BPETokenizer, learn_subwords, split_words
from lstm_jax.data.tokenizers.words import WordTokenizer, common_words, tokens
from lstm_jax.errors import InputError
from lstm_jax.storage.files import write_json

HINDI, CAFE = "हिन्दी", "café n'été"
WORDS = {
    "Hindi": HINDI,
    "half form": "क्\u200dष",  # with a zero width joiner
    "Thai": "สวัสดี",
    "Tamil": "தமிழ்",
    "Bengali": "কলম",
    "Arabic": "مُحَمَّد",
    "Persian": "می\u200cخواهم",
    "Hebrew": "שָׁלוֹם",
    "Vietnamese": unicodedata.normalize("NFD", "thuở"),
    "capital": "İstanbul",  # whose small letter is one with a mark
    "keycap": "1\ufe0f\u20e3",
    "hyphenated": "Schiff\u00adfahrt",
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS.keys())
def test_a_word_with_marks_is_one(word: str) -> None:
    both = f"{word}, a {word}!"
    ours = unicodedata.normalize("NFC", word)
    small = unicodedata.normalize("NFC", word.lower())
    assert tokens(both, "word") == [small, ",", "a", small, "!"]
    assert split_words(both) == [f" {ours}", ",", " a", f" {ours}", "!"]


def test_marks_of_an_emoji_are_no_word() -> None:
    heart, pilot = "\u2764\ufe0f", "\U0001f469\u200d\u2708\ufe0f"
    assert tokens(f"so {heart} {pilot}", "word") == ["so", heart, pilot]
    assert split_words(f"so {heart}{pilot}") == [" so", f" {heart}{pilot}"]


@pytest.mark.parametrize("text", [CAFE, "Ấm Ếch", "파일", HINDI])
def test_both_forms_of_an_accent_are_alike(text: str) -> None:
    other = unicodedata.normalize("NFD", text)
    for level in ("word", "char"):
        assert tokens(other, level) == tokens(text, level)
    subwords = learn_subwords([text, other], 40)
    assert subwords == learn_subwords([text, text], 40)
    assert subwords.encode(other) == subwords.encode(text)
    assert subwords.decode(subwords.encode(other)) == text


def test_tables_of_former_versions_cut_as_they_did(tmp_path: Path) -> None:
    path, pieces = tmp_path / "tokenizer.json", ("ह", "न", "द", "cafe")
    write_json(path, {"kind": "words, word", "symbols": pieces})
    words = load_tokenizer(path)
    assert words == WordTokenizer("word", pieces, marks=False)
    np.testing.assert_array_equal(words.encode(HINDI), [1, 0, 2, 0, 3, 0])
    assert words.encode(unicodedata.normalize("NFD", CAFE))[0] == 4
    symbols = (*" aefc\u0301", "caf", "e\u0301")
    write_json(path, {"kind": "bpe", "symbols": symbols})
    subwords = load_tokenizer(path)
    assert isinstance(subwords, BPETokenizer)
    assert subwords == BPETokenizer(symbols, marks=False)
    # The mark is a word of its own: no symbol joins it to its letter.
    assert subwords.names(subwords.encode("cafe\u0301")) == [*" caf", "e", "\u0301"]


def test_new_tables_come_back_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for tokenizer in (
        common_words([CAFE] * 2, "word", 9),
        learn_subwords([CAFE], 40),
        WordTokenizer("char", ("a",), marks=False),
    ):
        save_tokenizer(tokenizer, path)
        assert load_tokenizer(path) == tokenizer
    write_json(path, {"kind": "bpe", "symbols": ["a"], "marks": 1})
    with pytest.raises(InputError, match="expected marks true or false, found 1"):
        load_tokenizer(path)
