"""Reading transcripts off CTC logits (Graves et al. 2006): greedy and prefix beam.

Each frame scores every symbol and a blank. A path through the frames becomes a
transcript by dropping repetitions, then blanks; the probability of a transcript is the
sum over all its paths. Greedy decoding takes the best path; the beam search adds up the
paths of a transcript (Hannun et al. 2014), and finds the likeliest transcript if the
beam is wide enough. NumPy only: one utterance at a time, on the host.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable

import numpy as np

from lstm_jax.data.special_ids import BLANK

Transcript = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A transcript, and the logarithm of its probability, in nats."""

    symbols: Transcript
    log_probability: float


def collapse(path: Iterable[int]) -> Transcript:
    """The transcript of a path: repetitions dropped, then blanks."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def greedy_decode(logits: np.ndarray) -> Transcript:
    """The transcript of the best path through logits [T, V]."""
    return collapse(logits.argmax(axis=1).tolist())


def prefix_beam_search(logits: np.ndarray, width: int) -> list[Hypothesis]:
    """The likeliest transcripts, the best first, at most `width`.

    The probability of a transcript is the sum over those of its paths of which no
    prefix fell out of the beam; so it is a lower bound, exact for a wide beam.

    Args:
        logits: [T, V], need not be normalised.
        width: prefixes that are kept from frame to frame.

    Raises:
        ValueError: the width is below 1.
    """
    if width < 1:
        raise ValueError(f"expected a width of at least 1, found {width}")
    # Of each prefix: the probability of its paths that end with a blank, and of those
    # that end with its last symbol. Scaled anew at every frame, so that sums suffice.
    beam: dict[Transcript, tuple[float, float]] = {(): (1.0, 0.0)}
    scale = 0.0
    for frame in _softmax(logits).tolist():
        beam = _widest(_extend(beam, frame), width)
        total = sum(map(sum, beam.values()))
        beam = {p: (b / total, s / total) for p, (b, s) in beam.items()}
        scale += math.log(total)
    return [
        Hypothesis(prefix, scale + math.log(sum(parts)))
        for prefix, parts in beam.items()
        if sum(parts) > 0
    ]


def _extend(
    beam: dict[Transcript, tuple[float, float]], frame: list[float]
) -> dict[Transcript, tuple[float, float]]:
    """The prefixes after one frame more."""
    grown: dict[Transcript, tuple[float, float]] = {}
    for prefix, (blank, symbol) in beam.items():
        both = blank + symbol
        last = prefix[-1] if prefix else BLANK
        _add(
            grown, prefix, both * frame[BLANK], symbol * frame[last] if prefix else 0.0
        )
        for new, chance in enumerate(frame):
            if new != BLANK:
                # The same symbol twice takes a blank between.
                _add(
                    grown,
                    (*prefix, new),
                    0.0,
                    chance * (blank if new == last else both),
                )
    return grown


def _add(
    grown: dict[Transcript, tuple[float, float]],
    prefix: Transcript,
    blank: float,
    symbol: float,
) -> None:
    """Add the probability of more paths to that of a prefix."""
    before = grown.get(prefix, (0.0, 0.0))
    grown[prefix] = before[0] + blank, before[1] + symbol


def _widest(
    beam: dict[Transcript, tuple[float, float]], width: int
) -> dict[Transcript, tuple[float, float]]:
    """The likeliest prefixes, sorted."""
    ranked = sorted(beam.items(), key=lambda item: -sum(item[1]))
    return dict(ranked[:width])


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return powers / powers.sum(axis=1, keepdims=True)
