"""The linear forecast: least squares as points come, from afar."""

import numpy as np

from experiments.anomaly.data import Series
from experiments.anomaly.features import FEATURES, LEADS, tabulate
from experiments.anomaly.linear import LinearForecast


def test_it_is_the_ridge_regression_on_all_points_so_far() -> None:
    """With as many points as are remembered or less, and until the next ten."""
    rng = np.random.default_rng(0)
    terms, values = rng.normal(size=(40, 2, 3, 4)), rng.normal(size=(40, 2))
    linear = LinearForecast.empty(2, 3, 4, memory=40)
    for row, points in zip(terms[:35], values[:35], strict=True):
        linear.learn(row, points)
    x, y = terms[:30, 1, 2], values[:30, 1] - terms[:30, 1, 2, 0]
    weights = np.linalg.solve(x.T @ x + np.eye(4), x.T @ y)
    found = linear.forecast(terms[39])[1, 2]
    np.testing.assert_allclose(found, terms[39, 1, 2, 0] + terms[39, 1, 2] @ weights)


def test_nothing_known_is_the_last_point() -> None:
    terms = np.random.default_rng(0).normal(size=(2, 3, 4))
    linear = LinearForecast.empty(2, 3, 4, memory=40)
    np.testing.assert_array_equal(linear.forecast(terms), terms[..., 0])


def test_a_wave_is_told_from_afar() -> None:
    """A sine is linear in points before it; the last one says little 48 before it."""
    at = np.arange(700.0)
    series = Series("g/s", 3600.0 * at, 5 + np.sin(at * 2 * np.pi / 17.3))
    table = tabulate([series])
    assert table.inputs.shape == (1, len(LEADS), 700, FEATURES)
    last, linear = (table.anchors[0, :, 600:, k] for k in (0, -1))
    far, near = (np.abs(each - table.values[0, 600:]) for each in (last, linear))
    assert np.all(near.mean(axis=1) < 0.1 * far.mean(axis=1))
