"""The history of a run for the page: what its curves are drawn from."""

from collections.abc import Iterable, Sequence

from lstm_jax.storage.files import Fields
from lstm_jax.training.history import (
    HistoryRow,
    Metrics,
    best_validation,
    overfitting_began,
)

_MOST = 1500  # lines of history that are shown
_PARTS = ("train", "train_eval", "val")
_TRACES = {
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
    "items_per_second": "speed",
}


def describe_history(lines: Sequence[HistoryRow], unit: str = "") -> Fields | None:
    """Describe the curves of a history; None of one without a line.

    Of a long one lines are left out, evenly, and never one with a validation.

    Args:
        lines: the history.
        unit: what a loss is counted in, if that is known.
    """
    if not lines:
        return None
    shown = _thinned(lines)
    best, began = best_validation(shown), overfitting_began(shown)
    return {
        "shown": len(shown),
        "of": len(lines),
        "step": [line.step for line in shown],
        "epoch": [_short(line.epoch) for line in shown],
        "seconds": [_short(line.seconds) for line in shown],
        "best": shown.index(best) if best else None,
        "overfitting": shown.index(began) if began else None,
        "curves": [*_metrics(shown, unit), *_traces(shown)],
    }


def _thinned(lines: Sequence[HistoryRow]) -> list[HistoryRow]:
    stride = -(-len(lines) // _MOST)
    last = len(lines) - 1
    return [
        line
        for k, line in enumerate(lines)
        if line.val_loss is not None or k % stride == 0 or k == last
    ]


def _metrics(lines: Sequence[HistoryRow], unit: str) -> Iterable[Fields]:
    """Every metric, the loss first; of training, of training anew and of validation."""
    names = {name: None for line in lines for name in (*line.train, *line.val)}
    for name in sorted(names, key=lambda name: name != "loss"):
        parts = {}
        for part in _PARTS:
            metrics: list[Metrics] = [getattr(line, part) for line in lines]
            if any(name in each for each in metrics):
                parts[part] = [_short(each.get(name)) for each in metrics]
        said = name.replace("_", " ")
        title = f"{said}, {unit}" if name == "loss" and unit else said
        yield {"name": said, "title": title, "parts": parts}


def _traces(lines: Sequence[HistoryRow]) -> Iterable[Fields]:
    for field, name in _TRACES.items():
        values = [_short(getattr(line, field)) for line in lines]
        title = "items per second" if field == "items_per_second" else name
        yield {"name": name, "title": title, "parts": {"train": values}}


def _short(value: float | None) -> float | None:
    """Five digits, which is more than a picture shows."""
    return None if value is None else float(f"{value:.5g}")
