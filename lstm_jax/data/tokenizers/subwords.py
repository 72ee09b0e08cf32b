"""Subwords: pieces of words and their ids, learned from a text by byte-pair encoding.

Frequent words become one symbol, rare ones are spelled out in pieces, so that a small
table reads any text (Sennrich et al. 2016). A word keeps the space before it, hence
text comes back from ids as it was, but for the amount of white space, and in Unicode's
normal form C, in which an accent and its letter are one character.
"""

import dataclasses
import functools
import heapq
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.letters import composed, word_pattern
from lstm_jax.errors import InputError

_SPECIAL = ("\ufffd", "", "")  # how they are written
_FEWEST = 2  # a pair seen once teaches nothing

Pair = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class BPETokenizer:
    """A two-way table between pieces of words and ids.

    Attributes:
        symbols: the characters of the training text, then the merged pieces, in the
            order in which they were learned. Symbol k has the id 3 + k; ids 0 to 2 are
            UNKNOWN, START and END.
        marks: see `split_words`.
    """

    symbols: tuple[str, ...]
    marks: bool = True

    def __len__(self) -> int:
        """V, the number of ids."""
        return len(_SPECIAL) + len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without START and END."""
        words = split_words(text, marks=self.marks)
        return [self._ids.get(s, UNKNOWN) for word in words for s in self._cut(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; what was UNKNOWN becomes U+FFFD."""
        return "".join(self.names(ids)).strip()

    def names(self, ids: Iterable[int]) -> list[str]:
        """The piece of text that each id stands for."""
        every = _SPECIAL + self.symbols
        return [every[i] for i in ids]

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {s: k for k, s in enumerate(self.symbols, len(_SPECIAL))}

    @functools.cached_property
    def _cut(self) -> Callable[[str], Sequence[str]]:
        """The symbols of a word; the words of a text are few, so they are kept."""
        return functools.cache(functools.partial(cut_word, self._ids))


def split_words(text: str, *, marks: bool = True) -> list[str]:
    """The words and the runs of punctuation of a text, with the space before them.

    Args:
        text: the text.
        marks: whether combining marks are part of words, and the text is read in normal
            form C. Tables of former versions were made without.
    """
    text = composed(text) if marks else text
    return _words_and_runs(marks).findall(" " + " ".join(text.split()))


@functools.cache
def _words_and_runs(marks: bool) -> re.Pattern[str]:
    return re.compile(rf" ?{word_pattern(marks)}| ?[^\w\s]+")


def learn_subwords(lines: Iterable[str], size: int) -> BPETokenizer:
    """Merge the most frequent pair of neighbours, again and again.

    Args:
        lines: the training text.
        size: V, the ids to make. All characters get one, so there may be more; there
            are fewer if no pair is left that was seen twice.

    Raises:
        InputError: the text is empty.
    """
    words = Counter(word for line in lines for word in split_words(line))
    if not words:
        raise InputError("expected a text to learn subwords from, found none")
    characters = sorted({c for word in words for c in word})
    return BPETokenizer(tuple(merge_words(words, characters, size - len(_SPECIAL))))


def merge_words(words: Counter[str], characters: Iterable[str], size: int) -> list[str]:
    """The characters, then the merged pieces in the order in which they are learned.

    Args:
        words: how often each is in the training text.
        characters: of these words, each once.
        size: how many symbols there may be.
    """
    symbols = dict.fromkeys(characters)
    merges = _Merges(words)
    while len(symbols) < size and (pair := merges.best()):
        merges.apply(pair)
        symbols["".join(pair)] = None
    return list(symbols)


class _Merges:
    """The words of a text as symbols, and how often which are neighbours."""

    def __init__(self, words: Counter[str]) -> None:
        self._words = [list(word) for word in words]
        self._weights = list(words.values())
        self._counts: Counter[Pair] = Counter()
        self._places: defaultdict[Pair, set[int]] = defaultdict(set)
        for place in range(len(self._words)):
            self._count(place, 1)
        self._heap = [(-count, pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def best(self) -> Pair | None:
        """The most frequent pair; of equal ones the first by alphabet."""
        while self._heap:
            count, pair = self._heap[0]
            if -count != self._counts[pair]:
                heapq.heappop(self._heap)  # it was counted anew since
            else:
                return pair if -count >= _FEWEST else None
        return None

    def apply(self, pair: Pair) -> None:
        """Make one symbol of two, wherever they are neighbours."""
        changed = set()
        for place in sorted(self._places[pair]):
            before = self._pairs(place)
            self._count(place, -1)
            self._words[place] = _merge(self._words[place], pair)
            self._count(place, 1)
            changed.update(before, self._pairs(place))
        for other in changed:
            heapq.heappush(self._heap, (-self._counts[other], other))

    def _pairs(self, place: int) -> list[Pair]:
        return list(itertools.pairwise(self._words[place]))

    def _count(self, place: int, sign: int) -> None:
        for pair in self._pairs(place):
            self._counts[pair] += sign * self._weights[place]
            if sign > 0:
                self._places[pair].add(place)
            else:
                self._places[pair].discard(place)


def _merge(word: list[str], pair: Pair) -> list[str]:
    """A word with every occurrence of a pair made one symbol, from the left."""
    merged: list[str] = []
    k = 0
    while k < len(word):
        whole = tuple(word[k : k + 2]) == pair
        merged.append("".join(pair) if whole else word[k])
        k += 2 if whole else 1
    return merged


def cut_word(ids: dict[str, int], word: str) -> list[str]:
    """A word cut into symbols: what was learned first is merged first."""
    symbols = list(word)
    while True:
        pairs = [p for p in itertools.pairwise(symbols) if "".join(p) in ids]
        if not pairs:
            return symbols
        symbols = _merge(symbols, min(pairs, key=lambda pair: ids["".join(pair)]))
