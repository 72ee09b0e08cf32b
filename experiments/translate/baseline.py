"""A dictionary learned from parallel sentences, and translation word by word with it.

IBM model 1 (Brown et al. 1993): every word of a translation comes from one word of the
source or from none, whatever their places. NumPy only.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from experiments.translate.data import Pairs
from lstm_jax.data import split_words

_NOTHING = ""  # what words come from that no word of the source explains


def learn_lexicon(pairs: Pairs, iterations: int = 5) -> dict[str, str]:
    """The likeliest translation of every source word.

    Args:
        pairs: sentences and their translations.
        iterations: steps of expectation and maximization.
    """
    sources, targets, origins, results, spots = _links(pairs)
    wanted = origins * len(targets) + results
    links, place = np.unique(wanted, return_inverse=True)
    from_words, to_words = np.divmod(links, len(targets))
    chance = np.ones(len(links))
    for _ in range(iterations):
        share = chance[place]
        share /= np.bincount(spots, share)[spots]
        counts = np.bincount(place, share)
        chance = counts / np.bincount(from_words, counts)[from_words]
    order = np.lexsort((-to_words, chance))  # the last one is the likeliest
    best = dict(zip(from_words[order].tolist(), to_words[order].tolist(), strict=True))
    return {sources[f]: targets[t] for f, t in best.items() if sources[f] != _NOTHING}


def translate_by_words(lexicon: Mapping[str, str], text: str) -> str:
    """A text with each word replaced by its translation; unknown words stay."""
    return "".join(lexicon.get(word, word) for word in split_words(text)).strip()


def _links(
    pairs: Pairs,
) -> tuple[list[str], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """All words of both sides, and who may come from whom.

    Returns:
        The source words, the target words, and for every possible link the number of
        the source word, of the target word, and of the target word's place in the text.
    """
    known: dict[str, int] = {}
    targets: dict[str, int] = {}
    origins, results, spots = [], [], []
    spot = 0
    for source, target in pairs:
        ours = _number(known, [_NOTHING, *split_words(source)])
        theirs = _number(targets, split_words(target))
        origins.append(np.tile(ours, len(theirs)))
        results.append(np.repeat(theirs, len(ours)))
        spots.append(np.repeat(np.arange(spot, spot + len(theirs)), len(ours)))
        spot += len(theirs)
    links = np.concatenate(origins), np.concatenate(results), np.concatenate(spots)
    return list(known), list(targets), *links


def _number(known: dict[str, int], words: Iterable[str]) -> np.ndarray:
    """The numbers of some words; new ones get the next."""
    return np.array([known.setdefault(word, len(known)) for word in words], int)
