"""Reading transcripts off CTC logits (Graves et al. 2006): greedy and prefix beam.

Each frame scores every symbol and a blank. A path through the frames becomes a
transcript by dropping repetitions, then blanks; the probability of a transcript is the
sum over all its paths. Greedy decoding takes the best path; the beam search adds up the
paths of a transcript (Hannun et al. 2014), and finds the likeliest transcript if the
beam is wide enough. `align_transcript` tells where in time its symbols are. NumPy
only: one utterance at a time, on the host.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

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


def align_transcript(logits: np.ndarray, transcript: Sequence[int]) -> np.ndarray:
    """Which place of a transcript each frame is spent on, in its likeliest path.

    The algorithm of Viterbi, over the blanks and symbols of the transcript.

    Args:
        logits: [T, V], need not be normalised.
        transcript: N symbols, none of them blank.

    Returns:
        Places [T] from 0 to N - 1; -1 where the path has a blank.

    Raises:
        ValueError: there are too few frames for the transcript.
    """
    states = np.full(2 * len(transcript) + 1, BLANK)
    states[1::2] = transcript
    # A blank between two symbols may be left out, unless they are the same.
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), -np.inf)
    best[0] = 0.0  # before the first frame, from where the first two can be reached
    came = np.zeros((len(logits), len(states)), int)
    for t, frame in enumerate(np.log(_softmax(logits) + 1e-300)):
        before = np.stack([best, _shifted(best, 1), _shifted(best, 2)])
        before[2, ~skips] = -np.inf
        came[t] = before.argmax(axis=0)
        best = before.max(axis=0) + frame[states]
    state = len(states) - 1 - int(best[-2:][::-1].argmax()) if transcript else 0
    if not np.isfinite(best[state]):
        raise ValueError(
            f"expected frames for {len(transcript)} symbols, found {len(logits)}"
        )
    path = np.zeros(len(logits), int)
    for t in reversed(range(len(logits))):
        path[t] = state
        state -= came[t, state]
    return np.where(path % 2 == 1, path // 2, -1)


def _shifted(scores: np.ndarray, by: int) -> np.ndarray:
    """Scores [S] of the states `by` before each."""
    return np.concatenate([np.full(by, -np.inf), scores])[: len(scores)]


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
