"""What a network reads of stays: values, what was seen, and how long ago. NumPy only.

What is estimated from data, the scales, is estimated from the stays one learns from,
and kept with the networks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.healthcare.data import HOURS, VARIABLES, Stays
from lstm_jax.data import (
    ObservedScale,
    carry_forward,
    fit_scale,
    on_grid,
    time_gaps,
)

_UNITS = 4  # kinds of intensive care
_SCALED = 3  # of what is fixed: age, gender, height
FEATURES = 3 * len(VARIABLES) + _SCALED + 1 + _UNITS + 1


@dataclasses.dataclass(frozen=True)
class Preparation:
    """How stays become inputs: the width of a step, and scales of training stays.

    Attributes:
        hours: of a step.
        signals: scales of the variables.
        fixed: scales of age, gender and height.
    """

    hours: int
    signals: ObservedScale
    fixed: ObservedScale

    def __call__(self, stays: Stays) -> NDArray[np.float32]:
        """What a network reads, [N, T, D]: nothing that comes after a step.

        Of every variable its last scaled value (0, the mean, before there is one) and
        whether it was seen in this step; age, gender, height and whether it is known,
        the kind of unit; how much time has passed; and last of every variable how long
        it was not seen, ln(1 + hours) / 2.
        """
        values, observed = gridded(stays, self.hours)
        last = carry_forward(self.signals(values, observed), observed)
        gaps = np.log1p(time_gaps(observed, self.hours)) / 2
        fixed = self.of_all_steps(stays.fixed)[:, None]
        clock = step_ends(self.hours)[:, None] / HOURS - 0.5
        same = [
            np.broadcast_to(a, (*last.shape[:2], a.shape[-1])) for a in (fixed, clock)
        ]
        parts = [last, observed, *same, gaps]
        return np.concatenate(parts, axis=-1, dtype=np.float32)

    def of_all_steps(self, fixed: NDArray[np.float64]) -> NDArray:
        """What is the same at all steps: age, gender, height, if known; the unit."""
        numbers, units = fixed[:, :_SCALED], fixed[:, _SCALED:]
        known = ~np.isnan(numbers)
        kinds = units == np.arange(1, _UNITS + 1)
        return np.concatenate([self.fixed(numbers, known), known[:, -1:], kinds], -1)


def step_ends(hours: int) -> NDArray[np.int64]:
    """The hour at which each step of so many hours is over, [T]."""
    steps = -(-HOURS // hours)
    return np.minimum(hours * np.arange(1, steps + 1), HOURS)


def step_of(hour: float, ends: NDArray[np.integer]) -> int:
    """Say in which step an hour lies: as on the grid, one begins where another ends."""
    return min(int(np.searchsorted(ends, hour, side="right")), len(ends) - 1)


def gridded(stays: Stays, hours: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of what was observed in each step, and whether anything was, [N, T, V]."""
    return on_grid(
        stays.hours,
        stays.variables,
        stays.values,
        rows=stays.rows,
        shape=(len(stays.names), len(step_ends(hours)), len(VARIABLES)),
        width=hours,
    )


def prepare(stays: Stays, hours: int) -> Preparation:
    """Estimate scales from the stays one may learn from."""
    numbers = stays.fixed[:, :_SCALED]
    return Preparation(
        hours,
        fit_scale(*gridded(stays, hours)),
        fit_scale(numbers, ~np.isnan(numbers)),
    )


def as_record(preparation: Preparation) -> dict[str, Any]:
    """What JSON can hold of a preparation."""

    def plain(scale: ObservedScale) -> dict[str, list]:
        return {name: each.tolist() for name, each in vars(scale).items()}

    signals, fixed = plain(preparation.signals), plain(preparation.fixed)
    return {"hours": preparation.hours, "signals": signals, "fixed": fixed}


def as_preparation(record: Mapping[str, Any]) -> Preparation:
    """The inverse of `as_record`.

    Raises:
        KeyError: a part of it is missing.
        TypeError: it is no such record.
        ValueError: likewise.
    """

    def scale(lists: Mapping[str, list], size: int) -> ObservedScale:
        found = ObservedScale(**{name: np.array(each) for name, each in lists.items()})
        if {each.shape for each in vars(found).values()} != {(size,)}:
            raise ValueError(f"expected {size} scales")
        return found

    hours = int(record["hours"])
    if not 1 <= hours <= HOURS:
        raise ValueError(f"hours: {hours}")
    signals = scale(record["signals"], len(VARIABLES))
    return Preparation(hours, signals, scale(record["fixed"], _SCALED))
