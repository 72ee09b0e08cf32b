"""How a model is scored: both protocols against the obvious computation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from lstm_jax.data.bptt import Batch, windows
from lstm_jax.distributed.mesh import replicate, row_mesh
from lstm_jax.lm import evaluation
from lstm_jax.lm.evaluation import (
    evaluate_ids,
    measure_ids,
    scores,
    stream,
    window256,
    window_measures,
)
from lstm_jax.metrics.classification import ClassificationSums, Confusion
from lstm_jax.metrics.losses import LossSums, loss_sums
from lstm_jax.models.language import LanguageModel

V, H, L = 5, 4, 2
TEXT = np.random.default_rng(0).integers(V, size=700).astype(np.uint8)
Totals = tuple[float, int, int]  # loss, correct, count


@functools.cache
@jax.jit
def model() -> LanguageModel:
    """One that forgets slowly, so that cutting its context shows."""
    made = LanguageModel(V, H, L, rngs=nnx.Rngs(0))
    made.w_out[...] *= 4
    for layer in made.layers:
        layer.b[...] += jnp.repeat(jnp.array([0.0, 4.0, 0.0, 0.0]), H)
    return made


forward = jax.jit(LanguageModel.__call__)


def read_at_once(ids: NDArray) -> Totals:
    """One forward pass from the zero state, summed up in float64."""
    logits = forward(model(), ids[None, :-1].astype(np.int32))[0]
    logits = np.asarray(logits, np.float64)[0]
    chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    targets = ids[1:]
    loss = -np.log(chances[np.arange(len(targets)), targets]).sum()
    return loss, int((logits.argmax(axis=-1) == targets).sum()), len(targets)


def read_in_windows(ids: NDArray, chosen: list[int] | None = None) -> Totals:
    """Window k predicts symbols 256 k + 1 to 256 k + 256 from nothing before 256 k."""
    starts = range(0, len(ids) - 1, 256)
    chosen = list(range(len(starts))) if chosen is None else chosen
    parts = [read_at_once(ids[256 * k : 256 * k + 257]) for k in chosen]
    losses, corrects, counts = zip(*parts, strict=True)
    return sum(losses), sum(corrects), sum(counts)


def assert_totals(found: LossSums, expected: Totals) -> None:
    loss, correct, count = expected
    assert int(found.count) == count
    assert found.values()["accuracy"] == pytest.approx(correct / count, abs=1e-9)
    np.testing.assert_allclose(float(found.loss), loss, rtol=1e-5)


@pytest.mark.parametrize("segment", [1024, 100, 1])
@pytest.mark.parametrize("size", [2, 257, 258, 700])
def test_stream_is_one_pass(
    monkeypatch: pytest.MonkeyPatch, size: int, segment: int
) -> None:
    """However many symbols are read per call."""
    monkeypatch.setattr(evaluation, "_SEGMENT", segment)
    assert_totals(stream(model(), TEXT[:size]), read_at_once(TEXT[:size]))


@pytest.mark.parametrize("rows", [1, 2, 64])
@pytest.mark.parametrize("size", [2, 257, 258, 700])
def test_windows_are_read_from_the_zero_state(
    monkeypatch: pytest.MonkeyPatch, size: int, rows: int
) -> None:
    """However many are read side by side."""
    monkeypatch.setattr(evaluation, "_MOST_ROWS", rows)
    assert_totals(window256(model(), TEXT[:size]), read_in_windows(TEXT[:size]))


def test_rows_are_spread_over_devices() -> None:
    """Of 16 windows each of two devices reads eight."""
    assert len(jax.devices()) == 2
    ids = np.tile(TEXT, 6)[: 16 * 256 + 1]
    assert_totals(window256(model(), ids), read_in_windows(ids))


@pytest.mark.parametrize(
    ("limit", "chosen"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (99, [0, 1, 2])]
)
def test_a_limit_takes_windows_evenly(limit: int, chosen: list[int]) -> None:
    found = window256(model(), TEXT, limit)
    assert_totals(found, read_in_windows(TEXT, chosen))


@pytest.mark.parametrize("size", [2, 200, 257])
def test_in_one_window_both_are_the_same(size: int) -> None:
    results = evaluate_ids(model(), TEXT[:size])
    assert results["stream"] == results["window256"]
    assert results["stream"]["characters"] == size - 1


@pytest.mark.parametrize("size", [258, 700])
def test_both_are_reported_by_name(size: int) -> None:
    results = evaluate_ids(model(), TEXT[:size])
    whole, cut = read_at_once(TEXT[:size]), read_in_windows(TEXT[:size])
    assert list(results) == ["window256", "stream"]
    for name, (loss, correct, count) in (("stream", whole), ("window256", cut)):
        assert results[name]["characters"] == count == size - 1
        assert results[name]["loss"] == pytest.approx(loss / count, rel=1e-5)
        assert results[name]["accuracy"] == pytest.approx(correct / count)
    difference = results["stream"]["loss"] - results["window256"]["loss"]
    assert abs(difference) > 1e-3  # the protocols do differ


def sums(loss: float, correct: float, count: float) -> LossSums:
    totals = (jnp.float32(x) for x in (loss, count))
    return loss_sums(*totals, accuracy=jnp.float32(correct))


def test_units() -> None:
    """Two bits for each of eight characters are a choice among four."""
    found = scores(sums(loss=8 * 2 * math.log(2), correct=6, count=8))
    assert found == {
        "loss": pytest.approx(2 * math.log(2)),
        "bits_per_char": pytest.approx(2),
        "perplexity": pytest.approx(4),
        "accuracy": 0.75,
        "characters": 8,
    }


def test_a_hopeless_model_still_has_a_perplexity() -> None:
    assert 1e300 < scores(sums(1e6, 0, 1))["perplexity"] < math.inf


# Everything that is measured.


def measured_at_once(ids: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Targets, predictions and confidences of one pass."""
    logits = np.asarray(forward(model(), ids[None, :-1].astype(np.int32))[0])[0]
    return ids[1:], logits.argmax(-1), scipy.special.softmax(logits, axis=-1)


