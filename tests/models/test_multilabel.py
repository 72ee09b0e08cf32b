"""Several outputs per step: read forward only, step by step, and scored by hand."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.config import RegularizerConfig
from lstm_jax.models.multilabel import MultiLabelModel, multilabel_loss

B, T, D, K, H = 2, 6, 3, 4, 5
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(B, T, D)), jnp.float32)
TARGETS = jnp.asarray(RNG.integers(2, size=(B, T, K)), jnp.float32)
LENGTHS = jnp.array([T, 3])


@functools.cache
def small(**options: Any) -> MultiLabelModel:  # noqa: ANN401
    model = MultiLabelModel(D, K, H, 2, rngs=nnx.Rngs(0), **options)
    if model.w_skip is not None:  # zeros at first
        model.w_skip[...] = jnp.asarray(RNG.normal(size=(D, K)), jnp.float32)
    return model


read = jax.jit(MultiLabelModel.__call__)
loss_of = jax.jit(lambda model, batch: multilabel_loss(model, (), batch, None)[0])


def test_step_by_step_is_all_at_once() -> None:
    whole, last = read(small(), INPUTS)
    states = None
    for t in range(T):
        logits, states = read(small(), INPUTS[:, t : t + 1], states)
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), states, last)


def test_no_output_knows_what_comes_later() -> None:
    @jax.jit
    @jax.grad
    def slope(inputs: jax.Array) -> jax.Array:
        return small()(inputs)[0][0, 3].sum()

    steps = jnp.any(slope(INPUTS)[0] != 0, axis=-1)
    assert steps.tolist() == [True] * 4 + [False] * (T - 4)


def test_the_readout_sees_the_inputs_of_its_step() -> None:
    """With no weights but those of the skip connection it is one product."""
    model = nnx.clone(small())
    model.w_out[...] = jnp.zeros_like(model.w_out)
    assert model.w_skip is not None
    expected = INPUTS @ model.w_skip[...]
    np.testing.assert_allclose(read(model, INPUTS)[0], expected, atol=1e-5)
    assert small(skip=False).w_skip is None


def test_the_loss_is_that_of_independent_coins() -> None:
    """Summed over outputs and real steps; what is in the padding does not matter."""
    logits = np.asarray(read(small(), INPUTS)[0], np.float64)
    chances = 1 / (1 + np.exp(-logits))
    right = np.where(np.asarray(TARGETS) > 0, chances, 1 - chances)
    nats = -np.log(right).sum(axis=-1)
    expected = nats[0].sum() + nats[1, :3].sum()
    late = jnp.arange(T)[:, None] >= LENGTHS[:, None, None]
    batch = {"inputs": jnp.where(late, jnp.nan, INPUTS), "targets": TARGETS}
    sums = loss_of(small(), batch | {"lengths": LENGTHS})
    assert float(sums.loss) == pytest.approx(expected, rel=1e-5)
    assert int(sums.count) == T + 3


def test_a_prior_is_what_an_untrained_model_says() -> None:
    model = small(prior=0.05, skip=False)
    logits, _ = read(model, jnp.zeros((1, 1, D)))
    np.testing.assert_allclose(jax.nn.sigmoid(logits), 0.05, rtol=1e-5)
    assert math.isclose(float(model.b_out[...][0]), math.log(0.05 / 0.95), rel_tol=1e-6)
    chances = (0.1, 0.2, 0.3, 0.4)
    logits, _ = read(small(prior=chances, skip=False), jnp.zeros((1, 1, D)))
    np.testing.assert_allclose(jax.nn.sigmoid(logits[0, 0]), chances, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": 0.0}, r"prior: expected a probability in \(0, 1\), found 0.0"),
        ({"prior": 1.0}, "prior: expected a probability"),
        ({"prior": (0.5, 0.0, 0.5, 0.5)}, "prior: expected a probability"),
        ({"prior": (0.5, 0.5)}, "prior: expected 4 of them, found 2"),
        ({"dropout": 1.0}, "dropout: expected a share"),
        ({"regularizer": RegularizerConfig(label_smoothing=0.1)}, "no label smoothing"),
        ({"regularizer": RegularizerConfig(temporal_penalty=1.0)}, "no penalty|and no"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiLabelModel(D, K, H, 1, rngs=nnx.Rngs(0), **options)


def test_a_penalty_is_part_of_the_objective_alone() -> None:
    model = small(regularizer=RegularizerConfig(l2=0.5))
    batch = {"inputs": INPUTS, "targets": TARGETS, "lengths": LENGTHS}
    sums, _ = multilabel_loss(model, (), batch, jax.random.key(0))
    squares = sum(float((w**2).sum()) for w in jax.tree.leaves(model) if w.ndim > 1)
    assert sums.penalty is not None
    assert float(sums.penalty) == pytest.approx(0.25 * squares * (T + 3), rel=1e-4)
    assert float(sums.loss) == pytest.approx(float(loss_of(model, batch).loss))
