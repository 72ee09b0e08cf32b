"""Calibration by hand, and the Brier score by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from lstm_jax.metrics.calibration import brier_score, reliability


def test_bins_hold_equally_many_rows_in_order() -> None:
    chances = np.array([0.9, 0.1, 0.2, 0.7, 0.3])
    found = reliability([1, 0, 0, 0, 1], chances, bins=2)
    assert found.count.tolist() == [3, 2]
    assert found.forecast == pytest.approx([0.2, 0.8])
    assert found.observed == pytest.approx([1 / 3, 1 / 2])
    assert found.error == pytest.approx((3 * (1 / 3 - 0.2) + 2 * 0.3) / 5)


def test_what_comes_true_as_often_as_it_says_has_no_error() -> None:
    chances = np.repeat([0.25, 0.75], 4)
    labels = [1, 0, 0, 0, 1, 1, 1, 0]
    assert reliability(labels, chances, bins=2).error == 0
    assert len(reliability(labels, np.arange(8) / 8, bins=100).count) == 8


def test_the_order_of_rows_is_of_no_matter() -> None:
    """Equal probabilities are in one bin, whatever stands between them."""
    labels = np.repeat([1, 0], [10, 90])
    assert reliability(labels, np.full(100, 0.1)).error == pytest.approx(0)
    rng = np.random.default_rng(0)
    chances = rng.integers(7, size=100) / 8
    found = reliability(labels, chances)
    assert np.unique(found.forecast).tolist() == np.unique(chances).tolist()
    for _ in range(5):
        turned = rng.permutation(100)
        again = reliability(labels[turned], chances[turned])
        assert again.count.tolist() == found.count.tolist()
        assert again.observed.tolist() == found.observed.tolist()


def test_the_brier_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, chances = rng.integers(2, size=50), rng.random(50)
    expected = brier_score_loss(labels, chances)
    assert brier_score(labels, chances) == pytest.approx(expected)
