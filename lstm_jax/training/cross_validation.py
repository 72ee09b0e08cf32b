"""Cross-validation: fit once per fold, average over the folds.

What a model is fitted with, its vocabulary and scalers as much as its weights, has to
be made from the training rows of a fold alone. So all of it belongs inside the function
that is handed to `cross_validate`.
"""

import base64
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstm_jax.data.folds import Fold, Indices
from lstm_jax.distributed.multihost import is_primary, primary_decides
from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields, read_json, write_json

Predictions = Mapping[str, NDArray]
_LARGEST = 1 << 30  # bytes of what a fold left


@dataclasses.dataclass(frozen=True)
class FoldOutcome:
    """What one fold left.

    Attributes:
        metrics: numbers by name, measured on the fold's test rows.
        predictions: arrays by name, [n, ...] each, a row for each of the n test rows in
            their order.
    """

    metrics: Mapping[str, float]
    predictions: Predictions = dataclasses.field(default_factory=dict)


FitAndPredict = Callable[[Indices, Indices, int], FoldOutcome]


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """The folds put together.

    Attributes:
        folds: the metrics of each fold, in order.
        predictions: the arrays of all folds [N, ...], each row predicted by the one
            model that had not seen it.
        tested_in: the fold that each row was tested in, [N].
    """

    folds: list[dict[str, float]]
    predictions: dict[str, NDArray]
    tested_in: Indices

    @property
    def mean(self) -> dict[str, float]:
        """The mean over the folds, each counting the same."""
        return {name: float(np.mean(each)) for name, each in self._columns()}

    @property
    def deviation(self) -> dict[str, float]:
        """The standard deviation between folds, with k - 1 in the denominator.

        It tells how far a fold's score lies from the mean. Folds share most of their
        training rows, so dividing it by √k would understate the error of the mean.
        """
        return {name: float(np.std(each, ddof=1)) for name, each in self._columns()}

    def _columns(self) -> list[tuple[str, list[float]]]:
        return [(name, [fold[name] for fold in self.folds]) for name in self.folds[0]]

    def save(self, folder: Path) -> None:
        """Write `crossval.json` and the out-of-fold `predictions.npz`."""
        folder.mkdir(parents=True, exist_ok=True)
        record = {"mean": self.mean, "deviation": self.deviation, "folds": self.folds}
        text = json.dumps(record, indent=2) + "\n"
        (folder / "crossval.json").write_text(text, encoding="utf-8")
        arrays = {"tested_in": self.tested_in, **self.predictions}
        np.savez_compressed(folder / "predictions.npz", allow_pickle=False, **arrays)


def cross_validate(
    fit_and_predict: FitAndPredict, folds: Sequence[Fold], folder: Path | None = None
) -> CrossValidation:
    """Fit and test once per fold.

        def fit_and_predict(train, test, fold):
            vocab = Vocab(sentences[i] for i in train)
            ...
            return FoldOutcome({"accuracy": 0.77}, {"scores": scores})

        cross_validate(fit_and_predict, stratified_folds(labels, 10)).mean["accuracy"]

    Args:
        fit_and_predict: is handed the training rows, the test rows and the number of
            the fold; returns what it measured and predicted on the test rows.
        folds: a partition, of this library's `folds` for one.
        folder: where to keep what a fold left as soon as it is there, so that a run
            that was stopped does not begin again: a fold that is found there is not
            fitted. While it fits, fold k may keep its own state in `fold_folder`,
            which is removed afterwards.

    Raises:
        InputError: what was kept of a fold is damaged.
    """
    outcomes = []
    for k, fold in enumerate(folds):
        kept = None if folder is None else fold_folder(folder, k).with_suffix(".json")
        if kept and primary_decides(kept.exists()):
            outcomes.append(_read_outcome(kept))
            continue
        outcomes.append(fit_and_predict(fold.train, fold.test, k))
        if kept and is_primary():
            _write_outcome(kept, outcomes[-1])
            shutil.rmtree(kept.with_suffix(""), ignore_errors=True)
    return collect(outcomes, folds)


