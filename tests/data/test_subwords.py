"""Byte-pair encoding against a slow one, and text that comes back."""

import unicodedata
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.data.special_ids import END, START, UNKNOWN
from lstm_jax.data.tokenizers.subwords import BPETokenizer, learn_subwords, split_words
from lstm_jax.errors import InputError

TEXT = [
    "der hund und der große hund, die hunde.",
    "die katze - der hund!! und 3.000 katzen",
    "aaaa aaaaa der hundehund",
]


def merged(word: list[str], pair: tuple[str, ...]) -> list[str]:
    """One pair at a time, each from the left."""
    for k in range(len(word) - 1):
        if tuple(word[k : k + 2]) == pair:
            return [*word[:k], "".join(pair), *merged(word[k + 2 :], pair)]
    return word


def slow_learn(lines: list[str], size: int) -> list[str]:
    """All pairs of all words counted anew before every merge."""
    words = [list(word) for line in lines for word in split_words(line)]
    symbols = sorted({c for word in words for c in word})
    while 3 + len(symbols) < size:
        counts = Counter(pair for word in words for pair in pairwise(word))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        if counts[best] < 2:
            break
        words = [merged(word, best) for word in words]
        if "".join(best) not in symbols:
            symbols.append("".join(best))
    return symbols


@pytest.mark.parametrize("size", [0, 30, 40, 1000])
def test_what_is_learned_is_what_slow_counting_learns(size: int) -> None:
    subwords = learn_subwords(TEXT, size)
    assert list(subwords.symbols) == slow_learn(TEXT, size)
    assert len(subwords) == 3 + len(subwords.symbols)
    assert len(subwords) <= max(size, 3 + len({*"".join(TEXT)}))


def test_frequent_words_become_one_symbol() -> None:
    subwords = learn_subwords(TEXT, 1000)
    assert subwords.names(subwords.encode("der hund")) == [" der", " hund"]
    assert subwords.names(subwords.encode("hundehund")) == [" hunde", "hund"]


def test_what_was_learned_first_is_merged_first() -> None:
    symbols = (" ", "a", "b", "c")
    first_bc, first_ab = (
        BPETokenizer((*symbols, "bc", "ab")),
        BPETokenizer((*symbols, "ab", "bc")),
    )
    assert first_bc.names(first_bc.encode("abc")) == [" ", "a", "bc"]
    assert first_ab.names(first_ab.encode("abc")) == [" ", "ab", "c"]


LEARNED = learn_subwords(TEXT, 50)


@settings(max_examples=40, deadline=None)
@given(st.text())
def test_text_comes_back(text: str) -> None:
    subwords = learn_subwords(["x", text], 30)
    ids = subwords.encode(text)
    expected = unicodedata.normalize("NFC", " ".join(text.split()))
    assert subwords.decode(ids) == expected
    assert not {UNKNOWN, START, END} & set(ids)


def test_what_was_never_seen_is_unknown() -> None:
    ids = LEARNED.encode("der höund")
    assert ids.count(UNKNOWN) == 1
    assert LEARNED.decode([START, *ids, END]) == "der h\ufffdund"


def test_equal_tables_are_equal() -> None:
    again = BPETokenizer(LEARNED.symbols)
    assert again == LEARNED and again.encode(TEXT[0]) == LEARNED.encode(TEXT[0])


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(InputError, match="expected a text"):
        learn_subwords(["", "  "], 10)
