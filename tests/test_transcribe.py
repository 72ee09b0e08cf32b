"""The transcriber: padding that changes nothing, scores of single symbols, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.transcribe import (
    Transcriber,
    transcribe_loss,
    transcript_nats,
)

BATCH = {
    "frames": np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32),
    "lengths": np.array([7, 4, 5], np.int32),
    "transcripts": np.array([[1, 2, 3], [2, 2, 0], [3, 0, 0]], np.int32),
}


def small(dropout: float = 0.0) -> Transcriber:
    return Transcriber(5, 4, 6, 2, rngs=nnx.Rngs(0), dropout=dropout)


def loss(model: Transcriber, batch: dict[str, jax.Array]) -> jax.Array:
    return transcribe_loss(model, (), batch, None)[0].loss


@pytest.fixture(scope="module")
def batch() -> dict[str, jax.Array]:
    return {name: jnp.asarray(array) for name, array in BATCH.items()}


def test_padding_changes_nothing(batch: dict[str, jax.Array]) -> None:
    model = small()
    lengths = batch["lengths"]
    padded = jnp.arange(7) >= lengths[:, None]
    other = batch | {"frames": jnp.where(padded[..., None], 9.0, batch["frames"])}
    read = jax.jit(lambda some: (model(some["frames"], lengths), loss(model, some)))
    scores, nats = read(batch)
    scores_too, nats_too = read(other)
    np.testing.assert_array_equal(scores[~padded], scores_too[~padded])
    assert float(nats) == float(nats_too)
    alone = model(batch["frames"][1:2, :4], jnp.array([4]))
    np.testing.assert_allclose(scores[1, :4], alone[0], atol=1e-5)


def test_the_loss_is_counted_per_symbol(batch: dict[str, jax.Array]) -> None:
    model = small()
    sums, carry = transcribe_loss(model, (), batch, None)
    assert carry == () and int(sums.count) == 6
    assert sums.accuracy() is None
    scores = model(batch["frames"], batch["lengths"])
    nats = transcript_nats(scores, batch["lengths"], batch["transcripts"])
    assert float(sums.loss) == pytest.approx(float(nats.sum()), rel=1e-5)


def test_both_directions_reach_every_frame(batch: dict[str, jax.Array]) -> None:
    model, lengths = small(), batch["lengths"]

    def middle(frames: jax.Array) -> jax.Array:
        return model(frames, lengths)[0, 3].sum()

    gradient = jax.grad(middle)(batch["frames"])[0]
    assert (jnp.abs(gradient).max(axis=-1) > 0).all()


def test_dropout_acts_with_a_key_and_only_then(batch: dict[str, jax.Array]) -> None:
    noisy, plain = small(dropout=0.5), small()
    losses = [
        float(transcribe_loss(model, (), batch, key)[0].loss)
        for model, key in (
            (noisy, None),
            (plain, None),
            (noisy, jax.random.key(0)),
            (noisy, jax.random.key(1)),
        )
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_it_learns_where_nobody_told_it(batch: dict[str, jax.Array]) -> None:
    """Plain gradient descent reaches transcripts that are all but certain."""

    @jax.jit
    def step(model: Transcriber) -> tuple[Transcriber, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(model, batch)
        return jax.tree.map(lambda w, g: w - 0.3 * g, model, gradient), value

    model = small()
    losses = []
    for _ in range(150):
        model, value = step(model)
        losses.append(float(value))
    assert losses[-1] < 0.3 < losses[0]
