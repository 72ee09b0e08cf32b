"""Pictures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_TRAINING, _VALIDATION = "#4878a8", "#d1603d"


def draw_curves(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses and accuracies over the epochs, and the best validation loss."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    _pair(losses, lines, "loss")
    losses.set_ylabel("loss, nats per character")
    _pair(accuracies, lines, "accuracy")
    accuracies.set_ylabel("accuracy")
    validated = [line for line in lines if line["val_loss"] is not None]
    if validated:
        best = min(validated, key=lambda line: line["val_loss"])
        losses.annotate(
            f"best {best['val_loss']:.3f}",
            (best["epoch"], best["val_loss"]),
            xytext=(0, 24),
            textcoords="offset points",
            ha="right",
            arrowprops={"arrowstyle": "->", "color": _VALIDATION},
        )
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _pair(axes: Axes, lines: Sequence[dict[str, Any]], quantity: str) -> None:
    """Training and validation of one quantity."""
    epochs = [line["epoch"] for line in lines]
    axes.plot(
        epochs,
        [line[f"train_{quantity}"] for line in lines],
        color=_TRAINING,
        linewidth=1,
        label="training",
    )
    validated = [line for line in lines if line[f"val_{quantity}"] is not None]
    if validated:
        axes.plot(
            [line["epoch"] for line in validated],
            [line[f"val_{quantity}"] for line in validated],
            color=_VALIDATION,
            marker="o",
            markersize=4,
            label="validation",
        )
