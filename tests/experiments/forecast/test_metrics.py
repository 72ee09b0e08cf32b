"""M4's scores against slow loops, and the forecasts that need no learning."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.forecast.baseline import (
    baseline_scores,
    is_seasonal,
    naive2,
    rolling_baseline,
    seasonal_indices,
    seasonal_naive,
)
from experiments.forecast.metrics import (
    score_intervals,
    score_points,
    smape,
    weights_of,
)
from lstm_jax.data.series_csv import read_series

M4 = os.environ.get("M4_HOURLY")  # a folder with the competition's files


def slow_scores(
    forecasts: list, truths: list, known: list, m: int
) -> tuple[float, float]:
    """The competition's formulas, term by term."""
    smapes, mases = [], []
    for forecast, truth, points in zip(forecasts, truths, known, strict=True):
        h, n = len(truth), len(points)
        terms = [
            2 * abs(truth[t] - forecast[t]) / (abs(truth[t]) + abs(forecast[t])) * 100
            for t in range(h)
        ]
        smapes.append(sum(terms) / h)
        scale = sum(abs(points[t] - points[t - m]) for t in range(m, n)) / (n - m)
        mases.append(sum(abs(truth[t] - forecast[t]) for t in range(h)) / h / scale)
    return sum(smapes) / len(smapes), sum(mases) / len(mases)


def test_scores_are_those_of_slow_loops() -> None:
    rng = np.random.default_rng(1)
    known = [rng.uniform(1, 9, size) for size in (20, 31, 50)]
    truths = [rng.uniform(1, 9, 6) for _ in known]
    forecasts = [rng.uniform(1, 9, 6) for _ in known]
    found = score_points(forecasts, truths, known, 4)
    slow = slow_scores(forecasts, truths, known, 4)
    assert found.means() == pytest.approx(slow)
    assert found.owa((10.0, 0.5)) == pytest.approx((slow[0] / 10 + slow[1] / 0.5) / 2)
    assert found.described((10.0, 0.5)).startswith(f"{found.owa((10.0, 0.5)):.4f} (")


def test_scores_by_hand() -> None:
    assert smape(np.array([3.0, 0.0]), np.array([1.0, 0.0])) == 50.0  # 200 * 2/4 and 0
    found = score_points([np.array([3.0])], [np.array([1.0])], [np.arange(5.0)], 2)
    assert found.means() == (100.0, 1.0)
    unmoved = score_points([np.ones(2)] * 2, [np.ones(2)] * 2, [np.ones(9)] * 2, 2)
    assert unmoved.smape.tolist() == [0, 0] and np.isnan(unmoved.mase).all()


def test_what_has_no_scale_has_no_score_and_says_why() -> None:
    """Not NaN: no number, in words, and no warning."""
    still = [np.ones(9)]
    same = score_points([np.ones(2)], [np.ones(2)], still, 2)
    assert math.isnan(same.means()[1]) and same.owa(same.means()) is None
    words = same.described(same.means())
    assert words.startswith("— (sMAPE 0.000, MASE —; MASE has no scale")
    sure = (0.0, 0.0)
    wrong = score_points([np.zeros(2)], [np.ones(2)], [np.arange(9.0)], 2)
    assert wrong.owa(sure) is None
    assert "MASE 0.500; OWA has no yardstick, Naive2" in wrong.described(sure)
    found = score_intervals([np.zeros(2)], [np.ones(2)], [np.ones(2)], still, 2)
    assert found.coverage == 1 and math.isnan(found.msis)


def test_errors_always_have_a_weight() -> None:
    assert weights_of((20.0, 2.0)) == (20.0, 2.0)
    for bad in (0.0, math.nan, 1e-15):
        assert weights_of((bad, 2.0)) == (10.0, 2.0)
        assert weights_of((20.0, bad)) == (20.0, 1.0)


def test_intervals_by_hand() -> None:
    """Width 4, one point of four 1 outside, at 95 % each unit outside costs 40."""
    low, high, truth = np.zeros(4), np.full(4, 4.0), np.array([0.0, 4.0, 5.0, 1.0])
    found = score_intervals([low], [high], [truth], [np.arange(9.0)], 2)
    assert found.coverage == 0.75
    assert found.msis == pytest.approx((4 + 40 * 1 / 4) / 2)


def test_seasonal_naive_repeats_the_last_season() -> None:
    assert seasonal_naive(np.arange(7.0), 5, 3).tolist() == [4, 5, 6, 4, 5]
    assert seasonal_naive(np.arange(7.0), 2, 3).tolist() == [4, 5]


