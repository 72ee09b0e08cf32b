"""Losses against a NumPy softmax in float64, and the laws of sums."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from numpy.typing import NDArray

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.metrics.losses import binary_cross_entropy, cross_entropy, loss_sums

T, B, V = 5, 4, 7
RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(T, B, V))
TARGETS = RNG.integers(V, size=(T, B)).astype(np.int32)
COUNTED = RNG.random((T, B)) < 0.6
MASKED = np.where(COUNTED, TARGETS, IGNORED).astype(np.int32)
each_mask = pytest.mark.parametrize("targets", [TARGETS, MASKED], ids=["all", "some"])
measure = jax.jit(cross_entropy)


def by_hand(logits: NDArray, targets: NDArray) -> tuple[float, int, int]:
    """Loss, correct and count, position by position."""
    loss, correct, count = 0.0, 0, 0
    for place in np.ndindex(targets.shape):
        target, scores = targets[place], logits[place].astype(np.float64)
        if target != IGNORED:
            loss -= np.log(np.exp(scores[target]) / np.exp(scores).sum())
            correct += int(scores.argmax() == target)
            count += 1
    return loss, correct, count


def gradient_by_hand(logits: NDArray, targets: NDArray) -> NDArray:
    """Central differences of the loss in every logit."""
    gradient = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        nudge = np.zeros_like(logits)
        nudge[place] = 1e-5
        up, down = (by_hand(logits + n, targets)[0] for n in (nudge, -nudge))
        gradient[place] = (up - down) / 2e-5
    return gradient


@each_mask
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sums_are_those_of_the_definition(targets: NDArray, dtype: str) -> None:
    """Whatever type the logits have, the loss of these very numbers is in float32."""
    logits = jnp.asarray(LOGITS, dtype)
    sums = measure(logits, targets)
    loss, correct, count = by_hand(np.asarray(logits, np.float64), targets)
    assert sums.loss.dtype == np.float32
    np.testing.assert_allclose(float(sums.loss), loss, rtol=1e-6)
    assert (int(sums.metrics["accuracy"].total), int(sums.count)) == (correct, count)
    assert 0 < correct < count


@each_mask
def test_gradient_is_the_slope(targets: NDArray) -> None:
    """Float32 is good to 1e-6; where nothing is counted the gradient is exactly 0."""
    gradient = jax.grad(lambda logits: measure(logits, targets).loss)
    found = np.asarray(gradient(jnp.float32(LOGITS)))
    np.testing.assert_allclose(found, gradient_by_hand(LOGITS, targets), atol=2e-6)
    assert not found[targets == IGNORED].any()


def test_optax_agrees() -> None:
    def theirs(logits: jax.Array) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, TARGETS)
        return losses.sum()

    logits = jnp.float32(LOGITS)
    ours = jax.value_and_grad(lambda logits: measure(logits, TARGETS).loss)(logits)
    for a, b in zip(ours, jax.value_and_grad(theirs)(logits), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_nothing_counted_is_nothing() -> None:
    sums = measure(LOGITS, np.full_like(TARGETS, IGNORED))
    assert [float(total) for total in jax.tree.leaves(sums)] == [0.0] * 4


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cut", [1, 3])
def test_sums_of_parts_add_up(axis: int, cut: int) -> None:
    """However the data are cut, along time or rows; so means don't depend on it."""
    parts = zip(
        np.split(LOGITS, [cut], axis), np.split(MASKED, [cut], axis), strict=True
    )
    first, second = (measure(*part) for part in parts)
    whole = measure(LOGITS, MASKED)
    both = first + second
    assert both.values()["accuracy"] == whole.values()["accuracy"]
    assert both.count == whole.count
    np.testing.assert_allclose(both.loss, whole.loss, rtol=1e-6)
    assert first.count != second.count
    assert both.mean_loss() == pytest.approx(whole.mean_loss(), rel=1e-6)


def test_means() -> None:
    """The mean of eight positions, of which two are right."""
    sums = loss_sums(*map(jnp.float32, (4.0, 8.0)), accuracy=jnp.float32(2.0))
    assert sums.mean_loss() == 0.5
    assert sums.values()["accuracy"] == 0.25


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_large_scores_do_not_overflow(size: float) -> None:
    """A sure and right model loses nothing; a sure and wrong one its whole score."""
    logits = np.zeros((1, 2, 3))
    logits[..., 1] = size
    sums = measure(logits.astype(np.float32), np.array([[1, 2]], np.int32))
    np.testing.assert_allclose(float(sums.loss), size, rtol=1e-6)
    assert sums.values()["accuracy"] == 0.5


def test_uniform_scores_lose_the_logarithm() -> None:
    sums = measure(np.ones((2, 3, V)), np.zeros((2, 3), np.int32))
    assert sums.mean_loss() == pytest.approx(np.log(V), rel=1e-6)


def test_binary_cross_entropy_is_that_of_the_definition() -> None:
    targets, counted = (
        jnp.asarray(RNG.integers(2, size=(T, B, V))),
        jnp.asarray(COUNTED),
    )
    logits = np.where(COUNTED[..., None], LOGITS, np.nan).astype(np.float32)
    chance = 1 / (1 + np.exp(-LOGITS.astype(np.float32).astype(np.float64)))
    nats = -np.log(np.where(targets == 1, chance, 1 - chance)).sum(axis=-1)

    def total(logits: jax.Array) -> jax.Array:
        return binary_cross_entropy(logits, targets, counted).loss

    sums = binary_cross_entropy(jnp.asarray(logits), targets, counted)
    np.testing.assert_allclose(sums.mean_loss(), nats[COUNTED].mean(), rtol=1e-6)
    expected = np.where(COUNTED[..., None], chance - targets, 0)
    np.testing.assert_allclose(jax.grad(total)(logits), expected, atol=1e-6)
