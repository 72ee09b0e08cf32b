"""The distribution of the next point: densities, tails, and what is looked at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import logistic

from lstm_jax.models.density import DensityModel, LogisticMixture, density_loss

SHAPE = (2, 3, 4)  # rows, steps, parts


def a_mixture(seed: int = 0) -> LogisticMixture:
    rng = np.random.default_rng(seed)
    shares, means, scales = (jnp.asarray(rng.normal(size=SHAPE)) for _ in range(3))
    return LogisticMixture(jax.nn.log_softmax(shares), means, scales)


def a_model() -> DensityModel:
    model = DensityModel(5, 2, 6, 2, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(1)
    model.w_out[...] = jnp.asarray(rng.normal(size=model.w_out.shape), jnp.float32)
    return model


def a_batch(rows: int = 2, steps: int = 7) -> dict[str, jax.Array]:
    rng = np.random.default_rng(2)
    shapes = {"inputs": (5,), "anchors": (2,), "values": (), "weights": ()}
    drawn = {k: rng.normal(size=(rows, steps, *s)) for k, s in shapes.items()}
    drawn["weights"] = np.ones((rows, steps))
    return {name: jnp.asarray(each, jnp.float32) for name, each in drawn.items()}


def test_densities_and_tails_are_those_of_logistic_distributions(x64: None) -> None:
    mixture = a_mixture()
    values = np.random.default_rng(3).normal(size=SHAPE[:2]) * 4
    shares, means = np.exp(mixture.log_shares), np.asarray(mixture.means)
    placed = {"loc": means, "scale": np.exp(mixture.log_scales)}
    at = values[..., None]
    below, above = mixture.log_tails(jnp.asarray(values))
    found = mixture.log_density(jnp.asarray(values))
    np.testing.assert_allclose(
        np.exp(found), (shares * logistic.pdf(at, **placed)).sum(-1)
    )
    np.testing.assert_allclose(
        np.exp(below), (shares * logistic.cdf(at, **placed)).sum(-1)
    )
    np.testing.assert_allclose(
        np.exp(above), (shares * logistic.sf(at, **placed)).sum(-1)
    )


def test_far_out_there_is_still_a_slope() -> None:
    """Both tails are sums of logarithms, which do not vanish as probabilities do."""
    mixture = a_mixture()
    values = jnp.full(SHAPE[:2], 1e4)
    steeper = mixture.log_tails(values * 2)[1] - mixture.log_tails(values)[1]
    assert np.all(np.asarray(steeper) < -100)


def test_no_step_looks_at_later_ones() -> None:
    """By gradients: what step 3 says depends on inputs up to step 3, on all."""
    model, batch = a_model(), a_batch()

    def said(inputs: jax.Array, anchors: jax.Array) -> jax.Array:
        mixture, _ = model(inputs, anchors)
        return mixture.log_density(batch["values"])[:, 3].sum()

    slopes = jax.grad(said, (0, 1))(batch["inputs"], batch["anchors"])
    moved = [np.abs(slope).sum(axis=(0, 2)) > 0 for slope in slopes]
    assert moved[0].tolist() == [True] * 4 + [False] * 3
    assert moved[1].tolist() == [False] * 3 + [True] + [False] * 3


def test_reading_in_parts_is_reading_at_once() -> None:
    model, batch = a_model(), a_batch()
    whole, _ = model(batch["inputs"], batch["anchors"])
    first, state = model(batch["inputs"][:, :4], batch["anchors"][:, :4])
    second, _ = model(batch["inputs"][:, 4:], batch["anchors"][:, 4:], state)
    parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), first, second)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_points_without_weight_do_not_count() -> None:
    model, batch = a_model(), a_batch()
    weights = batch["weights"].at[:, 4:].set(0.0)
    sums, carry = density_loss(model, (), batch | {"weights": weights}, None)
    cut = {name: each[:, :4] for name, each in batch.items()}
    expected, _ = density_loss(model, (), cut, None)
    assert carry == () and sums.count == 8
    np.testing.assert_allclose(sums.loss, expected.loss, rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 3])
def test_an_untrained_model_guesses_the_mean_of_the_anchors(parts: int) -> None:
    model = DensityModel(5, 2, 6, parts=parts, rngs=nnx.Rngs(0))
    batch = a_batch()
    mixture, _ = model(batch["inputs"], batch["anchors"])
    assert mixture.means.shape == (2, 7, parts)
    expected = batch["anchors"].mean(axis=-1)
    each = np.moveaxis(np.asarray(mixture.means), -1, 0)
    for mean in each:
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)
    assert len({float(s) for s in mixture.log_scales[0, 0]}) == parts