@pytest.mark.parametrize("season", [4, 5])
@pytest.mark.parametrize("length", [40, 43])
def test_naive2_knows_a_season(season: int, length: int) -> None:
    t = np.arange(length + 9)
    shape = np.array([0.7, 1.2, 0.9, 1.1, 1.3])[:season]
    points = 20 * shape[t % season]
    np.testing.assert_allclose(naive2(points[:length], 9, season), points[length:])


def test_naive2_is_the_last_point_without_a_season() -> None:
    points = np.random.default_rng(0).uniform(5, 6, 60)
    assert not is_seasonal(points, 4)
    assert naive2(points, 3, 4).tolist() == [points[-1]] * 3
    assert naive2(np.full(30, 7.0), 2, 4).tolist() == [7, 7]
    waves = np.tile([-1.0, 2.0, 0.0, 3.0], 9)  # no logarithm: no indices
    assert naive2(waves, 2, 4).tolist() == [3, 3]


def test_the_season_is_tested_as_a_slow_loop_does() -> None:
    """Autocorrelations around the limit, from white noise and a growing wave."""
    rng = np.random.default_rng(2)
    answers = []
    for strength in np.linspace(0, 0.8, 300):
        t = np.arange(50)
        y = 9 + rng.normal(size=50) + strength * np.sin(t * np.pi / 3)
        d = y - sum(y) / 50
        r = [
            sum(d[s] * d[s - k] for s in range(k, 50)) / sum(d * d) for k in range(1, 7)
        ]
        limit = 1.645 * math.sqrt((1 + 2 * sum(x**2 for x in r[:5])) / 50)
        answers.append(abs(r[5]) > limit)
        assert is_seasonal(y, 6) == answers[-1]
    assert 0 < sum(answers) < 300
    assert not is_seasonal(np.tile([1.0, 2, 3, 4, 5, 6], 3)[:17], 6)  # < 3 seasons


@pytest.mark.parametrize("season", [3, 4])
def test_indices_are_those_of_a_slow_loop(season: int) -> None:
    points = np.random.default_rng(3).uniform(4, 9, 23)
    half = season // 2
    ratios: dict[int, list[float]] = {k: [] for k in range(season)}
    for t in range(half, len(points) - half):
        window = [points[t + k] for k in range(-half, half + 1)]
        if season % 2 == 0:
            window[0], window[-1] = window[0] / 2, window[-1] / 2
        ratios[t % season].append(points[t] / (sum(window) / season))
    slow = np.array([np.mean(ratios[k]) for k in range(season)])
    found = seasonal_indices(points, season)
    np.testing.assert_allclose(found, slow / slow.mean())


def test_rolling_origins_know_what_came_before() -> None:
    known, truth = np.arange(6.0), np.arange(10.0, 15.0)
    one = rolling_baseline(seasonal_naive, known, truth, 1, 3)
    assert one.tolist() == [3, 4, 5, 10, 11]  # always the point of 3 steps ago
    two = rolling_baseline(seasonal_naive, known, truth, 2, 3)
    assert two.tolist() == [3, 4, 5, 10, 11]
    many = rolling_baseline(seasonal_naive, known, truth, 5, 3)
    assert many.tolist() == [3, 4, 5, 3, 4]


def test_baselines_are_scored_from_rolling_origins() -> None:
    rng = np.random.default_rng(7)
    known = {name: rng.uniform(1, 9, 30) for name in "ab"}
    truth = {name: rng.uniform(1, 9, 4) for name in "ab"}
    found = baseline_scores(known, truth, 2, 3)
    rolled = [
        rolling_baseline(seasonal_naive, known[name], truth[name], 2, 3)
        for name in "ab"
    ]
    slow = slow_scores(rolled, [*truth.values()], [*known.values()], 3)
    assert list(found) == ["Naive2", "seasonal naive"]
    assert found["seasonal naive"].means() == pytest.approx(slow)


@pytest.mark.skipif(not M4, reason="M4_HOURLY names no folder with the M4 files")
def test_published_scores_of_m4_hourly_to_the_digit() -> None:
    """As in the competition's table, "Evaluation and Ranks"."""
    folder = Path(str(M4))
    known = [*read_series(folder / "Hourly-train.csv", "rows").values()]
    truth = [*read_series(folder / "Hourly-test.csv", "rows").values()]
    assert len(known) == len(truth) == 414
    yardstick = (18.383, 2.395)
    for method, published, owa in (
        (seasonal_naive, (13.912, 1.193), 0.6275),
        (naive2, yardstick, 1.0),
    ):
        forecasts = [method(points, 48, 24) for points in known]
        found = score_points(forecasts, truth, known, 24)
        assert tuple(round(mean, 3) for mean in found.means()) == published
        assert round(found.owa(yardstick) or 0, 4) == owa
