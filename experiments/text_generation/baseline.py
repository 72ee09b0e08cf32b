"""The classical language model: counts of short contexts. NumPy only.

What a network that reads far back has to beat. With h the last n symbols, h' the last
n - 1, c a count in the training text and t(h) the number of different symbols seen
after h,

    p(x | h) = (c(h x) + t(h) p(x | h')) / (c(h) + t(h))

down to the empty context and, below it, 1 / V (Witten & Bell 1991).
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer]


def witten_bell(
    train: Ids, test: Ids, symbols: int, longest: int = 4
) -> NDArray[np.float64]:
    """-ln p of each symbol of a text but the first, in nats, [N - 1].

    Args:
        train: ids to count in.
        test: ids [N] to predict in one pass, each from those before it.
        symbols: V.
        longest: symbols of context; 4 makes it a 5-gram model.
    """
    learned = len(train)
    text = np.concatenate([train, test]).astype(np.int64)
    context = np.zeros(len(text), np.int64)  # a number for the symbols before each
    chances = np.full(len(test) - 1, 1 / symbols)
    for length in range(longest + 1):
        if length:
            farther = context[length:] * symbols + text[:-length]
            context = np.zeros(len(text), np.int64)
            context[length:] = np.unique(farther, return_inverse=True)[1]
        own = slice(length, learned)
        counts = _Counts(context[own], text[own], symbols)
        here = slice(max(length - 1, 0), None)  # symbols with so many before them
        places = np.arange(learned + 1, len(text))[here]
        chances[here] = counts.mixed(context[places], text[places], chances[here])
    return -np.log(chances)


class _Counts:
    """How often contexts, and symbols after them, are in a text."""

    def __init__(self, contexts: Ids, symbols: Ids, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        pairs = contexts * vocab_size + symbols
        self._pairs, self._pair_counts = np.unique(pairs, return_counts=True)
        of_pairs = self._pairs // vocab_size
        size = int(contexts.max(initial=0)) + 1
        self._counts = np.bincount(contexts, minlength=size)
        self._different = np.bincount(of_pairs, minlength=size)

    def mixed(self, contexts: Ids, symbols: Ids, shorter: NDArray) -> NDArray:
        """p(x | h), given p(x | h'). An unknown context says nothing new."""
        known = contexts < len(self._counts)
        h = np.where(known, contexts, 0)
        pairs = contexts * self._vocab_size + symbols
        place = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        seen = np.where(self._pairs[place] == pairs, self._pair_counts[place], 0)
        total = np.where(known, self._counts[h] + self._different[h], 0)
        weighted = seen + np.where(known, self._different[h], 0) * shorter
        return np.where(total > 0, weighted / np.maximum(total, 1), shorter)
