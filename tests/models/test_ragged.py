"""Rows of any length and number, read as each would be alone."""

import jax
import numpy as np
import pytest
from flax import nnx

from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.ragged import score_classes, score_frames


@pytest.fixture(scope="module")
def rows() -> list[np.ndarray]:
    """70 rows: more than one batch of 64, of two shapes."""
    rng = np.random.default_rng(0)
    lengths = [*rng.permutation(np.arange(1, 31)).tolist(), *[7] * 38, 80, 70]
    return [rng.normal(size=(n, 3)).astype(np.float32) for n in lengths]


def test_frames_are_scored_in_order_and_cut(rows: list[np.ndarray]) -> None:
    model = jax.jit(lambda: CTCModel(3, 4, 5, 1, rngs=nnx.Rngs(0)))()
    found = score_frames(model, rows)
    assert [len(scores) for scores in found] == [len(row) for row in rows]
    for k in (0, 68, 69):
        alone = score_frames(model, rows[k : k + 1])[0]
        np.testing.assert_allclose(found[k], alone, atol=1e-5)


def test_classes_are_scored_in_order(rows: list[np.ndarray]) -> None:
    model = jax.jit(lambda: SequenceClassifier(3, 5, 1, 4, rngs=nnx.Rngs(0)))()
    found = score_classes(model, rows[:68])  # of one shape
    assert found.shape == (68, 4)
    for k in (0, 67):
        alone = score_classes(model, rows[k : k + 1])[0]
        np.testing.assert_allclose(found[k], alone, atol=1e-5)
