"""Regularizers: small pure functions of a key, an array and a rate.

Noise on arrays is for training only: whoever has no key calls none of these, and at
rate 0 they draw nothing and hand back what they were given. Survivors are scaled up so
that the mean over keys is the array itself.

Two regularizers act inside the recurrence and need an engine that lets them in, which
is `scan`: recurrent dropout, and zoneout. Zoneout is the one that leaves a trace at
evaluation: its law there is the mean over all masks, as its authors have it, for a
network that was trained to keep a share of its state forgets too fast without.

Penalties are terms of the training objective, in nats per position. They are never
part of a reported loss.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.noise import LoopMasks
from lstm_jax.config import RegularizerConfig
from lstm_jax.typing import Activations, BatchIds, PRNGKey

Shape = tuple[int, ...]
Params = Any  # a pytree of parameters
_BYTE = 256


# Noise on arrays.


def dropout(
    key: PRNGKey, xs: Activations, rate: float, time_axis: int | None = None
) -> Activations:
    """Zero a share `rate` of the elements and scale the rest, so the mean stays.

    The rate is rounded to a multiple of 1/256 where four random bytes fit together.
    With a `time_axis` one mask serves all steps along it: variational dropout (Gal &
    Ghahramani 2016).
    """
    if rate == 0.0:
        return xs
    shape = list(xs.shape)
    if time_axis is not None:
        shape[time_axis] = 1
    kept, share = _survivors(key, tuple(shape), rate)
    return jnp.where(kept, xs / share, 0)


def _survivors(key: PRNGKey, shape: Shape, rate: float) -> tuple[Array, float]:
    """Which elements are kept, and the share of them that is.

    Making random numbers would take a fifth of a training step. Four elements in a row
    share one, a byte for each, so the rate is rounded to a multiple of 1/256.
    """
    width = shape[-1] if shape else 1
    dropped = round(rate * _BYTE)
    if width % 4 or not 0 < dropped < _BYTE:
        return _drawn(key, 1 - rate, shape), 1 - rate
    words = jax.random.bits(key, (*shape[:-1], width // 4), jnp.uint32)
    drawn = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(shape)
    return drawn >= dropped, 1 - dropped / _BYTE


def _drawn(key: PRNGKey, share: float, shape: Shape) -> Array:
    """True for this share of the elements; the same ones where JAX has float64."""
    return jax.random.bernoulli(key, jnp.float32(share), shape)


def symbol_factors(
    key: PRNGKey, ids: BatchIds, symbols: int, rate: float, variational: bool
) -> Array:
    """Factors [B, T, 1] that drop a share `rate` of the symbols, the others scaled.

    A variational mask drops a symbol of a row wherever it comes (Gal & Ghahramani
    2016); the other drops every place by itself.
    """
    if variational:
        kept = _drawn(key, 1 - rate, (len(ids), symbols))
        kept = kept[jnp.arange(len(ids))[:, None], ids]
    else:
        kept = _drawn(key, 1 - rate, ids.shape)
    return kept[..., None] / (1 - rate)


def drop_connect(key: PRNGKey, w_h: Array, rate: float) -> Array:
    """Drop recurrent weights, the same ones at every step (Wan et al. 2013).

    The weight drop of Merity et al. 2017. It changes no step of the recurrence, only
    the matrix handed to it, so every engine can have it.
    """
    return dropout(key, w_h, rate)


# Noise inside the loop.


def loop_masks(
    key: PRNGKey | None,
    shape: Shape,
    rates: RegularizerConfig,
    output_size: int | None = None,
) -> LoopMasks | None:
    """The masks of a recurrence of [T, B, H] = `shape`; None if there are none.

    Without a key there is no recurrent dropout, and zoneout is its mean. `output_size`
    is the width of h, where a cell projects it.
    """
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    rate = rates.recurrent_dropout
    masks = LoopMasks(
        candidate_factors(keys[0], shape, rate, rates.variational)
        if keys[0] is not None and rate
        else None,
        zoneout_shares(
            keys[1], (*shape[:-1], output_size or shape[-1]), rates.zoneout_hidden
        ),
        zoneout_shares(keys[2], shape, rates.zoneout_cell),
    )
    return masks if jax.tree.leaves(masks) else None


def candidate_factors(
    key: PRNGKey, shape: Shape, rate: float, variational: bool = False
) -> Array:
    """Recurrent dropout without memory loss (Semeniuta et al. 2016).

    Factors of the candidate g: what a step would write is dropped, what the cell
    remembers is not. A variational mask is the same at all steps.
    """
    ones = jnp.ones(shape, jnp.float32)
    return dropout(key, ones, rate, 0 if variational else None)


def zoneout_shares(key: PRNGKey | None, shape: Shape, rate: float) -> Array | None:
    """Zoneout (Krueger et al. 2017): units that keep their old value for a step.

    Ones for them and zeros for the others; without a key the mean, which is `rate`.
    """
    if rate == 0.0:
        return None
    if key is None:
        return jnp.full((shape[0], 1, 1), rate, jnp.float32)
    return _drawn(key, rate, shape).astype(jnp.float32)


# The objective.


def tempered(logits: Array, rates: RegularizerConfig) -> Array:
    """Logits of a softmax that is sharper in training than it will be afterwards.

    A model that has learned by heart is too sure of itself. Dividing its logits by a
    temperature above 1 mends that (Guo et al. 2017); trained with logits divided by
    one below 1, they need no dividing.
    """
    temperature = rates.training_temperature
    return logits if temperature == 1.0 else logits / temperature


def objective_terms(
    params: Params,
    shown: Array,
    hs: Array,
    rates: RegularizerConfig,
) -> Array | None:
    """All that is added to the mean loss of a batch; None if nothing is.

    Args:
        params: the parameters.
        shown: outputs [T, B, H] after dropout, as the next layer sees them.
        hs: outputs as the recurrence made them.
        rates: how much of what.
    """
    terms = []
    if rates.l1 or rates.l2:
        terms.append(weight_penalty(params, rates.l1, rates.l2))
    if rates.activation_penalty:
        terms.append(rates.activation_penalty * jnp.mean(_float32(shown) ** 2))
    if rates.temporal_penalty and len(hs) > 1:
        change = jnp.diff(_float32(hs), axis=0)
        terms.append(rates.temporal_penalty * jnp.mean(change**2))
    return sum(terms[1:], terms[0]) if terms else None


def weight_penalty(params: Params, l1: float, l2: float) -> Array:
    """l1 Σ|w| + l2/2 Σw², over matrices and not over biases.

    As a term of the loss its gradient, l1 sign(w) + l2 w, passes through clipping and
    through Adam, which divides it by the size of the other gradients: weights that
    learn much are hardly decayed. Decoupled weight decay (Loshchilov & Hutter 2019),
    the optimizer's own `weight_decay`, shrinks all weights by the same share and is
    the better choice with Adam. L1 draws weights to zero.
    """
    matrices = [_float32(w) for w in jax.tree.leaves(params) if w.ndim > 1]
    total = jnp.float32(0)
    for w in matrices:
        if l1:
            total += l1 * jnp.sum(jnp.abs(w))
        if l2:
            total += l2 / 2 * jnp.sum(w * w)
    return total


def check_rate(name: str, rate: float) -> float:
    """The rate itself, if it lies in [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected a share in [0, 1), found {rate}")
    return rate


def _float32(a: Array) -> Array:
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))
