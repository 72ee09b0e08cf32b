"""Rows of any length and number, read as each would be alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.classify import SequenceClassifier
from lstm_jax.models.transcribe import Transcriber
from lstm_jax.recognize import score_classes, score_frames


@pytest.fixture(scope="module")
def rows() -> list[np.ndarray]:
    """70 rows: more than one batch of 64, of two shapes."""
    rng = np.random.default_rng(0)
    lengths = [*rng.permutation(np.arange(1, 31)).tolist(), *[7] * 38, 80, 70]
    return [rng.normal(size=(n, 3)).astype(np.float32) for n in lengths]


def test_frames_are_scored_in_order_and_cut(rows: list[np.ndarray]) -> None:
    model = Transcriber(3, 4, 5, 1, rngs=nnx.Rngs(0))
    found = score_frames(model, rows)
    assert [len(scores) for scores in found] == [len(row) for row in rows]
    read = jax.jit(lambda frames: model(frames, jnp.array([frames.shape[1]])))
    np.testing.assert_allclose(found[0], read(rows[0][None])[0], atol=1e-5)
    np.testing.assert_allclose(found[69], score_frames(model, rows[69:])[0], atol=1e-5)


def test_classes_are_scored_in_order(rows: list[np.ndarray]) -> None:
    model = SequenceClassifier(3, 5, 1, 4, rngs=nnx.Rngs(0))
    found = score_classes(model, rows)
    assert found.shape == (70, 4)
    read = jax.jit(lambda inputs: model(inputs, jnp.array([len(inputs)])))
    np.testing.assert_allclose(found[0], read(rows[0][:, None])[0], atol=1e-5)
    np.testing.assert_allclose(found[69], score_classes(model, rows[69:])[0], atol=1e-5)
