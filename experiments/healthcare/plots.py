"""Pictures: one stay with its risk over time, and how often risks come true."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.healthcare.data import HOURS, UNITS, VARIABLES, Stays
from experiments.healthcare.inputs import step_of
from lstm_jax.metrics import reliability
from lstm_jax.report import TRAINING, VALIDATION, drawable, new_figure, save_figure

_PANELS = 5
# The signals shown are those of these that were seen most often in the stay.
_KNOWN_BEST = (
    *("HR", "SysABP", "NISysABP", "RespRate", "Temp", "GCS", "Urine", "Lactate"),
    *("Creatinine", "BUN", "pH", "FiO2", "Platelets", "WBC"),
)
_NAMES = {
    **{"HR": "heart rate", "SysABP": "systolic pressure", "RespRate": "breathing"},
    **{"NISysABP": "systolic pressure, cuff", "Temp": "temperature"},
    **{"GCS": "coma scale", "Urine": "urine", "Lactate": "lactate"},
    **{"Creatinine": "creatinine", "BUN": "blood urea nitrogen"},
    **{"Platelets": "platelets", "WBC": "white cells", "FiO2": "oxygen given"},
}
_COLORS = (TRAINING, VALIDATION, "#505050")
_MARKERS = ("o", "s", "^")
_WARNING = "Not for clinical use"


def draw_stay(
    path: Path,
    stay: Stays,
    ends: NDArray[np.integer],
    risks: NDArray[np.floating],
    base: float | None,
) -> None:
    """Draw what was observed of one stay, and the risk of death after each step.

    Args:
        path: the picture to write.
        stay: one stay.
        ends: the hour at which each step is over, [T].
        risks: [T], each from what came before; drawn as far as the stay was observed.
        base: the share of stays that end in death, if known.
    """
    shown = _most_seen(stay)
    figure = new_figure(9, 2.6 + 1.15 * len(shown))
    ratios = [2.2] + [1.0] * len(shown)
    panels = figure.subplots(1 + len(shown), 1, sharex=True, height_ratios=ratios)
    panels = np.atleast_1d(panels)
    count = step_of(stay.last_hours[0], ends) + 1
    _draw_risk(panels[0], ends[:count], risks[:count], base)
    panels[0].set_title(
        f"Stay {drawable(stay.names[0])}: risk of death in hospital, from what had "
        f"been seen until then. {_WARNING}.",
        loc="left",
        fontsize="medium",
    )
    for axes, variable in zip(panels[1:], shown, strict=True):
        _draw_signal(axes, stay, variable)
    panels[-1].set(xlim=(0, HOURS), xticks=range(0, HOURS + 1, 6))
    panels[-1].set_xlabel("hours since admission to intensive care")
    figure.align_ylabels()
    shows = "What was measured in one stay, and the risk of death after each hour."
    save_figure(figure, path, 110, shows)


def _most_seen(stay: Stays) -> list[int]:
    """The variables to show, in the order of the list above."""
    counts = np.bincount(stay.variables, minlength=len(VARIABLES))
    places = [VARIABLES.index(name) for name in _KNOWN_BEST]
    often = sorted(places, key=lambda place: -counts[place])[:_PANELS]
    return [place for place in places if place in often and counts[place]]


def _draw_risk(
    axes: Axes,
    ends: NDArray[np.integer],
    risks: NDArray[np.floating],
    base: float | None,
) -> None:
    axes.plot(ends, risks, color=VALIDATION, marker="o", markersize=3)
    axes.fill_between(ends, risks, color=VALIDATION, alpha=0.15)
    if base is not None:
        axes.axhline(base, color="#606060", linestyle="--", linewidth=1)
        axes.annotate(
            f"all stays: {base:.0%}",
            (0.4, base),
            (0, 3),
            textcoords="offset points",
            fontsize="small",
            color="#404040",
        )
    axes.set(ylim=(0, 1), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_ylabel("risk")
    axes.grid(alpha=0.3)


def _draw_signal(axes: Axes, stay: Stays, variable: int) -> None:
    seen = stay.variables == variable
    hours, values = stay.hours[seen], stay.values[seen]
    order = np.argsort(hours, kind="stable")
    axes.plot(
        hours[order],
        values[order],
        color=TRAINING,
        marker="o",
        markersize=3.5,
        linewidth=0.8,
    )
    name = VARIABLES[variable]
    axes.set_ylabel(
        f"{_NAMES.get(name, name)}\n{UNITS[name]}",
        rotation=0,
        ha="right",
        va="center",
        fontsize="small",
    )
    axes.margins(y=0.2)
    axes.grid(alpha=0.3)


def draw_calibration(
    path: Path,
    methods: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.floating]]],
) -> None:
    """Draw how often death came at a forecast risk, in ten bins of equally many stays.

    Args:
        path: the picture to write.
        methods: labels and risks, [N] each, by name.
    """
    figure = new_figure(5.6, 5)
    axes = figure.subplots()
    axes.plot(
        [0, 1], [0, 1], ":", color="#606060", linewidth=1, label="as often as said"
    )
    styles = zip(_COLORS, _MARKERS, strict=True)
    largest = 0.0
    for (name, given), (color, marker) in zip(methods.items(), styles, strict=False):
        found = reliability(*given)
        label = f"{name}, error {found.error:.3f}"
        axes.plot(
            found.forecast, found.observed, color=color, marker=marker, label=label
        )
        largest = max(largest, found.forecast.max(), found.observed.max())
    end = min(1.0, 1.08 * largest)
    axes.set(xlim=(0, end), ylim=(0, end))
    axes.set_xlabel("risk of death, forecast")
    axes.set_ylabel("share that died")
    axes.set_title(f"Tenths of all stays. {_WARNING}.", loc="left", fontsize="medium")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(alpha=0.3)
    shows = "How often death came, against the risk that was forecast, in ten bins."
    save_figure(figure, path, 110, shows)
