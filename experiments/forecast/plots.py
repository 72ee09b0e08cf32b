"""Pictures of forecasts with their bands."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from lstm_jax.report import TRAINING, VALIDATION, new_figure, save_figure

_COLUMNS, _PANELS = 2, 6


def draw_forecasts(
    path: Path,
    known: Mapping[str, np.ndarray],
    quantiles: np.ndarray,
    levels: Sequence[float],
    past: int,
    truth: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Some forecasts: the median, and a band for each pair of quantiles.

    Six series are shown, spread evenly over all of them, whatever they look like.

    Args:
        path: the picture to write.
        known: N series by name.
        quantiles: their forecasts, [N, F, Q].
        levels: of the quantiles, symmetric around the median.
        past: how many known points are drawn.
        truth: what came after, if anybody knows yet.
    """
    names, count = list(known), min(_PANELS, len(known))
    chosen = np.linspace(0, len(names) - 1, count).round().astype(int)
    lines = -(-count // _COLUMNS)
    figure = new_figure(12, 2.6 * lines)
    panels = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    for axes, k in zip(panels.flat, chosen, strict=False):
        before = known[names[k]][-past:]
        steps = np.arange(1 - len(before), 1)
        axes.plot(steps, before, color="#606060", linewidth=1, label="known")
        _draw(axes, quantiles[k], levels, None if truth is None else truth[names[k]])
        axes.set_title(names[k], fontsize="small", loc="left")
    drawn = panels.flat[0].get_legend_handles_labels()
    figure.legend(*drawn, frameon=False, ncols=len(drawn[0]), loc="outside upper right")
    for axes in panels[-1]:
        axes.set_xlabel("points from the last known one on")
    shows = "Forecasts of some series: what was known, the median, and bands around it."
    save_figure(figure, path, 110, shows)


def _draw(
    axes: Axes, quantiles: np.ndarray, levels: Sequence[float], truth: np.ndarray | None
) -> None:
    steps, middle = np.arange(1, len(quantiles) + 1), len(levels) // 2
    for k in range(middle):
        axes.fill_between(
            steps,
            quantiles[:, k],
            quantiles[:, -1 - k],
            color=TRAINING,
            alpha=0.15 + 0.2 * k,
            linewidth=0,
            label=f"{levels[-1 - k] - levels[k]:.0%} interval",
        )
    median = quantiles[:, middle]
    axes.plot(steps, median, color=TRAINING, linewidth=1.5, label="forecast")
    if truth is not None:
        axes.plot(steps, truth, color=VALIDATION, linewidth=1, label="truth")
    axes.grid(alpha=0.3)
