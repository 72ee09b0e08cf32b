"""Words or characters of sentences, and their ids. NumPy only.

Unlike the symbols of a text that is to be written, these are only read: the rare ones
share an id with the unknown, and what was between two words is forgotten. So are
capitals, and whether an accent is a character of its own (Unicode's NFC and NFD).
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.letters import composed, word_pattern

Level = Literal["word", "char"]


def tokens(text: str, level: Level, *, marks: bool = True) -> list[str]:
    """The words and punctuation marks of a text, or its characters; in lower case.

    Args:
        text: the text.
        level: what it is cut into.
        marks: whether combining marks are part of words, and the text is read in normal
            form C. Tables of former versions were made without.
    """
    text = composed(text.lower()) if marks else text.lower()
    if level == "char":
        return list(" ".join(text.split()))
    return _words_and_marks(marks).findall(text)


@functools.cache
def _words_and_marks(marks: bool) -> re.Pattern[str]:
    """A word, with what apostrophes and hyphens tie to it, or a run of punctuation."""
    word = word_pattern(marks)
    return re.compile(rf"{word}(?:['’\-]{word})*|[^\w\s]+")


@dataclasses.dataclass(frozen=True)
class WordTokenizer:
    """A table of symbols: id 0 is unknown, id k is `symbols[k - 1]`.

    Attributes:
        level: what a symbol is.
        symbols: all that have an id of their own.
        marks: see `tokens`.
    """

    level: Level
    symbols: tuple[str, ...]
    marks: bool = True

    def __len__(self) -> int:
        """How many ids there are."""
        return 1 + len(self.symbols)

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, [T], int32."""
        found = tokens(text, self.level, marks=self.marks)
        return np.array([self._ids.get(each, UNKNOWN) for each in found], np.int32)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: k for k, symbol in enumerate(self.symbols, start=1)}


def common_words(
    texts: Iterable[str], level: Level, limit: int, min_count: int = 2
) -> WordTokenizer:
    """A table of the most frequent symbols of some texts.

    Args:
        texts: those to learn from, and no others.
        level: what a symbol is.
        limit: how many ids there may be.
        min_count: a symbol seen less often is unknown.
    """
    counts = collections.Counter(each for text in texts for each in tokens(text, level))
    # Ties are broken by the symbol itself, not by the order of the texts.
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    often = [symbol for symbol in ranked[: limit - 1] if counts[symbol] >= min_count]
    return WordTokenizer(level, tuple(often))
