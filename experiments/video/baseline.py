"""Nearest neighbour by dynamic time warping: what a network must beat.

It has nothing to learn, and of few examples it is hard to beat. The distance of two
sequences is that of their frames along the cheapest way to walk through both at once
(Sakoe & Chiba 1978), each step going on in one of them or in both. NumPy only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def warped_distances(one: NDArray, others: NDArray) -> NDArray[np.float64]:
    """How far a sequence is from each of many, all of the same length.

        D[i, j] = |a_i - b_j| + min(D[i-1, j-1], D[i-1, j], D[i, j-1])

    Args:
        one: [N, D].
        others: [M, N, D].

    Returns:
        D[N, N] of each, [M].
    """
    products = others @ one.T
    squares = (one**2).sum(-1) + (others**2).sum(-1)[..., None] - 2 * products
    costs = np.sqrt(np.maximum(squares, 0)).transpose(1, 2, 0).astype(np.float64)
    rows, columns, count = costs.shape
    best = np.full((rows + 1, columns + 1, count), np.inf)
    best[0, 0] = 0
    for diagonal in range(rows + columns - 1):  # what lies on one is independent
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.minimum(best[i, j], np.minimum(best[i, j + 1], best[i + 1, j]))
        best[i + 1, j + 1] = costs[i, j] + before
    return best[-1, -1]


def nearest_labels(
    train: NDArray, labels: NDArray[np.integer], tested: Sequence[NDArray]
) -> NDArray[np.int64]:
    """The label of the nearest training sequence, for each of some.

    Args:
        train: [M, N, D].
        labels: of them, [M].
        tested: [N, D] each.
    """
    nearest = [warped_distances(each, train).argmin() for each in tested]
    return np.asarray(labels, np.int64)[nearest]
