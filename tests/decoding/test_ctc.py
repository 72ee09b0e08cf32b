"""CTC decoding against the sum over every path there is."""

import itertools
import math
from collections import defaultdict

import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data.special_ids import BLANK
from lstm_jax.decoding.ctc import (
    align_transcript,
    collapse,
    greedy_decode,
    prefix_beam_search,
)
from lstm_jax.models.ctc import transcript_nats

Transcript = tuple[int, ...]


def drop_repeats_then_blanks(path: Transcript) -> Transcript:
    """The definition, step by step."""
    kept = [s for k, s in enumerate(path) if k == 0 or s != path[k - 1]]
    return tuple(s for s in kept if s != BLANK)


def every_transcript(logits: np.ndarray) -> dict[Transcript, float]:
    """The probability of each transcript, path by path."""
    powers = np.exp(logits.astype(np.float64))
    chances = powers / powers.sum(axis=1, keepdims=True)
    totals: dict[Transcript, float] = defaultdict(float)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        chance = math.prod(chances[t, s] for t, s in enumerate(path))
        totals[drop_repeats_then_blanks(path)] += chance
    return totals


def some_scores(seed: int, frames: int = 5, symbols: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=1.5, size=(frames, symbols))


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_every_transcript_in_order(seed: int) -> None:
    logits = some_scores(seed)
    exact = every_transcript(logits)
    found = prefix_beam_search(logits, width=1000)
    assert {h.symbols for h in found} == set(exact)
    for hypothesis in found:
        expected = math.log(exact[hypothesis.symbols])
        assert hypothesis.log_probability == pytest.approx(expected, abs=1e-9)
    chances = [h.log_probability for h in found]
    assert chances == sorted(chances, reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_a_narrow_beam_is_a_lower_bound(seed: int) -> None:
    logits = some_scores(seed, frames=6)
    exact = every_transcript(logits)
    for width in (1, 2, 4):
        found = prefix_beam_search(logits, width)
        assert 1 <= len(found) <= width
        for hypothesis in found:
            assert hypothesis.log_probability <= math.log(exact[hypothesis.symbols])


def test_the_best_transcript_need_not_be_the_best_path() -> None:
    logits = np.log([[0.6, 0.4], [0.6, 0.4]])  # blank blank 0.36, but "1" 0.64
    assert greedy_decode(logits) == ()
    best = prefix_beam_search(logits, width=2)[0]
    assert best.symbols == (1,)
    assert best.log_probability == pytest.approx(math.log(0.64))


@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_the_best_path(seed: int) -> None:
    logits = some_scores(seed)
    paths = itertools.product(range(3), repeat=5)
    best = max(paths, key=lambda p: sum(logits[t, s] for t, s in enumerate(p)))
    assert greedy_decode(logits) == drop_repeats_then_blanks(best)


def test_repetitions_take_a_blank_between() -> None:
    assert collapse([1, 1, 0, 1, 2, 2, 0]) == (1, 1, 2)
    logits = np.log([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9]])
    assert prefix_beam_search(logits, 4)[0].symbols == (1, 1)


def test_long_and_sharp_scores_neither_overflow_nor_vanish() -> None:
    logits = np.full((300, 4), -400.0)
    logits[np.arange(300), np.arange(300) // 20 % 4] = 300.0
    found = prefix_beam_search(logits, 4)[0]
    assert found.symbols == greedy_decode(logits)
    assert found.log_probability == pytest.approx(0, abs=1e-6)


def test_the_loss_is_the_sum_over_all_paths() -> None:
    logits = np.stack([some_scores(seed) for seed in range(3)])
    lengths = np.array([5, 4, 3])
    rows = [[1, 2, 0], [2, 2, 0], [1, 0, 0]]
    found = transcript_nats(jnp.float32(logits), jnp.int32(lengths), jnp.int32(rows))
    for row, length, transcript, nats in zip(logits, lengths, rows, found, strict=True):
        symbols = tuple(s for s in transcript if s)
        exact = every_transcript(row[:length])[symbols]
        assert float(nats) == pytest.approx(-math.log(exact), abs=1e-4)


def test_a_beam_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="width of at least 1, found 0"):
        prefix_beam_search(some_scores(0), 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("transcript", [(), (1,), (2, 1), (1, 1), (1, 2, 2)])
def test_frames_go_to_symbols_as_in_the_likeliest_path(
    seed: int, transcript: Transcript
) -> None:
    logits = some_scores(seed, frames=6)
    paths = itertools.product(range(3), repeat=6)
    best = max(
        (path for path in paths if drop_repeats_then_blanks(path) == transcript),
        key=lambda path: sum(logits[t, s] for t, s in enumerate(path)),
    )
    found = align_transcript(logits, transcript)
    spelled = [BLANK if place < 0 else transcript[place] for place in found]
    assert tuple(spelled) == best
    used = [place for place in found if place >= 0]
    assert used == sorted(used) and set(used) == set(range(len(transcript)))


def test_a_transcript_longer_than_time_allows_has_no_alignment() -> None:
    with pytest.raises(ValueError, match="expected frames for 2 symbols, found 2"):
        align_transcript(some_scores(0, frames=2), (1, 1))
