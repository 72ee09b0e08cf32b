"""Words or subwords of a text that is to be written again, hence without any loss.

The text is cut into words, each with the space before it, runs of punctuation and of
other white space; joined they are the text. A symbol is a whole word, if it is common,
or with "bpe" a piece of one. Every character of the training text is a symbol too, so
a word that is not in the table is spelled, and only characters never seen are unknown.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.letters import combining_marks
from lstm_jax.data.tokenizers.subwords import cut_word, merge_words
from lstm_jax.data.tokenizers.vocabulary import (
    TextSize,
    count_ids,
    name_of_symbol,
    utf8_size,
)
from lstm_jax.errors import InputError

PieceKind = Literal["word", "bpe"]

_LEARNED = 4000  # words or pieces, unless a size is asked for
_FEWEST = 2  # a word seen once teaches nothing
LONGEST = 48  # characters of a word; merging is quadratic in it
_KEPT_CUTS = 1 << 20  # words whose symbols are remembered
_JOINERS = "\u200c\u200d"  # of Persian and Indic words


@dataclasses.dataclass(frozen=True)
class PieceTokenizer:
    """A two-way table between words, or pieces of them, and ids.

    Attributes:
        kind: what the table was learned from: whole words, or pairs merged one after
            the other, whose order then counts.
        symbols: id k is `symbols[k - 1]`; id 0 is every character that is not there.
    """

    kind: PieceKind
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        """V, the number of ids."""
        return 1 + len(self.symbols)

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    @property
    def unknown_id(self) -> int:
        """The id of all characters that were not seen in training."""
        return UNKNOWN

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text [T]."""
        if isinstance(text, bytes):
            text = text.decode()
        found = [i for word in split_text(text) for i in self._cut(word)]
        return np.array(found, self.dtype)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some ids: their symbols, joined. UNKNOWN becomes U+FFFD."""
        every = self._every
        return "".join(every[int(i)] for i in ids)

    def decoder(self, after: Iterable[int] | np.ndarray = ()) -> "PieceDecoder":
        """A decoder for ids that arrive piece by piece."""
        return PieceDecoder(self)

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that the table lacks, as they come."""
        return list(dict.fromkeys(c for c in text if c not in self._ids))

    def extended(self, characters: str) -> "PieceTokenizer":
        """The table with those of some characters that it lacks, as its last ids."""
        new = self.unknown(characters)
        return dataclasses.replace(self, symbols=(*self.symbols, *new))

    def names(self) -> list[str]:
        """A visible name of every id."""
        return ["unknown", *map(name_of_symbol, self.symbols)]

    def size_of(self, ids: np.ndarray) -> TextSize:
        """How long the text of some ids is; an unknown character counts as U+FFFD."""
        characters, in_bytes = count_ids(ids, len(self)) @ self._sizes
        return TextSize(int(characters), int(in_bytes))

    @functools.cached_property
    def _every(self) -> tuple[str, ...]:
        return ("\ufffd", *self.symbols)

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        return np.array([utf8_size(symbol) for symbol in self._every])

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: k for k, symbol in enumerate(self.symbols, start=1)}

    @functools.cached_property
    def _cut(self) -> Callable[[str], tuple[int, ...]]:
        """The ids of a word; the words of a text are few, so they are remembered."""
        ids = self._ids

        def cut(word: str) -> tuple[int, ...]:
            if word in ids:
                return (ids[word],)
            symbols = word if self.kind == "word" else cut_word(ids, word)
            return tuple(ids.get(symbol, UNKNOWN) for symbol in symbols)

        return functools.lru_cache(_KEPT_CUTS)(cut)


class PieceDecoder:
    """Turns ids into text as they come: every symbol is complete by itself."""

    def __init__(self, vocab: PieceTokenizer) -> None:
        self._vocab = vocab

    def __call__(self, ids: Iterable[int] | np.ndarray, final: bool = False) -> str:
        """The text of these ids."""
        return self._vocab.decode(ids)


def learn_pieces(
    kind: PieceKind, texts: Iterable[str], size: int | None = None
) -> PieceTokenizer:
    """Learn a table from a training text.

    Args:
        kind: "word" takes the most frequent words, "bpe" merges the most frequent pair
            of neighbours again and again.
        texts: the training text in parts, cut where `whole_words` cuts.
        size: V, the ids to make, or fewer if no more words or pairs are common; by
            default 4,000 beside the characters.

    Raises:
        InputError: there are more characters than ids.
    """
    words = Counter(word for text in texts for word in split_text(text))
    characters = sorted({c for word in words for c in word})
    least = 1 + len(characters)
    if size is None:
        size = least + _LEARNED
    if size < least:
        raise InputError(
            f"--vocab-size: expected at least {least}, one for each character of the "
            f"training text and one for the unknown, found {size}"
        )
    if kind == "bpe":
        return PieceTokenizer(kind, tuple(merge_words(words, characters, size - 1)))
    often = [w for w, n in words.items() if n >= _FEWEST and len(w) > 1]
    # Ties are broken by the word itself, not by where it came first.
    ranked = sorted(often, key=lambda word: (-words[word], word))
    return PieceTokenizer(kind, (*characters, *ranked[: size - least]))


def split_text(text: str) -> list[str]:
    """The words of a text, its punctuation and white space; joined they are the text.

    A word has the space before it, and what apostrophes and hyphens tie to it.
    """
    return _pattern().findall(text)


def whole_words(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in pieces that do not end inside of a word.

    Only a piece that is a single word, or white space, is passed on as it is.
    """
    kept = ""
    for piece in pieces:
        kept += piece
        end = _last_break(kept) or len(kept)
        yield kept[:end]
        kept = kept[end:]
    if kept:
        yield kept


def _last_break(text: str) -> int:
    """Where the last word ends that white space follows; 0 if none does."""
    end = len(text.rstrip())
    if end < len(text):
        return end
    while end and not text[end - 1].isspace():
        end -= 1
    return len(text[:end].rstrip())


@functools.cache
def _pattern() -> re.Pattern[str]:
    letter = f"[{letters()}]"
    other = rf"[^\s{letters()}]"
    return re.compile(
        rf" ?{letter}(?:{letter}|['’\-](?={letter})){{0,{LONGEST - 1}}}"
        rf"| ?{other}{{1,{LONGEST}}}|\s{{1,{LONGEST}}}(?!\S)|\s"
    )


def letters() -> str:
    """What a word is made of, as the inside of a character class."""
    return rf"\w{_JOINERS}{combining_marks()}"
