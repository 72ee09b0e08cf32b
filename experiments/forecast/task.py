"""Training on windows of many series, and forecasts from any of their points."""

import functools

import jax
import numpy as np

from lstm_jax import ForecastModel, Task
from lstm_jax.data import Batch, Panel, WindowSpec
from lstm_jax.distributed import bounded_jit
from lstm_jax.metrics import LossSums
from lstm_jax.models import each_forecast, forecast_loss
from lstm_jax.training import Loss

_ROWS = 128  # windows per call of the one compiled program
_each_forecast = bounded_jit(each_forecast)


def window_batch(
    panel: Panel,
    window: WindowSpec,
    n: int,
    *,
    batch: int,
    members: int,
    seed: int,
    yardstick: tuple[float, float],
) -> Batch:
    """Batch n of training: windows of random series that end at random points.

    Every member of the ensemble gets its own. Nothing beyond the points from which the
    panel took its scales is ever drawn. Series are equally likely, however long; their
    errors count as in OWA with this yardstick, see `Panel.importance`.

    Returns:
        The arrays that `forecast_loss` takes.
    """
    rng = np.random.default_rng([seed, n])
    rows = rng.integers(len(panel.values), size=batch * members)
    spare = panel.known[rows] - window.context - window.horizon
    ends = window.context + rng.integers(spare + 1)
    past, level = panel.windows(rows, ends, window)
    future = panel.futures(rows, ends, level, window.horizon)
    shape = (batch, members)
    found = {
        "past": past.reshape(*shape, -1),
        "future": future.reshape(*shape, -1),
        "weight": panel.importance(rows, level, yardstick).reshape(shape),
    }
    beside = panel.covariates(rows, ends, window.reads)
    if beside is not None:
        found["covariates"] = beside.reshape(*shape, *beside.shape[1:])
    return found


def forecast_task(
    panel: Panel,
    window: WindowSpec,
    *,
    batch: int,
    members: int,
    seed: int,
    yardstick: tuple[float, float],
    loss: Loss = forecast_loss,
    held_out: Panel | None = None,
) -> Task:
    """Learning to forecast the series of a panel with an ensemble.

    An epoch is as many windows as there are, though they are drawn at random.

    Args:
        panel: the series.
        window: what a forecast looks at.
        batch: windows per member and step.
        members: of the ensemble.
        seed: decides the windows.
        yardstick: weighs the errors, see `Panel.importance`.
        loss: `forecast_loss`, in whatever precision.
        held_out: the same series and one horizon more, which is what the best step is
            chosen by; None to choose none.
    """
    evaluate = None
    if held_out is not None:
        last = last_windows(held_out, window, members, yardstick)
        evaluate = functools.partial(_measure, last)
    windows = int(np.sum(panel.known - window.context - window.horizon + 1))
    return Task(
        loss=loss,
        batch=lambda n: window_batch(
            panel,
            window,
            n,
            batch=batch,
            members=members,
            seed=seed,
            yardstick=yardstick,
        ),
        rows=batch,
        steps_per_epoch=max(1, windows // batch),
        items_per_step=batch * members * window.horizon,
        items="points",
        unit="OWA of the pinball loss",
        evaluate=evaluate,
    )


def last_windows(
    panel: Panel, window: WindowSpec, members: int, yardstick: tuple[float, float]
) -> Batch:
    """The last window of every series, the same for every member, as a batch."""
    rows = np.arange(len(panel.values))
    ends = panel.known - window.horizon
    past, level = panel.windows(rows, ends, window)
    future = panel.futures(rows, ends, level, window.horizon)
    weight = panel.importance(rows, level, yardstick)
    parts = {"past": past, "future": future, "weight": weight}
    beside = panel.covariates(rows, ends, window.reads)
    if beside is not None:
        parts["covariates"] = beside
    return {name: np.stack([part] * members, axis=1) for name, part in parts.items()}


def _measure(batch: Batch, models: ForecastModel) -> LossSums:
    return _sums(models, batch)


@bounded_jit
def _sums(models: ForecastModel, batch: dict[str, jax.Array]) -> LossSums:
    return forecast_loss(models, (), batch, None)[0]


def forecast(models: ForecastModel, panel: Panel, ends: np.ndarray) -> np.ndarray:
    """Forecasts of an ensemble from one point of every series.

    Args:
        models: the ensemble.
        panel: N series.
        ends: [N], how many points of each are known.

    Returns:
        [N, horizon, Q] in the units of the series: the median of the members, quantile
        by quantile, which like the mean keeps them in order.
    """
    return _forecast(models, panel, np.arange(len(panel.values)), ends)


def rolling_forecast(
    models: ForecastModel, panel: Panel, first: np.ndarray, points: int, stride: int
) -> np.ndarray:
    """Forecasts of `points` points, the origin moving on by `stride` each time.

    With a stride of 1 every point is forecast from all before it (one step ahead); with
    one of the horizon, as far ahead as the model reaches.

    Args:
        models: the ensemble.
        panel: N series that reach at least to the last origin.
        first: [N], how many points of each are known before the first origin.
        points: how many to forecast.
        stride: points from origin to origin, at most the horizon.

    Returns:
        [N, points, Q] in the units of the series.
    """
    if not 1 <= stride <= models.frame.horizon:
        raise ValueError(f"stride: expected 1 to the horizon, got {stride}")
    count, moves = len(panel.values), -(-points // stride)
    rows = np.repeat(np.arange(count), moves)
    ends = np.repeat(first, moves) + np.tile(np.arange(moves) * stride, count)
    found = _forecast(models, panel, rows, ends)[:, :stride]
    return found.reshape(count, moves * stride, -1)[:, :points]


def _forecast(
    models: ForecastModel, panel: Panel, rows: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    parts = []
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        past, level = panel.windows(rows[part], ends[part], models.frame)
        spare = (0, _ROWS - len(past))
        inputs = [np.pad(past, (spare, (0, 0)))]
        beside = panel.covariates(rows[part], ends[part], models.frame.reads)
        if beside is not None:
            inputs += [np.pad(beside, (spare, (0, 0), (0, 0)))]
        units = np.asarray(_each_forecast(models, *inputs))[:, : len(past)]
        parts.append(panel.restore(np.median(units, axis=0), rows[part], level))
    return np.concatenate(parts)
