"""Whether probabilities come true as often as they say. NumPy only.

Labels are 0 or 1, [N], and chances their probabilities, [N].
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Forecasts in bins of about equally many rows, from the lowest up, [bins] each.

    Attributes:
        count: rows of a bin.
        forecast: their mean probability.
        observed: the share of them in which the event happened.
    """

    count: NDArray[np.int64]
    forecast: NDArray[np.float64]
    observed: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, by count."""
        gaps = np.abs(self.forecast - self.observed)
        return float(np.sum(self.count * gaps) / np.sum(self.count))


def reliability(labels: ArrayLike, chances: ArrayLike, bins: int = 10) -> Reliability:
    """Compare forecast and outcome in bins of equally many rows.

    Bins of equal width would leave rare events' high probabilities with hardly a row.
    Equal probabilities are in one bin, so that the order of rows is of no matter: there
    may be fewer bins then.
    """
    labels, chances = np.asarray(labels, float), np.asarray(chances, float)
    order = np.argsort(chances, kind="stable")
    ranked = chances[order]
    parts = np.array_split(order, min(bins, len(order)))
    lasts = ranked[np.cumsum([len(part) for part in parts]) - 1]
    ends = np.unique(np.searchsorted(ranked, lasts, side="right"))  # of runs of ties
    parts = np.split(order, ends[:-1])
    return Reliability(
        np.array([len(part) for part in parts]),
        np.array([chances[part].mean() for part in parts]),
        np.array([labels[part].mean() for part in parts]),
    )


def brier_score(labels: ArrayLike, chances: ArrayLike) -> float:
    """The mean squared distance of probability and outcome (Brier 1950)."""
    return float(np.mean((np.asarray(chances) - np.asarray(labels)) ** 2))
