"""Pictures of a run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from lstm_jax.report.style import TRAINING, VALIDATION, new_figure
from lstm_jax.storage.files import Fields
from lstm_jax.training.history import best_validation, overfitting_began, validations

_FAINT, _MARK = "#a9c1d9", "#606060"


def draw_curves(
    lines: Sequence[Fields], path: Path, unit: str = "nats per symbol"
) -> None:
    """Draw loss, accuracy, learning rate and gradient norm over epochs and steps.

    The best validation is marked, and where overfitting began if it did. A task without
    an accuracy leaves its place empty.

    Args:
        lines: the history; of none there is no picture.
        path: where to.
        unit: what a loss is counted in.
    """
    if not lines:
        return
    figure = new_figure(10, 6.5)
    panels = figure.subplots(2, 2, sharex=True)
    (losses, accuracies), (rates, norms) = panels
    compared = {losses: "loss"}
    losses.set_ylabel(f"loss, {unit}")
    if lines[0]["train_accuracy"] is None:
        accuracies.set_axis_off()
    else:
        compared[accuracies] = "accuracy"
        accuracies.set_ylabel("accuracy")
    _trace(rates, lines, "learning_rate")
    rates.set_ylabel("learning rate")
    _trace(norms, lines, "gradient_norm")
    norms.set_ylabel("gradient norm")
    for axes in panels.flat:
        axes.grid(alpha=0.3)
    for axes, quantity in compared.items():
        _compare(axes, lines, quantity)
        _mark(axes, lines)
        axes.legend(frameon=False, fontsize="small")
        _steps_above(axes, lines)
    for axes in (rates, norms):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
    figure.savefig(path, dpi=110)


def _trace(axes: Axes, lines: Sequence[Fields], quantity: str) -> None:
    """One quantity that every line has."""
    epochs = [line["epoch"] for line in lines]
    values = [line[quantity] for line in lines]
    axes.plot(epochs, values, color=TRAINING, linewidth=1)


def _compare(axes: Axes, lines: Sequence[Fields], quantity: str) -> None:
    """Training and validation of one quantity.

    The training curve to compare with the validation is the one measured like it; what
    the optimizer saw meanwhile lies behind, faint.
    """
    measured = validations(lines)
    axes.plot(
        [line["epoch"] for line in lines],
        [line[f"train_{quantity}"] for line in lines],
        color=_FAINT if measured else TRAINING,
        linewidth=1,
        label="training, as it went" if measured else "training",
    )
    epochs = [line["epoch"] for line in measured]
    for name, label, color in (
        ("train_eval", "training, without dropout", TRAINING),
        ("val", "validation", VALIDATION),
    ):
        values = [line[f"{name}_{quantity}"] for line in measured]
        if measured:
            axes.plot(epochs, values, "o-", color=color, markersize=4, label=label)


def _mark(axes: Axes, lines: Sequence[Fields]) -> None:
    """The best step as a line, what came after overfitting began as a shade."""
    best, began = best_validation(lines), overfitting_began(lines)
    if best:
        axes.axvline(
            best["epoch"],
            color=_MARK,
            linestyle="--",
            linewidth=1,
            label=f"best: step {best['step']:,}, loss {best['val_loss']:.3f}",
        )
    if began:
        axes.axvspan(
            began["epoch"],
            lines[-1]["epoch"],
            color=VALIDATION,
            alpha=0.12,
            linewidth=0,
            label=f"overfitting, from step {began['step']:,}",
        )


def _steps_above(axes: Axes, lines: Sequence[Fields]) -> None:
    """Steps as a second axis."""
    pace = lines[-1]["step"] / lines[-1]["epoch"]
    above = axes.secondary_xaxis("top", (lambda e: e * pace, lambda s: s / pace))
    above.set_xlabel("step")
