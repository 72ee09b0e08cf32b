"""Irregular observations on a grid, by hand and by loops."""

import numpy as np
import pytest

from lstm_jax.data.irregular import carry_forward, fit_scale, on_grid, time_gaps

SHAPE = (2, 3, 2)
ROWS, TIMES = [0, 0, 0, 1, 1], [0.0, 0.9, 5.9, 2.0, 6.0]
VARIABLES, VALUES = [0, 0, 1, 1, 0], [1.0, 4.0, 7.0, 8.0, 9.0]


def test_a_bin_has_the_mean_of_what_was_seen() -> None:
    """A time at a border belongs to the later bin, the end to the last."""
    values, observed = on_grid(
        TIMES, VARIABLES, VALUES, rows=ROWS, shape=SHAPE, width=2.0
    )
    expected = np.zeros(SHAPE)
    expected[0, 0, 0], expected[0, 2, 1] = 2.5, 7
    expected[1, 1, 1], expected[1, 2, 0] = 8, 9
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(observed, expected > 0)


@pytest.mark.parametrize(("time", "variable"), [(6.1, 0), (-0.1, 0), (0.0, 2)])
def test_what_is_off_the_grid_is_refused(time: float, variable: int) -> None:
    with pytest.raises(ValueError):
        on_grid([time], [variable], [1.0], shape=(1, 3, 2), width=2.0)


def test_gaps_are_those_of_the_paper() -> None:
    """Figure 1 of Che et al.: from step to step, the time since it was last seen."""
    observed = np.array([[1, 0], [0, 0], [1, 1], [0, 0]], bool)[None]
    expected = [[0, 0], [0.5, 0.5], [1.0, 1.0], [0.5, 0.5]]
    np.testing.assert_array_equal(time_gaps(observed, 0.5)[0], expected)


def test_the_last_value_is_carried_forward_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    observed = rng.random((3, 7, 4)) < 0.4
    values = np.where(observed, rng.normal(size=observed.shape), 99).astype(np.float32)
    found = carry_forward(values, observed)
    for n, t, v in np.ndindex(found.shape):
        seen = [values[n, s, v] for s in range(t + 1) if observed[n, s, v]]
        assert found[n, t, v] == (seen[-1] if seen else 0)


def test_scales_are_of_what_was_observed() -> None:
    """Whatever stands elsewhere, and however wild one value is."""
    rng = np.random.default_rng(0)
    values = rng.normal(37, 2, size=(1000, 2)).astype(np.float32)
    values[:, 1] = np.exp(values[:, 1] - 37)
    observed = rng.random(values.shape) < 0.5
    values[3, 0], observed[3, 0] = 735.0, True
    values[~observed] = np.nan
    scale = fit_scale(values, observed)
    assert scale.logarithmic.tolist() == [False, True]
    scaled = scale(values, observed)
    assert scaled.dtype == np.float32 and not scaled[~observed].any()
    for column, seen in zip(scaled.T, observed.T, strict=True):
        assert column[seen].mean() == pytest.approx(0, abs=1e-5)
        assert column[seen].std() == pytest.approx(1, abs=1e-5)
    assert scaled[3, 0] == scaled[:, 0].max() < 3
    again = scale(np.array([40.0, 1e-9]), np.array([True, True]))
    assert again[0] == pytest.approx(1.5, abs=0.2) and np.isfinite(again[1])


def test_what_never_varies_or_was_never_seen_says_nothing() -> None:
    values = np.array([[1.0, 5.0], [1.0, 6.0]], np.float32)
    observed = np.array([[True, False], [True, False]])
    found = fit_scale(values, observed)(np.array([1.0, 7.0]), np.array([True, True]))
    assert found.tolist() == [0, 0]