def assert_same(
    found: dict[str, ClassificationSums], expected: dict[str, ClassificationSums]
) -> None:
    """Counts exactly, sums of floats to rounding."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        whole = np.issubdtype(a.dtype, np.integer)
        np.testing.assert_allclose(a, b, rtol=0 if whole else 1e-5, atol=1e-4)


@functools.cache
def reference() -> dict[str, ClassificationSums]:
    return measure_ids(model(), TEXT)


def test_measures_are_those_of_one_pass() -> None:
    targets, predictions, chances = measured_at_once(TEXT)
    found = reference()["stream"]
    assert isinstance(found.classes, Confusion)
    np.testing.assert_array_equal(
        found.classes.matrix,
        confusion_matrix(targets, predictions, labels=range(V)),
    )
    confidence = float(np.asarray(found.calibration.confidence).sum())
    assert confidence == pytest.approx(chances.max(-1).sum(), rel=1e-5)
    cut = [measured_at_once(TEXT[k : k + 257]) for k in range(0, 699, 256)]
    in_windows = reference()["window256"].classes
    assert isinstance(in_windows, Confusion)
    np.testing.assert_array_equal(
        in_windows.matrix,
        sum(confusion_matrix(t, p, labels=range(V)) for t, p, _ in cut),
    )
    assert (in_windows.matrix != found.classes.matrix).any(), "the protocols differ"


@pytest.mark.parametrize(("rows", "segment"), [(1, 1024), (2, 100)])
def test_measures_do_not_depend_on_how_the_text_is_read(
    monkeypatch: pytest.MonkeyPatch, rows: int, segment: int
) -> None:
    """Rows per batch, hence padding: the three windows are filled up to four."""
    monkeypatch.setattr(evaluation, "_MOST_ROWS", rows)
    monkeypatch.setattr(evaluation, "_SEGMENT", segment)
    assert_same(measure_ids(model(), TEXT), reference())


def test_measures_do_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows from the last to the first, one at a time."""

    def backwards(
        ids: NDArray, length: int, rows: int, limit: int | None = None
    ) -> list[Batch]:
        return list(windows(ids, length, rows, limit))[::-1]

    expected = reference()
    monkeypatch.setattr(evaluation, "_MOST_ROWS", 1)
    monkeypatch.setattr(evaluation, "windows", backwards)
    found = window_measures(model(), TEXT)
    assert_same({"window256": found}, {"window256": expected["window256"]})


def test_measures_do_not_depend_on_devices() -> None:
    """16 windows on two devices, and on one."""
    ids = np.tile(TEXT, 6)[: 16 * 256 + 1]
    spread = window_measures(model(), ids)
    alone = window_measures(replicate(row_mesh(16, 1), model()), ids)
    assert_same({"window256": alone}, {"window256": spread})
