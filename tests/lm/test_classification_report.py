"""What is reported of everything that was measured, and its worst mistakes."""

from typing import cast

import jax
import numpy as np
import pytest
from sklearn import metrics as theirs

from lstm_jax.lm.classification_report import classification_report
from lstm_jax.metrics.classification import (
    MOST_CLASSES,
    measure,
)

RNG = np.random.default_rng(0)
NAMES = list("abcd")


def test_all_of_it_beside_scikit_learn() -> None:
    targets = RNG.choice(3, size=(50, 2)).astype(np.int32)  # d never comes
    scores = RNG.normal(size=(50, 2, 4)).astype(np.float32)
    found = classification_report(jax.jit(measure)(scores, targets), NAMES)
    given, predicted = targets.ravel(), scores.argmax(-1).ravel()
    expected = cast(
        "dict[str, dict[str, float]]",
        theirs.classification_report(
            given,
            predicted,
            labels=range(4),
            target_names=NAMES,
            output_dict=True,
            zero_division=0,
        ),
    )
    for each in found["classes"]:
        theirs_of_it = expected[each["name"]]
        assert each["predicted"] == (predicted == NAMES.index(each["name"])).sum()
        for name, key in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1-score", "f1"),
            ("support", "support"),
        ):
            assert each[key] == pytest.approx(theirs_of_it[name])
    assert found["f1_weighted"] == pytest.approx(expected["weighted avg"]["f1-score"])
    assert found["accuracy"] == pytest.approx((given == predicted).mean())
    assert (
        found["confusion"]
        == theirs.confusion_matrix(given, predicted, labels=range(4)).tolist()
    )
    chances = np.exp(scores.reshape(-1, 4).astype(np.float64))
    chances /= chances.sum(axis=-1, keepdims=True)
    expected_loss = theirs.log_loss(given, chances, labels=range(4))
    assert found["loss"] == pytest.approx(expected_loss, rel=1e-5)


def test_too_many_classes_have_no_matrix() -> None:
    classes = MOST_CLASSES + 1
    targets = np.arange(4, dtype=np.int32)
    found = classification_report(
        jax.jit(measure)(np.zeros((4, classes), np.float32), targets),
        [str(k) for k in range(classes)],
    )
    assert found["confusion"] is None
    assert [each["support"] for each in found["classes"][:6]] == [1, 1, 1, 1, 0, 0]
