"""Metrics against scikit-learn and brute force, and the laws of totals."""

import warnings
from collections.abc import Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from sklearn import metrics as theirs

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.metrics.classification import (
    TOP,
    Calibration,
    ClassCounts,
    Confusion,
    Mistake,
    calibration,
    calibration_error,
    class_counts,
    class_report,
    confusion,
    top_correct,
    worst_mistakes,
)

C = 9
RNG = np.random.default_rng(0)
# Of nine classes, 7 is never a target, 3 is never predicted, 5 is neither.
TARGETS = RNG.choice([0, 1, 2, 3, 4, 6, 8], size=(40, 8), p=[0.5, *[1 / 12] * 6])
PREDICTIONS = np.where(
    RNG.random(TARGETS.shape) < 0.5,
    TARGETS,
    RNG.choice([0, 1, 2, 4, 6, 7, 8], size=TARGETS.shape),
)
PREDICTIONS[PREDICTIONS == 3] = 0
COUNTED = RNG.random(TARGETS.shape) < 0.7
SCORES = (2 * RNG.normal(size=(*TARGETS.shape, C))).astype(np.float32)
MASKED = np.where(COUNTED, TARGETS, IGNORED).astype(np.int32)

matrix_of = jax.jit(confusion, static_argnames="classes")
counts_of = jax.jit(class_counts, static_argnames="classes")
calibrated = jax.jit(calibration)
top = jax.jit(top_correct)


def counts() -> ClassCounts:
    return matrix_of(PREDICTIONS, TARGETS, COUNTED, C).classes()


