"""NAB's score: known detectors, a sum by hand, and the best threshold by trying all."""

import numpy as np
import pytest

from experiments.anomaly.data import Series
from experiments.anomaly.nab import best_threshold, nab_score, random_score


def a_series(points: int, *windows: tuple[int, int], seed: int = 0) -> Series:
    values = np.random.default_rng(seed).normal(size=points)
    return Series("g/s", np.arange(float(points)), values, windows)


SERIES = [
    a_series(200, (50, 69), (120, 139)),
    a_series(300, (200, 249), seed=1),
    a_series(100, seed=2),
]


def flags(*points: int, of: int) -> np.ndarray:
    found = np.zeros(of)
    found[list(points)] = 1.0
    return found


def test_a_detector_that_flags_nothing_has_0_and_a_perfect_one_100() -> None:
    nothing = [np.zeros(len(each.values)) for each in SERIES]
    perfect = [
        flags(*(first for first, _ in each.windows), of=len(each.values))
        for each in SERIES
    ]
    assert nab_score(SERIES, nothing, 0.5) == 0
    assert nab_score(SERIES, perfect, 0.5) == pytest.approx(100)
    assert best_threshold(SERIES, perfect) == (1.0, pytest.approx(100))


def sigmoid(y: float) -> float:
    return 2 / (1 + np.exp(5 * y)) - 1


def test_the_score_by_hand() -> None:
    """Two in a window, the better counts; one just behind it; one far from any."""
    found = [flags(10, 55, 60, 72, of=200), flags(60, of=300), flags(of=100)]
    inside = sigmoid(-(69 - 55 + 1) / 20) / sigmoid(-1)
    behind = 0.11 * sigmoid((72 - 69) / 19)
    total = inside + behind - 2 - 0.11  # two windows missed; a flag before any window
    # Point 10 is in the leading part, 15 % of 200, and does not count.
    assert nab_score(SERIES, found, 0.5) == pytest.approx(100 * (total + 3) / 6)


def test_behind_three_widths_a_false_alarm_costs_all() -> None:
    only = [a_series(300, (100, 109))]
    near, far = (nab_score(only, [flags(p, of=300)], 0.5) for p in (109 + 27, 109 + 28))
    assert far == pytest.approx(-100 * 0.11 / 2)
    assert near > far


def test_the_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(5)
    scores = [rng.integers(8, size=len(each.values)) / 8 for each in SERIES]
    scores[0][55] = scores[1][203] = 1.0
    threshold, score = best_threshold(SERIES, scores)
    tried = {t: nab_score(SERIES, scores, t) for t in [*np.arange(9) / 8, np.inf]}
    assert score == pytest.approx(max(tried.values()))
    assert tried[threshold] == pytest.approx(score)


def test_flagging_nothing_may_be_best() -> None:
    quiet = [a_series(100, (80, 89))]
    assert best_threshold(quiet, [flags(50, of=100)]) == (np.inf, 0.0)


def test_detectors_that_draw_their_scores_are_worse_than_perfect_ones() -> None:
    """Their best threshold is no worse than to flag nothing."""
    score = random_score(SERIES, detectors=3)
    assert 0 <= score < 90 and score == random_score(SERIES, detectors=3)


def test_series_without_windows_have_no_score() -> None:
    assert nab_score([a_series(100)], [flags(50, of=100)], 0.5) == 0
