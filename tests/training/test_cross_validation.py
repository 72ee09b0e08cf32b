"""Cross-validation: what is put together, and that nothing leaks."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lstm_jax.data.folds import Indices, block_folds, shuffled_folds
from lstm_jax.storage.files import read_json, write_json
from lstm_jax.training.cross_validation import (
    CrossValidation,
    FoldOutcome,
    collect,
    cross_validate,
    fold_table,
)


def test_one_fit_per_fold_each_with_its_own_rows() -> None:
    seen = []

    def fit_and_predict(train: Indices, test: Indices, fold: int) -> FoldOutcome:
        seen.append((train.tolist(), test.tolist(), fold))
        return FoldOutcome({"score": fold})

    cross_validate(fit_and_predict, block_folds(5, 2))
    assert seen == [([3, 4], [0, 1, 2], 0), ([0, 1, 2], [3, 4], 1)]


def by_hand() -> CrossValidation:
    """Three folds with the scores 1, 2 and 6; the prediction of row i is 10 i."""

    def fit_and_predict(train: Indices, test: Indices, fold: int) -> FoldOutcome:
        return FoldOutcome(
            {"score": [1.0, 2.0, 6.0][fold]},
            {"ten": 10 * test, "pair": np.stack([test, -test], 1)},
        )

    return cross_validate(fit_and_predict, shuffled_folds(7, 3))


def test_mean_and_deviation_by_hand() -> None:
    found = by_hand()
    assert found.folds == [{"score": 1.0}, {"score": 2.0}, {"score": 6.0}]
    assert found.mean == {"score": 3.0}
    # (4 + 1 + 9) / 2 = 7
    assert found.deviation["score"] == pytest.approx(7**0.5)


def test_predictions_come_back_in_the_order_of_the_data() -> None:
    found = by_hand()
    assert found.predictions["ten"].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert found.predictions["pair"][3].tolist() == [3, -3]
    for k, fold in enumerate(shuffled_folds(7, 3)):
        assert (found.tested_in[fold.test] == k).all()


def test_what_is_saved(tmp_path: Path) -> None:
    found = by_hand()
    found.save(tmp_path / "new")
    record = json.loads((tmp_path / "new" / "crossval.json").read_text())
    assert record == {
        "mean": found.mean,
        "deviation": found.deviation,
        "folds": found.folds,
    }
    with np.load(tmp_path / "new" / "predictions.npz", allow_pickle=False) as kept:
        assert set(kept.files) == {"tested_in", "ten", "pair"}
        assert kept["ten"].tolist() == found.predictions["ten"].tolist()
        assert kept["tested_in"].tolist() == found.tested_in.tolist()


def test_what_was_kept_of_a_fold_comes_back_to_the_bit(tmp_path: Path) -> None:
    """Its numbers as bytes, or listed, as they were at first."""
    rng = np.random.default_rng(0)
    nats = np.append(np.float32(np.nan), rng.normal(size=3).astype(np.float32))
    outcome = FoldOutcome({"a": 1 / 3}, {"nats": nats, "right": nats > 0})
    folds = block_folds(8, 2)
    first = cross_validate(lambda *given: outcome, folds, tmp_path)
    path = tmp_path / "fold-1.json"
    record = read_json(path, "a fold")
    for name, array in outcome.predictions.items():
        kind = {"dtype": str(array.dtype), "shape": list(array.shape)}
        assert record["predictions"][name].keys() == {*kind, "base64"}
        record["predictions"][name] = {**kind, "values": array.tolist()}
    write_json(path, record)
    second = cross_validate(lambda *given: pytest.fail(), folds, tmp_path)
    assert second.folds == first.folds == [{"a": 1 / 3}] * 2
    for name, array in outcome.predictions.items():
        found = second.predictions[name]
        assert (
            found.tobytes() == np.tile(array, 2).tobytes()
            and found.dtype == array.dtype
        )


def test_the_table_has_a_line_per_fold() -> None:
    assert fold_table(by_hand()).splitlines() == [
        "fold   score",
        "   1  1.0000",
        "   2  2.0000",
        "   3  6.0000",
        "mean  3.0000",
        "s.d.  2.6458",
    ]


def test_folds_that_do_not_match_are_refused() -> None:
    folds = block_folds(4, 2)
    one, other = FoldOutcome({"a": 1.0}), FoldOutcome({"b": 1.0})
    with pytest.raises(ValueError, match=r"expected \['a'\], found \['b'\]"):
        collect([one, other], folds)
    short = FoldOutcome({"a": 1.0}, {"p": np.zeros(1)})
    with pytest.raises(ValueError, match="expected 2 rows, found 1"):
        collect([short, short], folds)


# Nothing leaks.


def ridge_by_hand(xs: NDArray, ys: NDArray, fitted: list[NDArray]) -> CrossValidation:
    """Ridge regression on scaled inputs; scaler and weights go to `fitted`."""

    def fit_and_predict(train: Indices, test: Indices, fold: int) -> FoldOutcome:
        mean, scale = xs[train].mean(0), xs[train].std(0)
        a, b = (xs[train] - mean) / scale, ys[train] - ys[train].mean()
        weights = np.linalg.solve(a.T @ a + np.eye(a.shape[1]), a.T @ b)
        fitted.append(np.concatenate([mean, scale, weights]))
        found = (xs[test] - mean) / scale @ weights + ys[train].mean()
        return FoldOutcome(
            {"error": float(np.square(found - ys[test]).mean())}, {"found": found}
        )

    return cross_validate(fit_and_predict, block_folds(len(xs), 4))


def test_out_of_fold_predictions_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    xs = rng.normal(3, [1, 10, 0.1], (22, 3))
    ys = xs @ rng.normal(size=3) + rng.normal(size=22)
    found = ridge_by_hand(xs, ys, [])
    model = make_pipeline(StandardScaler(), Ridge())
    blocks = [(fold.train, fold.test) for fold in block_folds(22, 4)]
    expected = cross_val_predict(model, xs, ys, cv=blocks)
    np.testing.assert_allclose(found.predictions["found"], expected, rtol=1e-9)
    sizes = [len(test) for _, test in KFold(4).split(xs)]
    assert sorted(len(fold.test) for fold in block_folds(22, 4)) == sorted(sizes)


def test_nothing_that_is_fitted_depends_on_what_is_tested() -> None:
    rng = np.random.default_rng(1)
    xs, ys = rng.normal(size=(20, 3)), rng.normal(size=20)
    before = list[NDArray]()
    ridge_by_hand(xs, ys, before)
    for k, fold in enumerate(block_folds(20, 4)):
        poisoned, answers = xs.copy(), ys.copy()
        poisoned[fold.test] = 1e6
        answers[fold.test] = -1e6
        after = list[NDArray]()
        ridge_by_hand(poisoned, answers, after)
        np.testing.assert_array_equal(after[k], before[k])
        assert all((after[j] != before[j]).all() for j in range(4) if j != k)
