"""Matrix products that XLA lays out badly if left to itself."""

import jax
from jax import Array


def weight_gradient(inputs: Array, outputs_gradient: Array, weights: Array) -> Array:
    """The gradient of w in y = x @ w: Σ xᵀ dy over time steps and rows.

    JAX transposes the product to (dyᵀ x)ᵀ, for which dy, the larger of the two by far
    where gates are made, has to be copied with its axes turned round.

    Args:
        inputs: x, [T, B, K].
        outputs_gradient: dy, [T, B, N].
        weights: w, [K, N]; under explicit sharding the gradient lies where they do.
    """
    both = (((0, 1), (0, 1)), ((), ()))
    explicit = any(jax.typeof(outputs_gradient).sharding.spec)
    places = jax.typeof(weights).sharding if explicit else None
    total = jax.lax.dot_general(inputs, outputs_gradient, both, out_sharding=places)
    # Inside `shard_map` that is a device's own share: only JAX knows over what to add.
    _, gathered = jax.vjp(lambda w: w + total, weights)
    return gathered(total)[0]
