"""Words and subwords that give a text back as it was."""

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.text import encode_text
from lstm_jax.data.tokenizers.huggingface import read_tokenizer
from lstm_jax.data.tokenizers.pieces import (
    PieceKind,
    PieceTokenizer,
    learn_pieces,
    split_text,
    whole_words,
)
from lstm_jax.data.tokenizers.saved import load_vocabulary
from lstm_jax.data.tokenizers.vocabulary import TextSize
from lstm_jax.errors import InputError

TEXT = "The cat sat; the cat's mat -- don't!\n\n  def f(x):\n\treturn x_1\r\n" * 3
HINDI, THAI = "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e20\u0e32\u0e29\u0e32"
each_kind = pytest.mark.parametrize("kind", ["word", "bpe"])
texts = st.text(st.sampled_from("ab \n\t.'-\u0301\u093f\u200d中\U0001f600é_1"))


@given(text=texts | st.text())
@example(text="a" * 1000 + " " * 1000 + "." * 1000)
@example(text="\ud800 lone")
def test_words_joined_are_the_text(text: str) -> None:
    words = split_text(text)
    assert "".join(words) == text
    assert max(map(len, words), default=0) <= 49


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the cat sat", ["the", " cat", " sat"]),
        ("don't mother-in-law's", ["don't", " mother-in-law's"]),
        ("'tis -- no!", ["'", "tis", " --", " no", "!"]),
        ("a\n\n  b", ["a", "\n\n ", " b"]),
        (f"{HINDI} {THAI}", [HINDI, f" {THAI}"]),
        ("cafe\u0301s re\u0301sume\u0301", ["cafe\u0301s", " re\u0301sume\u0301"]),
    ],
)
def test_a_word_is_what_a_reader_takes_for_one(text: str, words: list[str]) -> None:
    assert split_text(text) == words


@given(text=texts, cuts=st.lists(st.integers(0, 40), max_size=5))
def test_a_text_in_pieces_has_the_same_words(text: str, cuts: list[int]) -> None:
    text = f"x{text}"
    places = sorted({0, *(c for c in cuts if c < len(text)), len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    if any(not piece.strip() or not piece[1:-1].strip() for piece in pieces):
        return  # a piece without a break between words is passed on as it is
    found = list(whole_words(pieces))
    assert "".join(found) == text
    inside = [p for p in found[:-1] if any(c.isspace() for c in p.strip())]
    if len(inside) == len(found[:-1]):
        assert [w for p in found for w in split_text(p)] == split_text(text)


@each_kind
@given(text=st.text(st.sampled_from(sorted(set(TEXT)))))
def test_what_is_read_back_is_the_text(kind: PieceKind, text: str) -> None:
    vocab = _learned(kind)
    ids = vocab.encode(text)
    assert vocab.decode(ids) == text
    decoder = vocab.decoder()
    assert "".join(map(decoder, ids[:, None])) + decoder((), final=True) == text
    assert vocab.size_of(ids) == TextSize(len(text), len(text.encode()))
    assert UNKNOWN not in ids


_VOCABS: dict[str, PieceTokenizer] = {}


def _learned(kind: PieceKind) -> PieceTokenizer:
    if kind not in _VOCABS:
        _VOCABS[kind] = learn_pieces(kind, [TEXT])
    return _VOCABS[kind]


def test_common_words_are_symbols_and_rare_ones_are_spelled() -> None:
    vocab = learn_pieces("word", ["a red cat, a red cat, a blue cat"])
    assert vocab.symbols == (*" ,abcdelrtu", " cat", " a", " red")
    ids = vocab.encode("blue cat")
    assert [vocab.names()[i] for i in ids] == [*"blue", "\u2423cat"]


def test_the_most_frequent_pair_is_merged_first() -> None:
    vocab = learn_pieces("bpe", ["abab ab abc"], size=1 + 4 + 2)
    assert vocab.symbols == (*" abc", "ab", " ab")
    assert [vocab.names()[i] for i in vocab.encode("cab ab")] == ["c", "ab", "\u2423ab"]


@each_kind
def test_only_characters_never_seen_are_unknown(kind: PieceKind) -> None:
    vocab = _learned(kind)
    assert vocab.unknown("cat\u00e9 \u4e2d\u00e9") == ["\u00e9", "\u4e2d"]
    ids = vocab.encode("the caté")
    assert list(ids).count(UNKNOWN) == 1
    assert vocab.decode(ids) == "the cat\ufffd"
    assert vocab.size_of(ids).characters == len("the caté")
    longer = vocab.extended("é\u4e2dt")
    assert len(longer) == len(vocab) + 2
    assert longer.decode(longer.encode("the caté")) == "the caté"
    np.testing.assert_array_equal(longer.encode(TEXT), vocab.encode(TEXT))


@each_kind
def test_a_size_is_kept_or_refused(kind: PieceKind) -> None:
    least = 1 + len(set(TEXT))
    assert len(learn_pieces(kind, [TEXT], least)) == least
    assert len(learn_pieces(kind, [TEXT], least + 5)) == least + 5
    with pytest.raises(InputError, match=f"--vocab-size: expected at least {least}"):
        learn_pieces(kind, [TEXT], least - 1)


@each_kind
def test_the_held_out_text_is_that_of_characters(kind: PieceKind) -> None:
    """So what is measured per character compares, and nothing of it was learned."""
    by_character, plain = encode_text(TEXT, "char", 0.3)
    corpus, vocab = encode_text(TEXT, kind, 0.3)
    for part in ("train", "validation"):
        found = getattr(corpus, part)[part == "validation" :]
        expected = getattr(by_character, part)[part == "validation" :]
        assert vocab.decode(found) == plain.decode(expected)
    held_out = len(TEXT) - by_character.train_size
    other = TEXT[: by_character.train_size] + "q" * held_out
    again, same = encode_text(other, kind, 0.3)
    assert same == vocab
    np.testing.assert_array_equal(again.train, corpus.train)


def test_a_word_of_any_length_is_cut_in_time() -> None:
    raw: Iterable[str] = ("".join(chr(97 + (7 * k) % 26) for k in range(20_000)),)
    vocab = learn_pieces("bpe", raw, size=200)
    assert vocab.decode(vocab.encode(next(iter(raw)))) == next(iter(raw))


@pytest.mark.parametrize(
    "content",
    [
        '{"kind": "word", "symbols": ["a", "a"]}',
        '{"kind": "bpe", "symbols": "abc"}',
        '{"kind": "word", "symbols": [""]}',
        '{"kind": "word", "symbols": [1]}',
        '{"kind": "words", "symbols": []}',
    ],
)
def test_a_damaged_vocabulary_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"vocab\.json"):
        load_vocabulary(tmp_path / "vocab.json")


def test_who_lacks_the_package_is_told_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"pip install tokenizers$"):
        read_tokenizer(tmp_path / "tokenizer.json")
