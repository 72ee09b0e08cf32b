"""Ranking against scikit-learn and against pairs counted one by one."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from lstm_jax.errors import InputError
from lstm_jax.metrics.ranking import (
    auroc,
    auroc_interval,
    average_precision,
    bootstrap_interval,
    operation,
    sensitive_threshold,
)

LABELS = [0, 0, 1, 1, 0, 1]
SCORES = [0.1, 0.4, 0.4, 0.8, 0.3, 0.3]


def drawn(seed: int, tied: bool, count: int = 60) -> tuple[NDArray, NDArray]:
    """Random labels and scores that know something of them; few values if tied."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.3
    scores = rng.normal(size=count) + labels
    return labels, scores.round() if tied else scores


def test_both_areas_by_hand() -> None:
    """9 pairs: 6.5 of them in order, two of the halves by ties."""
    pairs = itertools.product([0.4, 0.8, 0.3], [0.1, 0.4, 0.3])
    won = sum((event > other) + 0.5 * (event == other) for event, other in pairs)
    assert won == 7.0
    assert auroc(LABELS, SCORES) == pytest.approx(7 / 9)
    # From the top: 0.8 (1 of 1), 0.4 (2 of 3), 0.3 (3 of 5), a third of recall each.
    assert average_precision(LABELS, SCORES) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_both_areas_are_those_of_scikit_learn(seed: int, tied: bool) -> None:
    labels, scores = drawn(seed, tied)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    found = average_precision(labels, scores)
    assert found == pytest.approx(average_precision_score(labels, scores))


def test_the_order_of_rows_and_of_ties_is_of_no_matter() -> None:
    labels, scores = drawn(0, tied=True)
    turned = np.random.default_rng(1).permutation(len(labels))
    for metric in (auroc, average_precision, sensitive_threshold):
        found = metric(labels[turned], scores[turned])
        assert found == pytest.approx(metric(labels, scores), abs=1e-14)
    assert auroc(labels, np.zeros(60)) == 0.5
    for tie in (0.0, np.inf, -np.inf):
        for order in (slice(None), turned):
            area = average_precision(labels[order], np.full(60, tie))
            assert area == pytest.approx(labels.mean())


@pytest.mark.parametrize("tied", [False, True])
def test_delongs_variance_is_that_of_the_structural_components(tied: bool) -> None:
    """Every event against every other case, as DeLong et al. write it."""
    labels, scores = drawn(2, tied)
    events, others = scores[labels], scores[~labels]
    won = (events[:, None] > others) + 0.5 * (events[:, None] == others)
    variance = won.mean(1).var(ddof=1) / len(events)
    variance += won.mean(0).var(ddof=1) / len(others)
    low, high = auroc_interval(labels, scores, level=0.9)
    assert high < 1 and (low + high) / 2 == pytest.approx(won.mean())
    assert (high - low) / 2 == pytest.approx(1.6448536269514722 * variance**0.5)
    assert auroc_interval([0, 0, 1, 1], [1, 2, 3, 4]) == (1, 1)


def test_a_bootstrap_agrees_with_delong_and_with_itself() -> None:
    labels, scores = drawn(3, tied=False, count=400)
    found = bootstrap_interval(auroc, labels, scores, resamples=600, seed=5)
    assert found == bootstrap_interval(auroc, labels, scores, resamples=600, seed=5)
    assert found != bootstrap_interval(auroc, labels, scores, resamples=600, seed=6)
    assert np.allclose(found, auroc_interval(labels, scores), atol=0.01)


def test_every_resample_has_as_many_of_either_kind() -> None:
    labels = np.array([True] + 9 * [False])
    rates = bootstrap_interval(
        lambda labels, _: float(labels.mean()), labels, np.arange(10.0), resamples=50
    )
    assert rates == (0.1, 0.1)


def test_a_threshold_balances_sensitivity_and_precision() -> None:
    """0.4 finds 2 of 3 with 2 of 3 alarms right; 0.3 finds 3 with 3 of 5."""
    assert sensitive_threshold(LABELS, SCORES) == 0.4
    found = operation(LABELS, SCORES, 0.4)
    assert found == (2 / 3, 2 / 3) and found.smaller == 2 / 3
    assert operation(LABELS, SCORES, 0.3) == (1, 3 / 5)
    assert operation(LABELS, SCORES, 2.0) == (0, 0)
    labels, scores = drawn(1, tied=True)
    best = operation(labels, scores, sensitive_threshold(labels, scores)).smaller
    assert best == max(operation(labels, scores, each).smaller for each in scores)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [1, 2], "expected 1 or more rows .* found 0 with it among 2$"),
        ([1, 1], [1, 2], "expected 1 or more rows .* found 2 with it among 2$"),
        ([0, 1], [np.nan, 1], "expected scores that are numbers, found NaN$"),
    ],
)
def test_what_cannot_be_ranked(labels: list, scores: list, message: str) -> None:
    for metric in (auroc, average_precision, sensitive_threshold):
        with pytest.raises(InputError, match=message):
            metric(labels, scores)
    with pytest.raises(InputError, match="expected 2 or more rows"):
        auroc_interval([0, 0, 1], [1, 2, 3])
