"""Pictures of forecasts with their bands."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.forecast.data import Data
from lstm_jax.data import WindowSpec
from lstm_jax.report import (
    TRAINING,
    VALIDATION,
    drawable,
    new_figure,
    save_figure,
)

_PANELS, _LETTERS = 6, 60
_KNOWN = "#505050"


def draw_forecasts(
    path: Path,
    data: Data,
    quantiles: np.ndarray,
    levels: Sequence[float],
    window: WindowSpec,
) -> None:
    """Some forecasts: the median, and a band for each pair of quantiles.

    Six series are shown, spread evenly over all of them, whatever they look like, each
    with two seasons or three horizons of what was known before.

    Args:
        path: the picture to write.
        data: N series, their dates, and what came after if anybody knows.
        quantiles: their forecasts, [N, F, Q].
        levels: of the quantiles, symmetric around the median.
        window: what the forecasts looked at.
    """
    names, count = list(data.known), min(_PANELS, len(data.known))
    chosen = np.linspace(0, len(names) - 1, count).round().astype(int)
    figure = new_figure(12, 1.0 + 2.6 * (-(-count // 2) if count > 3 else count))
    history = _history(window)
    for axes, k in zip(_panels(figure, count), chosen, strict=True):
        known = data.known[names[k]]
        before = known[-min(history, len(known)) :]
        steps = np.arange(1 - len(before), 1 + quantiles.shape[1])
        times = _times(data, int(k), steps)
        now = len(before) - 1
        axes.axvline(times[now], color=_KNOWN, linewidth=0.8, linestyle=":")
        axes.plot(times[: now + 1], before, color=_KNOWN, linewidth=1.2, label="known")
        _draw(axes, times[now:], before[-1], quantiles[k], levels)
        if data.truth:
            after = np.append(before[-1], data.truth[names[k]])
            width = {"color": VALIDATION, "linewidth": 1.2}
            axes.plot(times[now:], after, label="what came", **width)
        axes.set_title(_title(names[k]), fontsize="medium", loc="left")
        axes.margins(x=0.01)
        axes.grid(alpha=0.3)
        if data.axis is None:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("steps after the last known point")
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, frameon=False, ncols=5, loc="outside upper center")
    shows = "Forecasts of some series: what was known, the median, and bands around it."
    save_figure(figure, path, 110, shows)


def _history(window: WindowSpec) -> int:
    """How many known points are drawn: a forecast shall still be seen beside them."""
    longest, horizon = window.seasons[-1], window.horizon
    return min(max(2 * longest, 3 * horizon), max(longest, 5 * horizon)) + 1


def _panels(figure: Figure, count: int) -> Iterator[Axes]:
    """As many panels as there are series: up to three below each other, or in pairs."""
    columns = 1 if count < 4 else 2
    rows = -(-count // columns)
    grid = figure.add_gridspec(rows, columns)
    for k in range(count):
        alone = columns == 2 and k == count - 1 and count % 2
        row = grid[k // columns, :] if alone else grid[k // columns, k % columns]
        yield figure.add_subplot(row)


def _times(data: Data, k: int, steps: np.ndarray) -> np.ndarray:
    """Where points are drawn: at their dates, or else by steps from the last known."""
    axis = data.axis
    if axis is None:
        return steps
    last = data.places()[k] - 1
    moments = [axis.moment(last + int(step)) for step in steps]
    return np.array([np.datetime64(m.replace(tzinfo=None), "us") for m in moments])


def _title(name: str) -> str:
    short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
    return drawable(short)


def _draw(
    axes: Axes,
    times: np.ndarray,
    last: float,
    quantiles: np.ndarray,
    levels: Sequence[float],
) -> None:
    """Bands and median, from the last known point on."""
    joined = np.concatenate([np.full((1, len(levels)), last), quantiles])
    middle = len(levels) // 2
    for k in range(middle):
        axes.fill_between(
            times,
            joined[:, k],
            joined[:, -1 - k],
            color=TRAINING,
            alpha=0.15 + 0.2 * k,
            linewidth=0,
            label=f"{levels[-1 - k] - levels[k]:.0%} interval",
        )
    median = joined[:, middle]
    axes.plot(times, median, color=TRAINING, linewidth=1.6, label="forecast")
