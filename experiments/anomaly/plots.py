"""Pictures of series with what is wrong in them, found and labelled."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.anomaly.data import Series, Window
from lstm_jax.report import TRAINING, VALIDATION, drawable, new_figure, save_figure

_COLUMNS, _PANELS = 2, 8
_LABEL, _DAY = "#b0b0b0", 86400.0


def draw_alarms(
    path: Path,
    series: Sequence[Series],
    alarms: Sequence[NDArray[np.bool_]],
    segments: Sequence[Sequence[Window]],
) -> None:
    """Some series with labelled windows, found segments and the points of alarms.

    Eight are shown, spread evenly over all of them, whatever they look like.

    Args:
        path: the picture to write.
        series: all there are.
        alarms: [N] of each, whether one is given.
        segments: of each, first and last point.
    """
    count = min(_PANELS, len(series))
    chosen = np.linspace(0, len(series) - 1, count).round().astype(int)
    lines = -(-count // _COLUMNS)
    figure = new_figure(12, 2.3 * lines)
    panels = figure.subplots(lines, _COLUMNS, squeeze=False)
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    for axes, k in zip(panels.flat, chosen, strict=False):
        _draw(axes, series[k], alarms[k], segments[k])
    drawn = {}
    for axes in panels.flat:
        handles, labels = axes.get_legend_handles_labels()
        drawn |= dict(zip(labels, handles, strict=True))
    figure.legend(
        drawn.values(), drawn, frameon=False, ncols=4, loc="outside upper right"
    )
    for axes in panels[-1]:
        axes.set_xlabel("days from the first point on")
    shows = (
        "Series over days: their points, labelled windows as shades, alarms as marks."
    )
    save_figure(figure, path, 110, shows)


def _draw(
    axes: Axes, series: Series, alarms: NDArray[np.bool_], segments: Sequence[Window]
) -> None:
    days = (series.seconds - series.seconds[0]) / _DAY
    axes.plot(days, series.values, color="#404040", linewidth=0.6, label="values")
    for first, last in series.windows:
        axes.axvspan(
            days[first], days[last], color=_LABEL, alpha=0.5, lw=0, label="labelled"
        )
    low, high = axes.get_ylim()
    for first, last in segments:
        axes.plot(
            [days[first], days[last]],
            [low, low],
            color=TRAINING,
            linewidth=5,
            solid_capstyle="butt",
            label="found",
        )
    axes.plot(
        days[alarms],
        series.values[alarms],
        "v",
        color=VALIDATION,
        markersize=5,
        label="alarm",
    )
    axes.set_ylim(low, high)
    axes.set_title(drawable(series.name), fontsize="small", loc="left")
    axes.grid(alpha=0.3)
