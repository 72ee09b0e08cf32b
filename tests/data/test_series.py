"""Series, their scales and windows; CSV files of them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.forecast.metrics import score_points
from lstm_jax.config import read_section
from lstm_jax.data.series import (
    WindowSpec,
    all_positive,
    check_window_spec,
    hold_out,
    need_points,
    scale_series,
)
from lstm_jax.data.series_csv import write_forecasts
from lstm_jax.errors import InputError

WINDOW = WindowSpec(horizon=3, seasons=(2, 4), reads=5)


def some_series() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"a": rng.uniform(1, 9, 30), "b": rng.uniform(10, 90, 20)}


@pytest.mark.parametrize("log", [False, True])
def test_windows_are_what_a_slow_loop_says(log: bool) -> None:
    series = some_series()
    panel = scale_series(series, WINDOW, log)
    rows, ends = np.array([1, 0, 1]), np.array([9, 30, 15])
    past, level = panel.windows(rows, ends, WINDOW)
    assert past.shape == (3, WINDOW.context) == (3, 9) and past.dtype == np.float32
    for k, (row, end) in enumerate(zip(rows, ends, strict=True)):
        points = list(series.values())[row]
        values = np.log(points) if log else points
        n = len(values)
        unit = sum(abs(values[t] - values[t - 2]) for t in range(2, n)) / (n - 2)
        middle = sum(values[end - 4 : end]) / 4
        slow = [(values[t] - middle) / unit for t in range(end - 9, end)]
        np.testing.assert_allclose(past[k], slow, rtol=1e-5, atol=1e-5)
        assert level[k] == pytest.approx(middle)


def test_covariates_of_a_window_end_with_it() -> None:
    beside = tuple(np.arange(2.0 * n).reshape(n, 2) for n in (30, 20))
    panel = scale_series(some_series(), WINDOW, False, beside)
    found = panel.covariates(np.array([1, 0]), np.array([9, 30]), WINDOW.reads)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, [beside[1][4:9], beside[0][25:30]])
    alone = scale_series(some_series(), WINDOW, False)
    assert alone.covariates(np.array([1]), np.array([9]), WINDOW.reads) is None


@pytest.mark.parametrize("log", [False, True])
def test_futures_come_back_as_they_were(log: bool) -> None:
    series = some_series()
    panel = scale_series(series, WINDOW, log)
    rows, ends = np.array([0, 1]), np.array([12, 17])
    _, level = panel.windows(rows, ends, WINDOW)
    units = panel.futures(rows, ends, level, 3)
    found = panel.restore(units[..., None], rows, level)[..., 0]
    np.testing.assert_allclose(found[0], series["a"][12:15], rtol=1e-5)
    np.testing.assert_allclose(found[1], series["b"][17:20], rtol=1e-5)


@pytest.mark.parametrize("log", [False, True])
def test_importance_is_what_an_error_adds_to_owa(log: bool) -> None:
    """Against OWA itself: the forecast is the level, and wrong by a little."""
    series, yardstick = some_series(), (15.0, 2.0)
    panel = scale_series(series, WINDOW, log)
    row, end, small = np.array([1]), np.array([12]), 1e-4
    _, level = panel.windows(row, end, WINDOW)
    right, wrong = (
        panel.restore(np.full((1, 1, 1), error), row, level)[0, 0]
        for error in (0.0, small)
    )
    score = score_points([wrong], [right], [series["b"]], season=2)
    found = panel.importance(row, level, yardstick) * small
    assert found[0] == pytest.approx(score.owa(yardstick), rel=1e-3)


def test_a_series_around_zero_has_a_finite_importance() -> None:
    panel = scale_series({"a": np.tile([-1.0, 1.0, 2.0, -2.0], 5)}, WINDOW, log=False)
    row = np.array([0])
    found = panel.importance(row, np.array([0.0]), (10.0, 1.0))
    assert found[0] == pytest.approx((100 / 10 + 1) / 2)  # of 100 %, and of a MASE of 1


def test_scales_know_nothing_of_what_came_after() -> None:
    known, truth = hold_out(some_series(), 6)
    panel = scale_series(known, WINDOW, log=True)
    longer = panel.extended({name: points * 100 for name, points in truth.items()})
    np.testing.assert_array_equal(longer.scale, panel.scale)
    np.testing.assert_array_equal(longer.known, [24, 14])
    rows, ends = np.array([0, 1]), np.array([24, 14])
    for before, after in zip(
        panel.windows(rows, ends, WINDOW),
        longer.windows(rows, ends, WINDOW),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    assert scale_series(some_series(), WINDOW, True).scale[0] != panel.scale[0]


@pytest.mark.parametrize(
    ("points", "unit"),
    [
        (np.tile([1.0, 2.0], 9), 0.5),
        (np.ones(9), 1.0),
        (5 + np.cos(np.arange(48) * np.pi), 1.0),
        (np.log(np.full(48, 5.0)), 1.0),
    ],
)
def test_series_that_never_change_have_a_unit(points: np.ndarray, unit: float) -> None:
    assert scale_series({"a": points}, WINDOW, log=False).scale[0] == pytest.approx(
        unit
    )


def test_logarithms_are_refused_where_there_are_none() -> None:
    series = {"a": np.array([3.0, 0.0, 1.0])}
    assert not all_positive(series) and all_positive(some_series())
    with pytest.raises(InputError, match=r"a: expected numbers above 0.* found 0"):
        scale_series(series, WINDOW, log=True)


def test_short_series_are_refused() -> None:
    need_points(some_series(), 20)
    with pytest.raises(InputError, match=r"series b: expected 21 points .* found 20"):
        need_points(some_series(), 21)
    with pytest.raises(InputError, match=r"series b: expected 21 points .* found 20"):
        hold_out(some_series(), 20)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (WindowSpec(seasons=()), "--seasons"),
        (WindowSpec(seasons=(24, 7)), "--seasons"),
        (WindowSpec(seasons=(0, 7)), "--seasons"),
        (WindowSpec(horizon=0), "--horizon"),
        (WindowSpec(reads=100), "--reads: expected the longest season, 168"),
    ],
)
def test_frames_that_make_no_sense_are_refused(
    window: WindowSpec, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_window_spec(window)
    assert check_window_spec(WINDOW) is WINDOW


def test_a_frame_comes_back_from_json() -> None:
    record = json.loads(json.dumps(dataclasses.asdict(WINDOW)))
    assert read_section(WindowSpec, record, "here") == WINDOW


def test_forecasts_are_written_as_a_table(tmp_path: Path) -> None:
    quantiles = np.arange(12.0).reshape(2, 3, 2)
    write_forecasts(tmp_path / "f.csv", ["a", "b,c"], [0.25, 0.5], quantiles)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == "series,step,q0.25,q0.5"
    assert lines[1] == "a,1,0,1" and lines[6] == '"b,c",3,10,11'
    dates = [["mon", "tue", "wed"], ["tue", "wed", "thu"]]
    write_forecasts(tmp_path / "f.csv", ["a", "b,c"], [0.25, 0.5], quantiles, dates)
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert lines[0] == "series,step,date,q0.25,q0.5"
    assert lines[1] == "a,1,mon,0,1" and lines[6] == '"b,c",3,thu,10,11'
