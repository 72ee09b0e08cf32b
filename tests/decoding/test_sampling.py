"""The rules of choosing a symbol, each against a loop over symbols."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from lstm_jax.data.special_ids import NO_SYMBOL
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.decoding.sampling import (
    block_ngrams,
    filter_min_p,
    filter_top_k_top_p,
    penalize,
    remember,
    rules_of,
)
from lstm_jax.errors import InputError


def softmax(scores: NDArray) -> NDArray:
    """In float64, so that a sum is what it is by hand."""
    chances = np.exp(scores.astype(np.float64) - scores.max())
    return chances / chances.sum()


def top_k_warper(scores: NDArray, top_k: int) -> NDArray:
    """Hugging Face's TopKLogitsWarper: what is below the k-th highest is removed."""
    least = np.sort(scores)[::-1][min(top_k, len(scores)) - 1]
    return np.where(scores < least, -np.inf, scores)


def top_p_warper(scores: NDArray, top_p: float) -> NDArray:
    """Hugging Face's TopPLogitsWarper, which keeps at least one.

    A sum within rounding of the bound is taken to be the bound.
    """
    if top_p == 1.0:
        return scores
    order = np.argsort(scores, kind="stable")
    sums = softmax(scores)[order].cumsum()
    removed = sums <= 1 - top_p + 1e-9
    removed[-1] = False
    found = scores.copy()
    found[order[removed]] = -np.inf
    return found


def min_p_warper(scores: NDArray, min_p: float) -> NDArray:
    """Hugging Face's MinPLogitsWarper."""
    chances = softmax(scores)
    return np.where(chances < min_p * chances.max() * (1 - 1e-9), -np.inf, scores)


def cases() -> Iterator[tuple[NDArray, int, float]]:
    """Random scores, some with ties, some with symbols ruled out before."""
    rng = np.random.default_rng(1)
    for number in range(300):
        size = int(rng.integers(1, 9))
        logits = rng.normal(size=size)
        if number % 3 == 0:
            logits = rng.integers(-1, 2, size=size).astype(float)
        if number % 4 == 0:
            logits[rng.random(size) < 0.3] = -np.inf
        if np.isneginf(logits).all():
            logits[0] = 0.0
        yield logits.astype(np.float32), int(rng.integers(1, 12)), rng.uniform(0.02, 1)


def test_kept_is_what_hugging_face_keeps() -> None:
    """Random scores, with ties, with symbols ruled out before."""
    keep = jax.jit(filter_top_k_top_p)
    padded = np.full((1, 8), -np.inf, np.float32)
    for logits, top_k, top_p in cases():
        row = padded.copy()
        row[0, : len(logits)] = logits
        found = np.asarray(keep(row, jnp.int32(top_k), jnp.float32(top_p)))[0]
        expected = top_p_warper(top_k_warper(row[0], top_k), top_p)
        np.testing.assert_array_equal(found, expected, str((logits, top_k, top_p)))


TENTHS = [0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("chances", "top_k", "top_p", "kept"),
    [
        *((TENTHS, 4, top_p, 1) for top_p in (0.1, 0.3, 0.4)),
        *((TENTHS, 4, top_p, 2) for top_p in (0.41, 0.69, 0.7)),
        *((TENTHS, 4, top_p, 3) for top_p in (0.71, 0.9)),
        *((TENTHS, 4, top_p, 4) for top_p in (0.91, 1.0)),
        ([0.5, 0.25, 0.125, 0.125], 4, 0.75, 2),
        ([0.99, 0.01], 2, 0.99, 1),
        ([0.2] * 5, 5, 0.4, 2),
        ([0.1] * 10, 10, 0.7, 7),
        ([0.01] * 100, 100, 0.29, 29),
        ([0.25] * 4, 1, 1.0, 4),
        ([0.25] * 4, 1, 0.01, 1),
        ([0.4, 0.2, 0.2, 0.2], 2, 1.0, 4),
        ([0.4, 0.2, 0.2, 0.2], 2, 0.5, 2),
        ([0.5, 0.25, 0.25], 2, 0.75, 2),
    ],
)
def test_a_sum_that_is_just_reached_is_enough(
    chances: list[float], top_k: int, top_p: float, kept: int
) -> None:
    """Whatever constant is in the logits, and in whatever order they are."""
    scores = np.log(np.array(chances))
    expected = top_p_warper(top_k_warper(scores, top_k), top_p)
    assert np.isfinite(expected).sum() == kept
    rng = np.random.default_rng(0)
    for shift in (-3.3, 0.0, 7.7):
        order = rng.permutation(len(chances))
        logits = jnp.asarray(scores[order] + shift, jnp.float32)[None]
        found = jax.jit(filter_top_k_top_p)(logits, top_k, top_p)
        assert int(jnp.sum(found > -jnp.inf)) == kept
        lost = logits[0][~jnp.isfinite(found[0])]
        assert jnp.all(lost <= found.max(where=jnp.isfinite(found), initial=-99))


@pytest.mark.parametrize("min_p", [0.25, 0.5, 0.75, 0.3])
def test_what_has_just_its_share_stays(min_p: float) -> None:
    scores = np.log(np.array(TENTHS))
    expected = np.isfinite(min_p_warper(scores, min_p))
    for shift in (-3.3, 0.0, 7.7):
        logits = jnp.asarray(scores + shift, jnp.float32)[None]
        found = jax.jit(filter_min_p)(logits, jnp.float32(min_p))
        np.testing.assert_array_equal(np.isfinite(found[0]), expected)


