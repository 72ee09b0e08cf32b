"""A linear forecast of every point from afar, fitted to its series as points come.

Least squares, in the frame of the moment, on the last points that are shown and on
what is usual at the time of the point. Old points fade. Until enough is known the
forecast is held to the last point that is shown (ridge regression on the difference).

The same steps serve many series side by side and one stream: rows of arrays.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1.0  # as many points that say: like the last one
_EVERY = 10  # points from one fit to the next
Rows = NDArray[np.float64]


@dataclasses.dataclass
class LinearForecast:
    """The running least squares of B series from L distances. Changed by `learn`.

    Attributes:
        memory: how many points are remembered.
        count: how many points there were.
        moments: [B, L, P, P], the running mean of products of terms.
        targets: [B, L, P], that of terms and of what is to be told.
        weights: [B, L, P].
    """

    memory: int
    count: int
    moments: Rows
    targets: Rows
    weights: Rows

    @classmethod
    def empty(cls, rows: int, leads: int, terms: int, memory: int) -> LinearForecast:
        """Of series that have no points yet, with P terms: the last one as it is."""
        zero = np.zeros((rows, leads, terms))
        return cls(memory, 0, np.zeros((rows, leads, terms, terms)), zero, zero)

    def forecast(self, terms: Rows) -> Rows:
        """The next points, [B, L], from terms [B, L, P] of which the first is the last.

        In the frame of the terms.
        """
        return terms[..., 0] + np.einsum("blp,blp->bl", terms, self.weights)

    def learn(self, terms: Rows, values: Rows) -> None:
        """Take in the points, [B], that came after these terms, [B, L, P]."""
        self.count += 1
        rate = 1 / min(self.count, self.memory)
        products = terms[..., :, None] * terms[..., None, :]
        found = terms * (values[:, None] - terms[..., 0])[..., None]
        self.moments = self.moments + rate * (products - self.moments)
        self.targets = self.targets + rate * (found - self.targets)
        if self.count % _EVERY == 0:
            ridge = _RIDGE * rate * np.eye(terms.shape[-1])
            solved = np.linalg.solve(self.moments + ridge, self.targets[..., None])
            self.weights = np.asarray(solved[..., 0], np.float64)
