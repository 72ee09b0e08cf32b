"""Words or characters of sentences, and their ids. NumPy only.

Unlike the symbols of a text that is to be written, these are only read: the rare ones
share an id with the unknown, and what was between two words is forgotten.
"""

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np

from lstm_jax.data.special_ids import UNKNOWN

Level = Literal["word", "char"]

# A word, with what apostrophes and hyphens tie to it, or a run of punctuation.
_WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]+")


def tokens(text: str, level: Level) -> list[str]:
    """The words and punctuation marks of a text, or its characters; in lower case."""
    text = text.lower()
    return _WORD.findall(text) if level == "word" else list(" ".join(text.split()))


@dataclasses.dataclass(frozen=True)
class WordTokenizer:
    """A table of symbols: id 0 is unknown, id k is `symbols[k - 1]`."""

    level: Level
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        """How many ids there are."""
        return 1 + len(self.symbols)

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, [T], int32."""
        found = (self._ids.get(each, UNKNOWN) for each in tokens(text, self.level))
        return np.fromiter(found, np.int32)

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