def ngrams_blocked(history: list[int], size: int) -> set[int]:
    """Hugging Face's NoRepeatNGramLogitsProcessor: what has followed already."""
    followed: dict[tuple[int, ...], set[int]] = {}
    for at in range(len(history) - size + 1):
        *begun, last = history[at : at + size]
        followed.setdefault(tuple(begun), set()).add(last)
    if len(history) + 1 < size:
        return set()
    return followed.get(tuple(history[len(history) + 1 - size :]), set())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_run_of_symbols_is_made_twice(size: int) -> None:
    rng = np.random.default_rng(size)
    block = jax.jit(block_ngrams, static_argnums=2)
    seen = 0
    for length in (0, 1, 2, 4, 9, 12, 12, 12):
        recent = np.full((2, 12), NO_SYMBOL, np.int32)
        history = rng.integers(2 if size > 3 else 3, size=(2, length))
        recent[:, 12 - length :] = history
        found = np.asarray(block(jnp.zeros((2, 4)), jnp.asarray(recent), size))
        for row, before in zip(found, history.tolist(), strict=True):
            blocked = ngrams_blocked(before, size)
            assert set(np.flatnonzero(row == -np.inf).tolist()) == blocked
            seen += len(blocked)
    assert seen


def test_something_is_always_left() -> None:
    """Where every symbol is blocked, none is."""
    logits = jnp.array([[-jnp.inf, 1.0, 2.0]])
    recent = jnp.array([[1, 2, 1, 2]], jnp.int32)
    np.testing.assert_array_equal(block_ngrams(logits, recent, 1), logits)


def test_rows_are_filtered_by_themselves() -> None:
    logits = jnp.log(jnp.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    found = filter_top_k_top_p(logits, jnp.int32(3), jnp.float32(0.7))
    kept = (found > -jnp.inf).tolist()
    assert kept == [[True, True, False], [False, False, True]]


@pytest.mark.parametrize("min_p", [0.01, 0.3, 0.999, 1.0])
def test_kept_is_what_has_its_share_of_the_likeliest(min_p: float) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(40, 7)).astype(np.float32)
    logits[rng.random(logits.shape) < 0.2] = -np.inf
    logits[:, 0] = 0
    found = np.asarray(jax.jit(filter_min_p)(logits, jnp.float32(min_p)))
    for row, kept in zip(logits, found, strict=True):
        chances = np.exp(row.astype(np.float64))
        for symbol, chance in enumerate(chances):
            stays = chance > 0 and chance >= min_p * chances.max() * (1 - 1e-6)
            assert kept[symbol] == (row[symbol] if stays else -np.inf)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_what_was_said_within_the_window_is_penalized(window: int) -> None:
    """A chance p becomes p to the power of the penalty, whatever the scores' origin."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4, 6)).astype(np.float32)
    logits[0, 2] = -np.inf
    recent = rng.integers(6, size=(4, 5)).astype(np.int32)
    recent[1, :3] = NO_SYMBOL
    penalty = 1.7
    chances = np.exp(logits.astype(np.float64))
    chances /= chances.sum(axis=1, keepdims=True)
    for row, said in zip(chances, recent, strict=True):
        for symbol in {int(s) for s in said[5 - window :]} - {NO_SYMBOL}:
            row[symbol] **= penalty
    for shift in (0.0, 5.0):
        found = penalize(
            jnp.asarray(logits + shift),
            jnp.asarray(recent),
            jnp.float32(penalty),
            jnp.int32(window),
        )
        np.testing.assert_allclose(np.exp(found), chances, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_newest_are_remembered(count: int) -> None:
    recent = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
    made = np.array([[11, 15], [12, 16], [13, 17]], np.int32)
    found = remember(jnp.asarray(recent), jnp.asarray(made), jnp.int32(count))
    rows = zip(recent, made.T, strict=True)
    expected = [[*row, *new[:count]][-4:] for row, new in rows]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"temperature": -0.1},
            "^--temperature: expected a number at least 0, found -0.1",
        ),
        ({"temperature": float("nan")}, "^--temperature: expected"),
        ({"temperature": float("inf")}, "^--temperature: expected"),
        ({"top_k": -1}, "^--top-k: expected a number 0 or more, found -1"),
        ({"top_p": 0.0}, "^--top-p: expected a number in"),
        ({"top_p": 1.1}, "^--top-p: expected a number in"),
        ({"top_p": float("nan")}, "^--top-p: expected a number in"),
        ({"min_p": -0.1}, "^--min-p: expected a number in"),
        ({"min_p": 1.1}, "^--min-p: expected a number in"),
        (
            {"repetition_penalty": 0.9},
            "^--repetition-penalty: expected a number at least",
        ),
        ({"repetition_penalty": float("inf")}, "^--repetition-penalty: expected"),
        ({"repetition_window": 0}, "^--repetition-window: expected a number in"),
        ({"repetition_window": 257}, "^--repetition-window: expected a number in"),
        ({"no_repeat_ngram": -1}, "^--no-repeat-ngram: expected 0 to 256, found -1"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rules_of(SamplingConfig(**settings), 9)
