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
    filter_min_p,
    filter_top_k_top_p,
    penalize,
    remember,
    rules_of,
)
from lstm_jax.errors import InputError


def kept_by_hand(logits: NDArray, top_k: int, top_p: float) -> set[int]:
    """Symbol after symbol from the likeliest, until there are enough; then the ties."""
    order = sorted(range(len(logits)), key=lambda symbol: -logits[symbol])[:top_k]
    chances = np.exp(logits[order].astype(np.float64) - logits.max())
    head, share = [], 0.0
    for symbol, chance in zip(order, chances / chances.sum(), strict=True):
        if share < top_p:
            head.append(symbol)
            share += chance
    return {symbol for symbol, s in enumerate(logits) if s >= logits[head].min()}


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


def test_kept_are_the_fewest_that_reach_their_share() -> None:
    """Against a loop over symbols; what is kept keeps its score."""
    keep = jax.jit(filter_top_k_top_p)
    padded = np.full((1, 8), -np.inf, np.float32)
    for logits, top_k, top_p in cases():
        row = padded.copy()
        row[0, : len(logits)] = logits
        found = np.asarray(keep(row, jnp.int32(top_k), jnp.float32(top_p)))[0]
        expected = kept_by_hand(row[0], top_k, top_p)
        finite = {symbol for symbol in expected if np.isfinite(row[0, symbol])}
        assert set(np.flatnonzero(found > -np.inf)) == finite, (logits, top_k, top_p)
        np.testing.assert_array_equal(found[sorted(finite)], row[0, sorted(finite)])


@pytest.mark.parametrize(
    ("chances", "top_k", "top_p", "kept"),
    [
        ([0.4, 0.2, 0.2, 0.2], 4, 0.3, [0]),
        ([0.4, 0.2, 0.2, 0.2], 4, 0.5, [0, 1, 2, 3]),
        ([0.4, 0.2, 0.2, 0.2], 2, 1.0, [0, 1, 2, 3]),
        ([0.2, 0.4, 0.2, 0.2], 1, 1.0, [1]),
        ([0.3, 0.3, 0.3, 0.1], 4, 0.5, [0, 1, 2]),
        ([0.3, 0.3, 0.3, 0.1], 4, 0.95, [0, 1, 2, 3]),
        ([0.25, 0.25, 0.25, 0.25], 1, 0.01, [0, 1, 2, 3]),
    ],
)
def test_equal_symbols_stay_or_fall_together(
    chances: list[float], top_k: int, top_p: float, kept: list[int]
) -> None:
    logits = jnp.log(jnp.array([chances]))
    found = filter_top_k_top_p(logits, jnp.int32(top_k), jnp.float32(top_p))
    assert np.flatnonzero(found[0] > -jnp.inf).tolist() == kept


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
    ],
)
def test_settings_without_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rules_of(SamplingConfig(**settings), 9)
