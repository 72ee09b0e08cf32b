"""Dynamic evaluation against one segment, one gradient and one step at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.lm import dynamic_evaluation
from lstm_jax.lm.dynamic_evaluation import DynamicEvaluationConfig, dynamic_measures
from lstm_jax.lm.evaluation import measure_ids
from lstm_jax.models.language import LanguageModel, States

V, H = 5, 4
RNG = np.random.default_rng(0)
# In segments of 7 as in those of 10, the last one of TEXT has 3 symbols: few shapes.
TRAIN = RNG.integers(V, size=151).astype(np.uint8)
TEXT = RNG.choice(V, size=144, p=[0.6, 0.1, 0.1, 0.1, 0.1]).astype(np.uint8)


@functools.cache
def model() -> LanguageModel:
    return jax.jit(lambda: LanguageModel(V, H, 2, rngs=nnx.Rngs(0)))()


def segments(ids: NDArray, length: int) -> list[tuple[NDArray, NDArray]]:
    """Inputs and targets, [at most `length`] each."""
    starts = range(0, len(ids) - 1, length)
    ends = [min(start + length, len(ids) - 1) for start in starts]
    return [
        (ids[start:end], ids[start + 1 : end + 1])
        for start, end in zip(starts, ends, strict=True)
    ]


def mean_loss(
    model: LanguageModel, states: States, inputs: NDArray, targets: NDArray
) -> tuple[jax.Array, tuple[jax.Array, States]]:
    """The loss of a segment as the mean, and as the sum."""
    logits, states = model(jnp.asarray(inputs, jnp.int32)[None], states)
    chances = jax.nn.log_softmax(logits[0])
    nats = -chances[jnp.arange(len(targets)), jnp.asarray(targets, jnp.int32)]
    return nats.mean(), (nats.sum(), states)


gradient_of = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))


def step_by_step(how: DynamicEvaluationConfig) -> float:
    """The loss of all of TEXT by the formula, in NumPy."""
    trained, shape = jax.tree.flatten(model())
    states, squares = model().initial_state(1), [np.zeros(w.shape) for w in trained]
    parts = segments(TRAIN, how.segment)
    for inputs, targets in parts:
        (_, (_, states)), gradient = gradient_of(model(), states, inputs, targets)
        leaves = jax.tree.leaves(gradient)
        squares = [s + np.square(g) for s, g in zip(squares, leaves, strict=True)]
    scale = [np.sqrt(s / len(parts)) for s in squares]
    mean = np.concatenate([s.ravel() for s in scale]).mean()
    weights, states, total = trained, model().initial_state(1), 0.0
    for inputs, targets in segments(TEXT, how.segment):
        now = jax.tree.unflatten(shape, weights)
        (_, (loss, states)), gradient = gradient_of(now, states, inputs, targets)
        total += float(loss)
        leaves = jax.tree.leaves(gradient)
        weights = [
            w
            + np.minimum(how.decay * s / mean, 1) * (w_0 - w)
            - how.rate * g / (s + 1e-5)
            for w, w_0, s, g in zip(weights, trained, scale, leaves, strict=True)
        ]
    return total


@pytest.mark.parametrize(("segment", "per_call"), [(7, 3), (10, 100)])
@pytest.mark.parametrize(("rate", "decay"), [(0.02, 0.3), (0.05, 0.0), (0.02, 9.0)])
def test_it_is_the_formula(
    rate: float,
    decay: float,
    segment: int,
    per_call: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many segments are read per call; the last one is short."""
    how = DynamicEvaluationConfig(rate, decay, segment)
    monkeypatch.setattr(dynamic_evaluation, "_PER_CALL", per_call)
    found = dynamic_measures(model(), TEXT, TRAIN, how)
    assert int(found.sums.count) == len(TEXT) - 1
    np.testing.assert_allclose(found.sums.loss, step_by_step(how), rtol=1e-5)


STILL = DynamicEvaluationConfig(0.0, 0.0, 10)


def test_without_a_step_it_is_the_stream() -> None:
    still = dynamic_measures(
        model(), TEXT, TRAIN, DynamicEvaluationConfig(0.0, 0.0, 10)
    )
    plain = measure_ids(model(), TEXT)["stream"]
    assert still.sums.values()["accuracy"] == plain.sums.values()["accuracy"]
    np.testing.assert_allclose(still.sums.loss, plain.sums.loss, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, still.classes, plain.classes)


def test_it_learns_from_what_it_reads_and_leaves_the_model() -> None:
    before = jax.device_get(model())
    plain = dynamic_measures(
        model(), TEXT, TRAIN, DynamicEvaluationConfig(0.0, 0.0, 10)
    )
    found = dynamic_measures(
        model(), TEXT, TRAIN, DynamicEvaluationConfig(0.02, 0.002, 10)
    )
    assert float(found.sums.loss) < 0.95 * float(plain.sums.loss)
    for was, now in zip(jax.tree.leaves(before), jax.tree.leaves(model()), strict=True):
        np.testing.assert_array_equal(was, now)


def test_only_the_beginning_of_the_training_text_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dynamic_evaluation, "_SEGMENTS", 5)
    how = DynamicEvaluationConfig(0.02, 0.1, 10)
    whole = dynamic_measures(model(), TEXT, TRAIN, how).sums.loss
    assert whole == dynamic_measures(model(), TEXT, TRAIN[:51], how).sums.loss
    assert whole != dynamic_measures(model(), TEXT, TRAIN[:41], how).sums.loss