def fold_folder(folder: Path, fold: int) -> Path:
    """Name the folder in which a fold keeps the state of its training.

    Args:
        folder: the one that `cross_validate` is told.
        fold: counted from 0.
    """
    return folder / f"fold-{fold + 1}"


def _write_outcome(path: Path, outcome: FoldOutcome) -> None:
    """Keep what a fold left, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions = {name: _record(each) for name, each in outcome.predictions.items()}
    metrics = {name: float(value) for name, value in outcome.metrics.items()}
    write_json(path, {"metrics": metrics, "predictions": predictions})


def _read_outcome(path: Path) -> FoldOutcome:
    record = read_json(path, "what a fold left", _LARGEST)
    try:
        return FoldOutcome(
            {str(name): float(value) for name, value in record["metrics"].items()},
            {name: _array(each) for name, each in record["predictions"].items()},
        )
    except Exception as error:  # of the many that a damaged file can cause
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: expected what a fold left, found: {reason:.200}"
        ) from None


def _record(array: NDArray) -> Fields:
    """Describe an array in JSON, its numbers as the bytes they are in memory."""
    numbers = base64.b64encode(np.asarray(array).tobytes()).decode()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "base64": numbers}


def _array(record: Mapping[str, Any]) -> NDArray:
    """Rebuild an array; older records list its numbers, float32 as the same ones."""
    dtype = np.dtype(record["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"numbers of type {dtype}")
    if "values" in record:
        return np.array(record["values"], dtype).reshape(record["shape"])
    numbers = base64.b64decode(record["base64"], validate=True)
    return np.frombuffer(numbers, dtype).reshape(record["shape"])


def collect(outcomes: Sequence[FoldOutcome], folds: Sequence[Fold]) -> CrossValidation:
    """Put together what the folds left, each row of a prediction in its place.

    Raises:
        ValueError: the folds measured different things, or predicted more or fewer rows
            than they were to test.
    """
    count = sum(len(fold.test) for fold in folds)
    tested_in = np.empty(count, np.int64)
    for k, fold in enumerate(folds):
        tested_in[fold.test] = k
    return CrossValidation(
        folds=[_same_names(outcome, outcomes[0]) for outcome in outcomes],
        predictions={
            name: _in_place([outcome.predictions[name] for outcome in outcomes], folds)
            for name in outcomes[0].predictions
        },
        tested_in=tested_in,
    )


def _same_names(outcome: FoldOutcome, first: FoldOutcome) -> dict[str, float]:
    for found, expected in (
        (outcome.metrics, first.metrics),
        (outcome.predictions, first.predictions),
    ):
        if set(found) != set(expected):
            raise ValueError(f"expected {sorted(expected)}, found {sorted(found)}")
    return {name: float(outcome.metrics[name]) for name in first.metrics}


def _in_place(parts: Sequence[NDArray], folds: Sequence[Fold]) -> NDArray:
    """The rows of all test parts, in the order of the data."""
    for part, fold in zip(parts, folds, strict=True):
        if len(part) != len(fold.test):
            raise ValueError(f"expected {len(fold.test)} rows, found {len(part)}")
    joined = np.concatenate(parts)
    whole = np.empty_like(joined)
    whole[np.concatenate([fold.test for fold in folds])] = joined
    return whole


def fold_table(
    result: CrossValidation, columns: Mapping[str, str] | None = None, of: str = "fold"
) -> str:
    """A line per fold, then their mean and standard deviation.

    Args:
        result: the folds.
        columns: the metrics to show and what to call them; all of them if None.
        of: what a line is.
    """
    columns = columns or {name: name for name in result.folds[0]}
    names = list(columns)
    rows = [[of, *columns.values()]]
    for k, fold in enumerate(result.folds):
        rows.append([str(k + 1), *(f"{fold[name]:.4f}" for name in names)])
    for label, values in (("mean", result.mean), ("s.d.", result.deviation)):
        rows.append([label, *(f"{values[name]:.4f}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
