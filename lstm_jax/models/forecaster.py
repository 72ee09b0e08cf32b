"""A model of many time series: an LSTM reads the past, another one writes the future.

    past    y_(t-P) ... y_t            in units of the series, around its level
    reader  an LSTM over the last points, each beside those a season earlier
    writer  an LSTM over the horizon that starts from the reader's state; at each step
            it sees what the same phase of each season was, and how far ahead it is
    out     per step the median and the distances to the other quantiles

Covariates, other series that stand beside it, are read with the past and only there:
nothing is assumed about what they do over the horizon.

All steps of the horizon are forecast at once (directly, not one from the other). To the
writer's median a learned mix of the seasonal points it saw is added: an untrained
model is a seasonal naive forecast, and the recurrence learns what that misses.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.protocol import Cell
from lstm_jax.data.series import WindowSpec
from lstm_jax.metrics.losses import LossSums, loss_sums
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.ops.seeds import seed_key
from lstm_jax.typing import (
    Covariates,
    Forecasts,
    Future,
    Past,
    PRNGKey,
    Quantiles,
)

LEVELS = (0.025, 0.25, 0.5, 0.75, 0.975)  # M4's intervals hold 95 %


class ForecastModel(nnx.Module):
    """Quantiles of the next points of any series, from its last ones.

    Args:
        window: what is read and what is forecast.
        hidden_size: units of each layer.
        num_layers: layers of the reader, and of the writer.
        rngs: where the initial parameters come from.
        levels: of the quantiles, rising, the median among them.
        dropout: see `StackedLSTM`.
        cell: of every layer, see `LSTM`.
        covariates: how many stand beside each point of the past.
    """

    def __init__(
        self,
        window: WindowSpec,
        hidden_size: int,
        num_layers: int = 1,
        *,
        rngs: nnx.Rngs,
        levels: Sequence[float] = LEVELS,
        dropout: float = 0.0,
        cell: Cell | str = LSTM_CELL,
        covariates: int = 0,
    ) -> None:
        if 0.5 not in levels or list(levels) != sorted(levels):
            raise ValueError(f"levels: expected to rise through 0.5, got {levels}")
        seasons = len(window.seasons)
        sizes = (hidden_size, num_layers)
        self.frame = window
        self.levels = tuple(levels)
        kinds = {"rngs": rngs, "dropout": dropout, "cell": cell}
        self.covariates = covariates
        self.reader = StackedLSTM(1 + seasons + covariates, *sizes, **kinds)
        self.writer = StackedLSTM(2 + 2 * seasons, *sizes, **kinds)
        self.mix = nnx.Param(jnp.full(2 * seasons, 0.5 / seasons, jnp.float32))
        shape = (self.writer.out_features, len(levels))
        self.w_out = nnx.Param(jnp.zeros(shape, jnp.float32))
        self.b_out = nnx.Param(jnp.zeros(len(levels), jnp.float32))

    def __call__(
        self,
        past: Past,
        key: PRNGKey | None = None,
        covariates: Covariates | None = None,
    ) -> Quantiles:
        """Quantiles [B, horizon, Q], never crossing. No key, no dropout.

        Args:
            past: the known points, [B, context].
            key: of the dropout.
            covariates: what stood beside those that are read, [B, reads, C].

        Raises:
            ValueError: there are not as many covariates as the model was built for.
        """
        keys = (None, None) if key is None else jax.random.split(key)
        read = recent(past, self.frame)
        found = 0 if covariates is None else covariates.shape[2]
        if found != self.covariates:
            raise ValueError(f"covariates: expected {self.covariates}, got {found}")
        if covariates is not None:
            read = jnp.concatenate([read, covariates], axis=-1)
        _, states = self.reader(read, key=keys[0])
        seasonal = same_phase(past, self.frame)
        hs, _ = self.writer(self._shown(past, seasonal), states, key=keys[1])
        out = hs @ self.w_out[...] + self.b_out[...]
        base = seasonal @ self.mix[...]
        return spread_out(out, self.levels.index(0.5)) + base[..., None]

    def _shown(self, past: Past, seasonal: Array) -> Array:
        """What the writer sees of each step: the seasons, the last point, how far."""
        rows, steps, _ = seasonal.shape
        last = jnp.broadcast_to(past[:, -1:, None], (rows, steps, 1))
        ahead = jnp.arange(1, steps + 1, dtype=past.dtype) / steps
        ahead = jnp.broadcast_to(ahead[None, :, None], (rows, steps, 1))
        return jnp.concatenate([seasonal, last, ahead], axis=-1)


def recent(past: Past, window: WindowSpec) -> Array:
    """The points to be read, each beside those one season of each kind earlier."""
    first = past.shape[1] - window.reads
    lags = (0, *window.seasons)
    shifted = [past[:, first - lag : past.shape[1] - lag] for lag in lags]
    return jnp.stack(shifted, axis=-1)


def same_phase(past: Past, window: WindowSpec) -> Array:
    """Known points of the same phase as each step to come, [B, horizon, 2 seasons].

    Of each season the last one, again and again, and the one before.
    """
    steps = jnp.arange(window.horizon)
    columns = []
    for season in window.seasons:
        for back in (season, 2 * season):
            columns.append(past[:, past.shape[1] - back + steps % season])
    return jnp.stack(columns, axis=-1)


def spread_out(out: Array, middle: int) -> Array:
    """A median and steps away from it, [..., Q], as quantiles that can't cross."""
    steps = jax.nn.softplus(out)
    above = jnp.cumsum(steps[..., middle + 1 :], axis=-1)
    below = jnp.cumsum(steps[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    apart = [-below, jnp.zeros_like(out[..., :1]), above]
    return jnp.concatenate(apart, axis=-1) + out[..., middle, None]


def pinball(quantiles: Quantiles, truth: Future, levels: Sequence[float]) -> Future:
    """The quantile loss of each point, averaged over the levels, times 2: [B, F].

    2 max(q e, (q - 1) e) with e = truth - quantile is the absolute error at the median;
    its mean is least when a share q of the truth lies below the quantile (Koenker and
    Bassett 1978).
    """
    q = jnp.asarray(levels, quantiles.dtype)
    error = truth[..., None] - quantiles
    return 2 * jnp.mean(jnp.maximum(q * error, (q - 1) * error), axis=-1)


@jax.numpy_rank_promotion("allow")
def forecast_loss(
    models: ForecastModel, carry: tuple, batch: dict[str, Array], key: PRNGKey | None
) -> tuple[LossSums, tuple]:
    """The pinball loss of an ensemble, each member on rows of its own.

    Args:
        models: E models stacked, see `build_ensemble`.
        carry: nothing.
        batch: `past` [B, E, P], `future` [B, E, F] and `weight` [B, E] of each row; and
            `covariates` [B, E, reads, C] if there are any.
        key: for dropout, or None.

    Returns:
        The sums: of the E members' losses, over B F points, so that every member gets
        the gradient it would get alone; and nothing.
    """
    count = batch["weight"].shape[1]
    keys = None if key is None else jax.random.split(key, count)

    def member(
        model: ForecastModel,
        past: Past,
        future: Future,
        weight: Array,
        key: PRNGKey | None,
        covariates: Covariates | None,
    ) -> Array:
        points = pinball(model(past, key, covariates), future, model.levels)
        return jnp.sum(weight[:, None] * points)

    beside = batch.get("covariates")
    over = (0, 1, 1, 1, None if keys is None else 0, None if beside is None else 1)
    rows = (batch["past"], batch["future"], batch["weight"])
    losses = jax.vmap(member, over)(models, *rows, keys, beside)
    points = batch["future"].shape[0] * batch["future"].shape[2]
    return loss_sums(losses.sum(), jnp.float32(points)), carry


def build_ensemble(
    window: WindowSpec,
    hidden_size: int,
    num_layers: int,
    *,
    members: int,
    seed: int,
    cell: Cell | str = LSTM_CELL,
    covariates: int = 0,
) -> ForecastModel:
    """Models of one shape as a single pytree, their parameters stacked: [E, ...]."""
    sizes = (window, hidden_size, num_layers)
    kinds = {"cell": cell, "covariates": covariates}
    models = [
        ForecastModel(*sizes, rngs=nnx.Rngs(seed_key(seed + k)), **kinds)
        for k in range(members)
    ]
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *models)


def each_forecast(
    models: ForecastModel, past: Past, covariates: Covariates | None = None
) -> Forecasts:
    """The quantiles of every member of an ensemble, [E, B, F, Q]."""
    return jax.vmap(lambda model: model(past, None, covariates))(models)
