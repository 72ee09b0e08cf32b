"""The vocabulary: every text comes back, whatever it is made of and however cut."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.characters import (
    CharTokenizer,
    Kind,
    load_vocab,
    save_vocab,
)
from lstm_jax.errors import InputError

# What text handling likes to get wrong: a combining mark, NUL, line ends, the byte
# order mark, characters beyond 16 bits.
ODD = "e\u0301\0\r\n\r\x85\u2028\ufeff\U0001f600\U0010ffff"
SURROGATES = "\ud83d\ude00 \udc80"  # a pair in two halves, and one alone

any_text = st.text(st.characters())  # lone surrogates included
utf8_text = st.text()  # what UTF-8 can hold: no surrogates
cuts = st.lists(st.integers(0, 40))


def vocab_of(text: str) -> CharTokenizer:
    return CharTokenizer("char", "".join(sorted(set(text))))


@given(any_text)
@example(ODD)
@example(SURROGATES)
def test_text_of_known_characters_comes_back(text: str) -> None:
    vocab = vocab_of(text)
    ids = vocab.encode(text)
    assert len(ids) == len(text)
    assert UNKNOWN not in ids
    assert vocab.decode(ids) == text


@given(utf8_text)
@example(ODD)
def test_bytes_come_back(text: str) -> None:
    vocab = CharTokenizer("byte")
    ids = vocab.encode(text)
    assert ids.tolist() == list(text.encode())
    assert vocab.encode(text.encode()).tolist() == ids.tolist()
    assert vocab.decode(ids) == text


def test_char_vocabulary_reads_bytes_as_utf8() -> None:
    vocab = vocab_of("aé")
    assert vocab.encode("éa".encode()).tolist() == vocab.encode("éa").tolist()


@pytest.mark.parametrize("ids", [[0xFF], [0xC3], [0xED, 0xA0, 0x80]])
def test_bytes_that_are_no_utf8_are_replaced(ids: list[int]) -> None:
    """An impossible byte, half a character, a lone surrogate."""
    text = CharTokenizer("byte").decode([97, *ids])
    assert text[0] == "a"
    assert set(text[1:]) == {"\ufffd"}


def test_lone_surrogates_become_bytes() -> None:
    ids = CharTokenizer("byte").encode(SURROGATES)
    assert bytes(ids.tolist()) == SURROGATES.encode("utf-8", "surrogatepass")


def test_ids_follow_the_order_of_characters() -> None:
    vocab = CharTokenizer("char", "zaé")
    assert vocab.encode("zaé").tolist() == [1, 2, 3]
    assert vocab.decode([3, 2, 1]) == "éaz"


@given(any_text, any_text)
@example(ODD, SURROGATES)
@example("ab", "xaxbyx")
def test_unknown_characters(known: str, text: str) -> None:
    """They become UNKNOWN, are listed once in the order they come, and decode."""
    vocab = vocab_of(known)
    foreign = [c not in known for c in text]
    ids = vocab.encode(text)
    assert (ids == UNKNOWN).tolist() == foreign
    found = vocab.unknown(text)
    assert set(found) == set(text) - set(known)
    assert [text.index(c) for c in found] == sorted(text.index(c) for c in found)
    expected = "".join("\ufffd" if f else c for c, f in zip(text, foreign, strict=True))
    assert vocab.decode(ids) == expected


def test_to_bytes_nothing_is_unknown() -> None:
    assert CharTokenizer("byte").unknown(ODD) == []


@pytest.mark.parametrize("kind", ["char", "byte"])
@given(utf8_text, cuts)
@example(ODD, [1, 2, 3, 5, 8, 13, 16, 17, 18])
@example("\U0001f600" * 3, [*range(12)])
def test_decoder_takes_any_pieces(kind: Kind, text: str, cuts: list[int]) -> None:
    """A byte vocabulary's pieces may end inside a character."""
    vocab = CharTokenizer("byte") if kind == "byte" else vocab_of(text)
    ids = vocab.encode(text)
    bounds = sorted(min(cut, len(ids)) for cut in [0, *cuts, len(ids)])
    decode = vocab.decoder()
    pieces = [decode(ids[start:end]) for start, end in pairwise(bounds)]
    assert "".join(pieces) + decode((), final=True) == text


def test_decoder_shows_a_character_when_it_is_complete() -> None:
    decode = CharTokenizer("byte").decoder()
    assert [decode([byte]) for byte in "aé!".encode()] == ["a", "", "é", "!"]


@pytest.mark.parametrize(
    ("characters", "dtype"),
    [
        (0, np.uint8),
        (255, np.uint8),
        (256, np.uint16),
        (0xFFFF, np.uint16),
        (0x10000, np.uint32),
        (0x110000, np.uint32),
    ],
)
def test_ids_have_the_smallest_type(characters: int, dtype: type) -> None:
    """The largest id is the number of characters, as id 0 is UNKNOWN."""
    text = "".join(map(chr, range(characters)))
    vocab = CharTokenizer("char", text)
    ids = vocab.encode(text)
    assert len(vocab) == characters + 1
    assert ids.dtype == vocab.dtype == dtype
    np.testing.assert_array_equal(ids, np.arange(1, characters + 1))


def test_bytes_are_their_own_ids() -> None:
    vocab = CharTokenizer("byte")
    assert len(vocab) == 256
    ids = vocab.encode(bytes(range(256)))
    assert ids.dtype == vocab.dtype == np.uint8
    assert ids.tolist() == list(range(256))


@pytest.mark.parametrize(
    "vocab",
    [
        CharTokenizer("byte"),
        CharTokenizer("char"),
        CharTokenizer("char", "zyx"),
        vocab_of(ODD + SURROGATES),
    ],
)
def test_saved_and_loaded(tmp_path: Path, vocab: CharTokenizer) -> None:
    path = tmp_path / "vocab.json"
    save_vocab(vocab, path)
    assert load_vocab(path) == vocab


CHAR = {"kind": "char", "characters": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found a damaged file"),
        (b"{'kind':", "found a damaged file"),
        pytest.param(b"\xff" * 9999, "found a damaged file", id="binary"),
        ([], "found a damaged file: no JSON object"),
        (None, "found a damaged file: no JSON object"),
        ({"kind": "char"}, "found ['kind']"),
        ({"characters": ["a"]}, "found ['characters']"),
        (CHAR | {"more": 1}, "found ['characters', 'kind', 'more']"),
        (CHAR | {"sha256": "0"}, "found a damaged file: its sha256"),
        (CHAR | {"characters": 3}, "list of single characters"),
        (CHAR | {"characters": "ab"}, "list of single characters"),
        (CHAR | {"kind": "word"}, "found kind 'word' and list"),
        (CHAR | {"kind": None}, "found kind None"),
        (CHAR | {"kind": ["char"]}, "found kind ['char']"),
        (CHAR | {"characters": ["a", "bc"]}, "single characters"),
        (CHAR | {"characters": ["a", ""]}, "single characters"),
        (CHAR | {"characters": ["a", 98]}, "single characters"),
        (CHAR | {"characters": ["a", "b", "a"]}, "found repeated ones"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, content: object, message: str
) -> None:
    """In one line a person can read, naming the file."""
    path = tmp_path / "vocab.json"
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(raw)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_vocab(path)
    found = str(caught.value)
    assert str(path) in found
    assert "\n" not in found
    assert len(found) < 300 + len(str(path))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab\.json, found no file"):
        load_vocab(tmp_path / "vocab.json")
