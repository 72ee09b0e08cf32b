"""The optax chain of a run: clipping, Adam, weight decay, an EMA of the weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lstm_jax.typing import Model


class EmaState(NamedTuple):
    """How many models were averaged, and their exponential moving average (EMA)."""

    count: Array
    average: Model  # the name of its arrays in checkpoints


def make_optimizer(
    weight_decay: float, clip_norm: float, beta2: float, ema: float = 0.0
) -> optax.GradientTransformation:
    """Clip by global norm, Adam, decoupled decay of matrices (not of biases).

    A `clip_norm` of 0 clips nothing. The result is a direction. `train_step` scales it
    by the learning rate, which is data, so that a schedule may follow the clock. With
    an `ema` the state also has a `params_ema` with that decay.
    """
    links = [
        optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
        optax.scale_by_adam(b2=beta2),
        optax.add_decayed_weights(
            weight_decay, mask=lambda params: jax.tree.map(lambda a: a.ndim > 1, params)
        ),
    ]
    return optax.chain(*links, *([params_ema(ema)] if ema else []))


def params_ema(decay: float) -> optax.GradientTransformation:
    """Keep an EMA of the parameters, beside updates it leaves alone.

    a_n = m a_{n-1} + (1 - m) w_n with m = min(decay, n / (n + 10)), so that the first
    parameters, which are random, are soon forgotten. It sees the parameters before
    their update, so the newest ones are not in it yet.
    """

    def init(params: Model) -> EmaState:
        return EmaState(jnp.int32(0), jax.tree.map(jnp.copy, params))

    def update(
        updates: Model, state: optax.OptState, params: Model | None = None
    ) -> tuple[Model, EmaState]:
        assert isinstance(state, EmaState)
        kept = jnp.minimum(decay, state.count / (state.count + 10))
        average = jax.tree.map(
            lambda a, w: (a + (1 - kept) * (w - a)).astype(a.dtype),
            state.average,
            params,
        )
        return updates, EmaState(state.count + 1, average)

    return optax.GradientTransformation(init, update)