def assert_equal(found: object, expected: object) -> None:
    """The same totals: integers exactly, sums of floats to rounding."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        exact = jnp.issubdtype(a.dtype, jnp.integer)
        np.testing.assert_allclose(a, b, rtol=0 if exact else 1e-6)


def test_the_matrix_is_that_of_scikit_learn() -> None:
    expected = theirs.confusion_matrix(
        TARGETS[COUNTED], PREDICTIONS[COUNTED], labels=range(C)
    )
    found = matrix_of(PREDICTIONS, TARGETS, COUNTED, C)
    assert found.matrix.dtype == np.int32
    np.testing.assert_array_equal(found.matrix, expected)


def test_each_class_report_as_in_scikit_learn() -> None:
    """With labels given, scikit-learn reports empty classes too."""
    with warnings.catch_warnings(action="ignore"):
        expected = theirs.precision_recall_fscore_support(
            TARGETS[COUNTED], PREDICTIONS[COUNTED], labels=range(C), zero_division=0
        )
    found = class_report(counts())
    given = np.stack([found.precision, found.recall, found.f1, found.support])
    np.testing.assert_allclose(given, np.array(expected), rtol=1e-12)
    assert [found.f1[k] for k in (3, 5, 7)] == [0, 0, 0]


@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_averages_are_those_of_scikit_learn(
    average: Literal["micro", "macro", "weighted"],
) -> None:
    """Without labels given, over the classes it meets in either array."""
    expected = theirs.precision_recall_fscore_support(
        TARGETS[COUNTED], PREDICTIONS[COUNTED], average=average, zero_division=0
    )
    found = class_report(counts()).averages[average]
    for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        assert found[name] == pytest.approx(value, rel=1e-12)


def test_micro_is_the_accuracy() -> None:
    expected = theirs.accuracy_score(TARGETS[COUNTED], PREDICTIONS[COUNTED])
    for value in class_report(counts()).averages["micro"].values():
        assert value == pytest.approx(expected, rel=1e-12)


def test_vectors_say_the_same_as_the_matrix() -> None:
    assert_equal(counts_of(PREDICTIONS, TARGETS, COUNTED, C), counts())


def test_nothing_counted_is_zero() -> None:
    nothing = matrix_of(PREDICTIONS, TARGETS, np.zeros_like(COUNTED), C)
    scores = class_report(nothing.classes())
    assert not nothing.matrix.any() and not scores.f1.any()
    assert set(scores.averages["macro"].values()) == {0.0}
    assert set(scores.averages["micro"].values()) == {0.0}
    assert calibration_error(calibrated(SCORES, TARGETS, np.zeros_like(COUNTED))) == 0


def test_counts_are_exact_where_float32_is_not() -> None:
    """2^24 + 1 has no float32; a count goes on after it."""
    most = Confusion(jnp.full((1, 1), 2**24))
    one = matrix_of(np.zeros(1, int), np.zeros(1, int), np.ones(1, bool), 1)
    assert int((most + one).matrix[0, 0]) == 2**24 + 1
    assert float(class_report((most + one).classes()).support[0]) == 2**24 + 1


def everything(
    scores: NDArray, predictions: NDArray, targets: NDArray, counted: NDArray
) -> tuple[Confusion, ClassCounts, Calibration, jax.Array]:
    """Every accumulator of the file."""
    return (
        matrix_of(predictions, targets, counted, C),
        counts_of(predictions, targets, counted, C),
        calibrated(scores, targets, counted),
        top(scores, targets, counted),
    )


DATA = (SCORES, PREDICTIONS, TARGETS, COUNTED)


def merged(parts: Iterator[tuple]) -> tuple:
    """The totals of parts, merged one by one."""
    total = next(parts)
    for part in parts:
        total = tuple(a + b for a, b in zip(total, part, strict=True))
    return total


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_batch_size_does_not_matter(rows: int) -> None:
    parts = (everything(*(a[:, k : k + rows] for a in DATA)) for k in range(0, 8, rows))
    assert_equal(merged(parts), everything(*DATA))


def test_order_does_not_matter() -> None:
    order = RNG.permutation(40)
    assert_equal(everything(*(a[order] for a in DATA)), everything(*DATA))


def test_padding_does_not_matter() -> None:
    """Whatever stands there: numbers out of range, infinities, no numbers at all."""
    padding = (
        np.full((7, 8, C), np.nan, np.float32),
        np.full((7, 8), C + 3),
        np.full((7, 8), IGNORED),
        np.zeros((7, 8), bool),
    )
    padded = [np.concatenate(pair) for pair in zip(DATA, padding, strict=True)]
    assert_equal(everything(*padded), everything(*DATA))


def test_what_is_not_counted_may_be_anything() -> None:
    dirty = (
        np.where(COUNTED[..., None], SCORES, np.inf),
        np.where(COUNTED, PREDICTIONS, -5),
        MASKED,
        COUNTED,
    )
    assert_equal(everything(*dirty), everything(*DATA))


def test_devices_do_not_matter() -> None:
    assert len(jax.devices()) == 2
    mesh = Mesh(np.array(jax.devices()), ("rows",), axis_types=(AxisType.Auto,))
    by_rows = NamedSharding(mesh, PartitionSpec(None, "rows"))
    spread = [jax.device_put(a, by_rows) for a in DATA]
    assert_equal(everything(*spread), everything(*DATA))


def test_top_five_by_sorting() -> None:
    ranked = np.argsort(-SCORES, axis=-1)[..., :TOP]
    expected = (ranked == TARGETS[..., None]).any(axis=-1)[COUNTED].sum()
    assert int(top(SCORES, TARGETS, COUNTED)) == expected
    assert 0 < expected < COUNTED.sum()


ONE = np.ones((1, 1), bool)


def test_equal_scores_rank_by_id() -> None:
    """Of seven equal scores the first five are at the top; argmax takes the first."""
    scores = np.zeros((1, 7, 7), np.float32)
    every = np.arange(7)[None]
    hits = [int(top(scores[:, :1], every[:, k : k + 1], ONE)) for k in range(7)]
    assert hits == [1] * TOP + [0] * 2
    assert int(top(scores, every, np.ones((1, 7), bool))) == TOP


def test_no_number_is_never_at_the_top() -> None:
    scores = np.full((1, 1, 7), np.nan, np.float32)
    assert int(top(scores, 0 * ONE, ONE)) == 0
    scores[..., 0] = 1.0  # six of no number are above it
    assert int(top(scores, 0 * ONE, ONE)) == 0


def test_calibration_by_hand() -> None:
    """Position by position, in float64."""
    expected = np.zeros((3, 15))
    for place in zip(*np.nonzero(COUNTED), strict=True):
        chances = np.exp(SCORES[place].astype(np.float64))
        chances /= chances.sum()
        k = min(int(chances.max() * 15), 14)
        expected[:, k] += 1, chances.max(), chances.argmax() == TARGETS[place]
    found = calibrated(SCORES, TARGETS, COUNTED)
    np.testing.assert_array_equal(found.count, expected[0])
    np.testing.assert_allclose(found.confidence, expected[1], rtol=1e-5)
    np.testing.assert_array_equal(found.correct, expected[2])
    count, confidence, correct = expected[:, expected[0] > 0]
    gaps = np.abs(confidence / count - correct / count)
    error = np.average(gaps, weights=count)
    assert calibration_error(found) == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("wrong", [0, 3, 10])
def test_a_sure_model_errs_by_its_mistakes(wrong: int) -> None:
    """Certain ten times and wrong a few: all in the last bin, with confidence 1."""
    scores = np.zeros((1, 10, C), np.float32)
    scores[..., 2] = 1e4
    targets = np.full((1, 10), 2)
    targets[0, :wrong] = 4
    found = calibrated(scores, targets, np.ones((1, 10), bool))
    assert (int(found.count[-1]), int(found.correct[-1])) == (10, 10 - wrong)
    assert calibration_error(found) == pytest.approx(wrong / 10)


def test_the_worst_mistakes_by_hand() -> None:
    matrix = np.array([[90, 6, 4], [6, 2, 0], [0, 9, 1]])
    assert worst_mistakes(matrix) == [
        Mistake(2, 1, 9, 0.9),
        Mistake(0, 1, 6, 0.06),
        Mistake(1, 0, 6, 0.75),
        Mistake(0, 2, 4, 0.04),
    ]
    assert worst_mistakes(matrix, 1) == [Mistake(2, 1, 9, 0.9)]
    assert worst_mistakes(np.eye(3, dtype=int)) == []
    assert matrix[0, 0] == 90, "the matrix is left as it is"
