"""Pictures of a trained network: its gates, how far learning reaches, its units."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lstm_jax.cells.protocol import State
from lstm_jax.report.inspection import (
    CLOSED,
    GATE_NAMES,
    OPEN,
    Layer,
    cell_norms,
    saturation,
)
from lstm_jax.report.style import (
    TRAINING,
    VALIDATION,
    drawable,
    new_figure,
    save_figure,
)

_UNITS = 20  # shown of a layer
_WIDTH = 0.13  # inches per symbol


def draw_gates(layers: Sequence[Layer], path: Path) -> None:
    """Each unit's saturation (after Karpathy et al. 2015), and how long it remembers.

    A row per layer. A point is a unit: the share of the text in which its gate is
    closed, against the share in which it is open. Near the origin it is a gate that
    weighs, near an end of the diagonal one that never changes.
    """
    gates = layers[0].gates
    figure = new_figure(3.25 * (len(gates) + 1), 3.3 * len(layers))
    rows = figure.subplots(len(layers), len(gates) + 1, squeeze=False)
    for depth, (layer, axes) in enumerate(zip(layers, rows, strict=True), 1):
        for name, panel in zip(gates, axes, strict=False):
            _saturation(panel, layer, name)
        axes[0].set_ylabel(f"layer {depth}\nshare of the text below {CLOSED}")
        _memory(axes[-1], np.asarray(layer.time_constants()))
    save_figure(figure, path, dpi=90)


def _saturation(axes: Axes, layer: Layer, name: str) -> None:
    closed, opened = (np.asarray(part) for part in saturation(layer.gate(name)))
    axes.plot([0, 1], [1, 0], color="0.7", linewidth=1)
    axes.scatter(opened, closed, s=12, alpha=0.5, color=TRAINING, linewidth=0)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_title(f"{GATE_NAMES.get(name, name)} gate")
    axes.set_xlabel(f"share of the text above {OPEN}")
    axes.grid(alpha=0.3)


def _memory(axes: Axes, constants: np.ndarray) -> None:
    finite = np.clip(constants, 0.1, 1e4)
    edges = np.geomspace(finite.min() * 0.9, finite.max() * 1.1, 25)
    axes.hist(finite, edges.tolist(), color=TRAINING)
    median = np.median(finite)
    axes.axvline(median, color=VALIDATION, linestyle="--", label=f"median {median:.1f}")
    axes.set_xscale("log")
    # Within a decade or two the default also names 2, 3, 4... which then overlap.
    wide = edges[-1] / edges[0] > 100
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("memory")
    axes.set_xlabel("time constant, symbols")
    axes.set_ylabel("units")
    axes.legend(frameon=False)


def draw_lags(lags: Sequence[State], length: int, path: Path) -> None:
    """The gradient norm by lag, and where training cuts it off."""
    figure = new_figure(8, 4.2)
    axes = figure.subplots()
    for depth, layer in enumerate(lags, 1):
        color = f"C{depth - 1}"
        for name, style in (("c", "-"), ("h", ":")):
            if not hasattr(layer, name):
                continue  # a GRU has no c
            norms = np.asarray(getattr(layer, name), np.float64)
            norms[norms == 0] = np.nan  # the last c has no say in the scores
            axes.plot(norms, style, color=color, label=f"layer {depth}, {name}")
    top = cell_norms(lags).max()
    memory = "c" if hasattr(lags[0], "c") else "h"
    share = f"1 % of the largest of {memory}, all layers together"
    axes.axhline(0.01 * top, color="0.6", linewidth=1, label=share)
    axes.axvline(
        length, color=VALIDATION, linestyle="--", label=f"cut off in training: {length}"
    )
    axes.set_yscale("log")
    axes.set_xlabel("lag, symbols")
    axes.set_ylabel("norm of the gradient of the loss")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2, fontsize="small")
    save_figure(figure, path, dpi=100)


def draw_units(
    reading: Sequence[Layer],
    measured: Sequence[Layer],
    symbols: Sequence[str],
    path: Path,
) -> None:
    """Hidden units over a text: a picture per layer, a row per unit, h as its color.

    Shown are the units that remember longest, and the liveliest of the others.

    Args:
        reading: the layers over the text that is shown, in their first row.
        measured: the layers over more text, for how long the units remember.
        symbols: of the text that is shown.
        path: of the picture.
    """
    height = 0.6 + 0.19 * min(_UNITS, reading[0].h.shape[-1])
    figure = new_figure(1.6 + _WIDTH * len(symbols), height * len(reading))
    panels = figure.subplots(len(reading), 1, squeeze=False)[:, 0]
    image = None
    for k, axes in enumerate(panels):
        constants = np.asarray(measured[k].time_constants())
        image = _heat(axes, np.asarray(reading[k].h[:, 0], float), constants, symbols)
        axes.set_ylabel(f"layer {k + 1}, unit: symbols of memory")
    assert image is not None, "there is a layer"
    figure.colorbar(image, ax=panels, label="h", shrink=0.5, aspect=40, pad=0.01)
    save_figure(figure, path, dpi=90)


def _heat(
    axes: Axes, h: np.ndarray, constants: np.ndarray, symbols: Sequence[str]
) -> AxesImage:
    """One layer, h [T, H]."""
    by_memory = np.argsort(-constants)
    lasting, others = by_memory[: _UNITS // 2], by_memory[_UNITS // 2 :]
    lively = others[np.argsort(-h[:, others].std(axis=0))][: _UNITS // 2]
    units = np.concatenate([lasting, lively])
    image = axes.imshow(h[:, units].T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    shown = [_visible(symbol) for symbol in symbols]
    axes.set_xticks(range(len(symbols)), shown, family="monospace", fontsize=8)
    names = [f"{unit}: {constants[unit]:.1f}" for unit in units]
    axes.set_yticks(range(len(units)), names, fontsize=7)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for label in axes.get_xticklabels():  # there is room for one character
        label.set_rotation(90 if len(label.get_text().lstrip("\\")) > 1 else 0)
    return image


def _visible(symbol: str) -> str:
    """A symbol that can be seen, and that no font mistakes for mathematics."""
    if symbol == "\n":
        return "⏎"
    if symbol == " ":
        return "·"
    return drawable(symbol) if symbol.isprintable() else "\ufffd"
