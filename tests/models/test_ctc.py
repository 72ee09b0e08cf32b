"""The transcriber: rows of several lengths, dropout, both directions, learning."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.metrics.losses import LossSums
from lstm_jax.models.ctc import CTCModel, ctc_loss, transcript_nats
from lstm_jax.typing import PRNGKey

Batch = dict[str, jax.Array]
LENGTHS = (7, 4, 5)


@pytest.fixture(scope="module")
def batch() -> Batch:
    frames = np.random.default_rng(0).normal(size=(3, 7, 5))
    return {
        "frames": jnp.float32(frames),
        "lengths": jnp.array(LENGTHS),
        "transcripts": jnp.array([[1, 2, 3], [2, 2, 0], [3, 0, 0]]),
    }


@functools.cache
def small(dropout: float = 0.0) -> CTCModel:
    return CTCModel(5, 4, 6, 1, rngs=nnx.Rngs(0), dropout=dropout)


@jax.jit
def read(model: CTCModel, batch: Batch) -> jax.Array:
    return model(batch["frames"], batch["lengths"])


@jax.jit
def sums_of(model: CTCModel, batch: Batch, key: PRNGKey | None = None) -> LossSums:
    return ctc_loss(model, (), batch, key)[0]


def test_a_row_is_read_as_if_it_were_alone(batch: Batch) -> None:
    logits = read(small(), batch)
    alone = {"frames": batch["frames"][1:2, :4], "lengths": jnp.array([4])}
    np.testing.assert_allclose(logits[1, :4], read(small(), alone)[0], atol=1e-5)


def test_the_loss_is_counted_per_symbol(batch: Batch) -> None:
    sums = sums_of(small(), batch)
    nats = transcript_nats(read(small(), batch), batch["lengths"], batch["transcripts"])
    assert float(sums.loss) == pytest.approx(float(nats.sum()), rel=1e-5)
    assert int(sums.count) == 6
    assert list(sums.values()) == ["loss"]


def test_both_directions_reach_every_frame(batch: Batch) -> None:
    @jax.jit
    @jax.grad
    def influence(frames: jax.Array) -> jax.Array:
        return read(small(), batch | {"frames": frames})[:, 3].sum()

    reached = np.abs(influence(batch["frames"])).max(axis=-1) > 0
    np.testing.assert_array_equal(reached, np.arange(7) < np.array(LENGTHS)[:, None])


def test_dropout_acts_with_a_key_and_only_then(batch: Batch) -> None:
    noisy, plain = small(dropout=0.5), small()
    assert sums_of(noisy, batch).loss == sums_of(plain, batch).loss
    keys = [jax.random.key(seed) for seed in (0, 1)]
    losses = [float(sums_of(noisy, batch, key).loss) for key in keys]
    assert len({*losses, float(sums_of(plain, batch).loss)}) == 3


def test_it_learns_where_nobody_told_it(batch: Batch) -> None:
    """Plain gradient descent reaches transcripts that are all but certain."""

    @jax.jit
    def descend(model: CTCModel) -> tuple[jax.Array, jax.Array]:
        def step(model: CTCModel, _: None) -> tuple[CTCModel, jax.Array]:
            value, gradient = jax.value_and_grad(
                lambda m: ctc_loss(m, (), batch, None)[0].loss
            )(model)
            return jax.tree.map(lambda w, g: w - 0.3 * g, model, gradient), value

        _, losses = jax.lax.scan(step, model, length=150)
        return losses[0], losses[-1]

    first, last = descend(small())
    assert last < 0.3 < first
