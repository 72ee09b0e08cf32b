"""Irregular observations to arrays a recurrence can read. NumPy only.

An observation is a time, a variable and a value; most variables are seen at few times.
On a grid of T equal bins they become three arrays, and none of them invents anything:

    values      the mean of what was seen in a bin, 0 where nothing was
    observed    whether anything was
    gaps        the time since the variable was last seen

What stands in the place of what was not seen, the last value, a mean or a mixture, is
for the model to say; `carry_forward` and `ObservedScale` help. Whatever is estimated is
estimated from the rows one may learn from.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float32]
Observed = NDArray[np.bool_]
Numbers = NDArray[np.floating]


def on_grid(
    times: ArrayLike,
    variables: ArrayLike,
    values: ArrayLike,
    *,
    rows: ArrayLike = 0,
    shape: tuple[int, int, int],
    width: float,
) -> tuple[Values, Observed]:
    """Average observations in bins of time.

    Args:
        times: of M observations, from 0 up; the last bin holds its end too.
        variables: which variable each is of, [M], below V.
        values: [M].
        rows: whose each is, [M], below N; or of one row all.
        shape: N rows, T bins, V variables.
        width: of a bin, in the unit of the times.

    Returns:
        The means [N, T, V], 0 where nothing was observed, and where something was.

    Raises:
        ValueError: a time, row or variable is off the grid.
    """
    count, steps, kinds = shape
    times, variables = np.asarray(times, float), np.asarray(variables, int)
    rows = np.broadcast_to(np.asarray(rows, int), times.shape)
    bins = np.floor(times / width).astype(int)
    bins = np.where(times == steps * width, steps - 1, bins)
    places = np.ravel_multi_index((rows, bins, variables), shape)
    size = count * steps * kinds
    seen = np.bincount(places, minlength=size)
    total = np.bincount(places, np.asarray(values, float), minlength=size)
    means = total / np.maximum(seen, 1)
    return means.astype(np.float32).reshape(shape), (seen > 0).reshape(shape)


def time_gaps(observed: Observed, width: float = 1.0) -> Values:
    """The time since each variable was last seen before a bin.

    δ_1 = 0 and δ_t = width + (0 if seen at t-1 else δ_(t-1)), as Che et al. (2018)
    define it; before a variable is first seen it is the time since the beginning.

    Args:
        observed: [N, T, V].
        width: of a bin.
    """
    gaps = np.zeros(observed.shape, np.float32)
    for t in range(1, observed.shape[1]):
        gaps[:, t] = width + np.where(observed[:, t - 1], 0, gaps[:, t - 1])
    return gaps


def carry_forward(values: Values, observed: Observed) -> Values:
    """The last value seen, in every bin; 0 before there is one. [N, T, V]."""
    steps = np.arange(observed.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    carried = np.take_along_axis(values, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, carried, 0)


@dataclasses.dataclass(frozen=True)
class ObservedScale:
    """What brings each variable to mean 0 and deviation 1, [V] each.

    Attributes:
        low: what lies below is taken to be this.
        high: what lies above likewise: a Fahrenheit among the Celsius, a slip of the
            comma.
        logarithmic: whether a variable is taken by its logarithm.
        mean: then, of what was observed.
        deviation: likewise.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    logarithmic: NDArray[np.bool_]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def __call__(self, values: Numbers, observed: Observed) -> Values:
        """Scaled values [..., V], 0, the mean, where nothing was observed."""
        clipped = np.clip(values, self.low, self.high)
        scaled = (self._bent(clipped) - self.mean) / self.deviation
        return np.where(observed, scaled, 0).astype(np.float32)

    def _bent(self, clipped: NDArray) -> NDArray:
        logs = np.log(np.where(self.logarithmic, clipped, 1))
        return np.where(self.logarithmic, logs, clipped)


def fit_scale(values: Numbers, observed: Observed, tail: float = 0.01) -> ObservedScale:
    """Estimate scales from observed values alone, robustly.

    Values beyond the quantiles `tail` and 1 - `tail` are clipped to them. A positive
    variable whose upper quantile lies more than three times as far from the median as
    the lower one is taken by its logarithm. Of a variable that was never observed all
    scaled values are 0.

    Args:
        values: [..., V].
        observed: [..., V].
        tail: share of values clipped at either end.
    """
    columns = [
        _fit(values[..., v][observed[..., v]], tail) for v in range(values.shape[-1])
    ]
    return ObservedScale(*(np.array(column) for column in zip(*columns, strict=True)))


def _fit(seen: NDArray, tail: float) -> tuple[float, float, bool, float, float]:
    """Low, high, logarithmic, mean and deviation of one variable."""
    if not len(seen):
        return 0.0, 0.0, False, 0.0, 1.0
    low, median, high = np.quantile(seen.astype(float), [tail, 0.5, 1 - tail])
    skewed = bool(low > 0 and high - median > 3 * (median - low))
    clipped = np.clip(seen.astype(float), low, high)
    bent = np.log(clipped) if skewed else clipped
    deviation = float(bent.std()) if high > low else 1.0
    return low, high, skewed, float(bent.mean()), deviation
