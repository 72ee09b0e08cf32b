"""Single numbers of a classification, against scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as theirs

from lstm_jax.errors import InputError
from lstm_jax.metrics.agreement import (
    Average,
    average_f_beta,
    cohen_kappa,
    f_beta,
    matthews_correlation,
)
from lstm_jax.metrics.classification import ClassCounts, class_counts, top_correct

C = 6
RNG = np.random.default_rng(0)
# Of six classes, 3 is never predicted, 4 is never a target, 5 is neither.
TARGETS = RNG.choice([0, 1, 2, 3], size=300, p=[0.6, 0.2, 0.15, 0.05])
GUESSES = RNG.choice([0, 1, 2, 4], size=300)
PREDICTIONS = np.where((RNG.random(300) < 0.5) & (TARGETS != 3), TARGETS, GUESSES)


def counts(targets: np.ndarray, predictions: np.ndarray) -> ClassCounts:
    everywhere = jnp.ones(targets.shape, bool)
    return class_counts(jnp.array(predictions), jnp.array(targets), everywhere, C)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_f_beta(beta: float) -> None:
    found, pair = counts(TARGETS, PREDICTIONS), (TARGETS, PREDICTIONS)
    options = {"beta": beta, "zero_division": 0}
    expected = theirs.fbeta_score(*pair, labels=range(C), average=None, **options)
    np.testing.assert_allclose(f_beta(found, beta), expected, rtol=1e-12)
    averages: tuple[Average, ...] = ("micro", "macro", "weighted")
    for average in averages:
        expected = theirs.fbeta_score(*pair, average=average, **options)
        assert average_f_beta(found, beta, average) == pytest.approx(expected, 1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_correlation_and_kappa(classes: int) -> None:
    pair = TARGETS % classes, PREDICTIONS % classes
    found = counts(*pair)
    expected = theirs.matthews_corrcoef(*pair), theirs.cohen_kappa_score(*pair)
    assert matthews_correlation(found) == pytest.approx(expected[0], 1e-12)
    assert cohen_kappa(found) == pytest.approx(expected[1], 1e-12)
    assert matthews_correlation(counts(pair[0], pair[0])) == pytest.approx(1)
    assert cohen_kappa(counts(pair[0], pair[0])) == pytest.approx(1)


def test_what_is_not_defined_is_zero() -> None:
    ones = np.ones(4, int)
    assert matthews_correlation(counts(ones, ones)) == 0
    assert cohen_kappa(counts(ones, ones)) == 0
    assert not f_beta(counts(ones[:0], ones[:0]), 1.0).any()
    assert average_f_beta(counts(ones[:0], ones[:0]), 1.0, "macro") == 0


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan])
def test_no_such_beta(beta: float) -> None:
    with pytest.raises(InputError, match="beta: expected a number above 0"):
        f_beta(counts(TARGETS, PREDICTIONS), beta)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_of_any_k(k: int) -> None:
    logits = RNG.normal(size=(300, 4))
    expected = theirs.top_k_accuracy_score(TARGETS, logits, k=k, normalize=False)
    everywhere = jnp.ones(300, bool)
    found = top_correct(jnp.array(logits), jnp.array(TARGETS), everywhere, k)
    assert int(found) == expected
