"""Two floors that count: how often a key sounds, and how often it stays.

Both give every key a probability of its own, as the network does, and are fitted to the
training part. The first is the same at all steps; the second, a Markov chain per key,
looks at whether the key sounded a step ago.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.music.data import Piece, piano_roll

_PRIOR = 0.5  # added to either count of a key (Krichevsky & Trofimov 1981)


@dataclasses.dataclass(frozen=True)
class KeyCounts:
    """What the training part says of every key.

    Attributes:
        marginal: P(it sounds), [88].
        begins: P(it sounds | it was silent), [88].
        stays: P(it sounds | it sounded), [88].
    """

    marginal: NDArray[np.float64]
    begins: NDArray[np.float64]
    stays: NDArray[np.float64]

    def nats(self, pieces: Sequence[Piece]) -> tuple[float, float]:
        """Negative log-likelihood per step, of the marginals and of the chains.

        Each piece's first step is not counted.
        """
        before, after = transitions(pieces)
        chained = np.where(before, self.stays, self.begins)
        return nats_per_step(self.marginal, after), nats_per_step(chained, after)


def fit_keys(pieces: Sequence[Piece]) -> KeyCounts:
    """Count how often every key sounds, begins and stays."""
    before, after = transitions(pieces)
    return KeyCounts(
        _share(after.sum(axis=0), len(after)),
        _share((~before & after).sum(axis=0), (~before).sum(axis=0)),
        _share((before & after).sum(axis=0), before.sum(axis=0)),
    )


def transitions(pieces: Sequence[Piece]) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """All steps of pieces but the last of each, and those that follow, [N, 88]."""
    rolls = [piano_roll(piece) > 0 for piece in pieces]
    return (
        np.concatenate([roll[:-1] for roll in rolls]),
        np.concatenate([roll[1:] for roll in rolls]),
    )


def nats_per_step(chances: NDArray[np.float64], sounding: NDArray[np.bool]) -> float:
    """-ln of the probability of what sounded, summed over keys, its mean over steps.

    Args:
        chances: P(a key sounds), [N, 88] or [88].
        sounding: which ones did, [N, 88].
    """
    right = np.where(sounding, chances, 1 - chances)
    return float(-np.log(right).sum(axis=-1).mean())


def _share(count: NDArray, of: NDArray | int) -> NDArray[np.float64]:
    return (count + _PRIOR) / (of + 2 * _PRIOR)
