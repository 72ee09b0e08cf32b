"""Pictures of a run."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from lstm_jax.report.style import TRAINING, VALIDATION, new_figure, save_figure
from lstm_jax.training.history import (
    HistoryRow,
    Metrics,
    best_validation,
    overfitting_began,
    validations,
)

_FAINT, _MARK = "#a9c1d9", "#606060"


def draw_curves(
    lines: Sequence[HistoryRow], path: Path, unit: str = "nats per symbol"
) -> None:
    """Draw loss, accuracy, learning rate and gradient norm over epochs and steps.

    The best validation is marked, and where overfitting began if it did. In the place
    of the accuracy is whatever else the task measures first, or else the speed. The
    loss is shown from the first tenth of the run on, if what came before would squeeze
    that.

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
    last = validations(lines)[-1:] or lines[-1:]
    others = [name for name in {**last[0].train, **last[0].val} if name != "loss"]
    if others:
        compared[accuracies] = others[0]
        accuracies.set_ylabel(others[0].replace("_", " "))
    else:
        _trace(accuracies, lines, "items_per_second")
        accuracies.set_ylabel("items per second")
        accuracies.set_ylim(bottom=0)
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
    _frame_losses(losses, lines)
    for axes in (rates, norms):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
    save_figure(figure, path, dpi=110)


def unit_of_text(vocab: str) -> str:
    """Say what the loss of a text generator is counted in.

    Args:
        vocab: what its symbols are.
    """
    symbol = {"char": "character", "byte": "byte"}.get(vocab, "token")
    return f"nats per {symbol}"


def _trace(axes: Axes, lines: Sequence[HistoryRow], quantity: str) -> None:
    """One quantity that every line has."""
    epochs = [line.epoch for line in lines]
    values = [getattr(line, quantity) for line in lines]
    axes.plot(epochs, values, color=TRAINING, linewidth=1)


def _compare(axes: Axes, lines: Sequence[HistoryRow], quantity: str) -> None:
    """Training and validation of one quantity.

    The training curve to compare with the validation is the one measured like it; what
    the optimizer saw meanwhile lies behind, faint.
    """
    measured = validations(lines)
    curves = {
        "train": ("training, as it went", _FAINT, "-"),
        "train_eval": ("training, measured like validation", TRAINING, "o-"),
        "val": ("validation", VALIDATION, "o-"),
    }
    if not measured:
        curves = {"train": ("training", TRAINING, "-")}
    for part, (label, color, style) in curves.items():
        points = [(line.epoch, getattr(line, part).get(quantity)) for line in lines]
        known = [(epoch, x) for epoch, x in points if x is not None and isfinite(x)]
        if known:
            axes.plot(
                *zip(*known, strict=True),
                style,
                color=color,
                linewidth=1 if part == "train" else None,
                markersize=4,
                label=label,
            )


def _frame_losses(axes: Axes, lines: Sequence[HistoryRow]) -> None:
    """Leave out of sight how high the first losses were, if they squeeze the others."""
    start = lines[-1].epoch / 10
    parts = [(line.epoch, part.get("loss")) for line in lines for part in _parts(line)]
    known = [(epoch, x) for epoch, x in parts if x is not None and isfinite(x)]
    later = [x for epoch, x in known if epoch > start]
    if not later:
        return
    low, high = min(x for _, x in known), max(later)
    if max(x for _, x in known) > high + 0.5 * (high - low) > low:
        axes.set_ylim(low - 0.06 * (high - low), high + 0.15 * (high - low))


def _parts(line: HistoryRow) -> tuple[Metrics, Metrics, Metrics]:
    return line.train, line.train_eval, line.val


def _mark(axes: Axes, lines: Sequence[HistoryRow]) -> None:
    """The best step as a line, what came after overfitting began as a shade."""
    best, began = best_validation(lines), overfitting_began(lines)
    if best:
        axes.axvline(
            best.epoch,
            color=_MARK,
            linestyle="--",
            linewidth=1,
            label=f"best: step {best.step:,}, loss {best.val_loss:.3f}",
        )
    if began:
        axes.axvspan(
            began.epoch,
            lines[-1].epoch,
            color=VALIDATION,
            alpha=0.12,
            linewidth=0,
            label=f"overfitting, from step {began.step:,}",
        )


def _steps_above(axes: Axes, lines: Sequence[HistoryRow]) -> None:
    """Steps as a second axis."""
    pace = lines[-1].step / lines[-1].epoch
    above = axes.secondary_xaxis(
        "top", (lambda e: np.multiply(e, pace), lambda s: np.divide(s, pace))
    )
    above.set_xlabel("step")
