"""The gradients of matrices and biases, sums over the rows of all steps, by `native`.

XLA makes them too, but of factors in bfloat16 up to a third slower where a processor's
vectors multiply 512 bits at once.
"""

import jax.numpy as jnp
from jax import Array

from lstm_jax.engines.native.calls import (
    Arrays,
    Call,
    CallOptions,
    Shapes,
    dividing,
    library_call,
)
from lstm_jax.ops.matmul import psum_over_replicas, summed_product

FEW_ROWS = 512  # of all steps, for which it does not pay to lay out the factors


def weight_gradient(
    options: CallOptions, spread: bool, inputs: Array, dz: Array, w: Array
) -> Array:
    """The gradient of w in z = x @ w: Σ xᵀ dz over time steps and rows.

    Args:
        options: of the call.
        spread: whether XLA may have spread the rows over devices; then it is XLA's.
        inputs: x, [T, B, K].
        dz: [T, B, N].
        w: [K, N].
    """
    return psum_over_replicas(_sums(options, spread, False, inputs, dz)[0], w)


def affine_gradients(
    options: CallOptions, spread: bool, inputs: Array, dz: Array, w: Array, b: Array
) -> tuple[Array, Array]:
    """The gradients of w and b in z = x @ w + b; see `weight_gradient`."""
    dw, db = _sums(options, spread, True, inputs, dz)
    return psum_over_replicas(dw, w), psum_over_replicas(db, b)


def _sums(
    options: CallOptions, spread: bool, bias: bool, inputs: Array, dz: Array
) -> Arrays:
    rows = dz.shape[0] * dz.shape[1]
    if spread or rows < FEW_ROWS or 0 in (inputs.shape[-1], dz.shape[-1]):
        return _equal(options, bias, inputs, dz)
    call = Call(_run, _equal, _shapes, (), ())
    return dividing(call, (options, bias), (inputs, dz), spread=False)


def _run(options: CallOptions, bias: bool, *operands: Array) -> Arrays:
    shapes = _shapes(options, bias, *operands)
    return library_call("lstm_jax_weights", options, shapes, None, *operands)


def _equal(options: CallOptions, bias: bool, *operands: Array) -> Arrays:
    inputs, dz = operands
    factors = jnp.bfloat16 if options.rounded else dz.dtype
    db = jnp.sum(dz, axis=(0, 1)) if bias else jnp.zeros(0, dz.dtype)
    return summed_product(inputs, dz, dz, factors), db


def _shapes(_: CallOptions, bias: bool, *operands: Array) -> Shapes:
    inputs, dz = operands
    outputs = dz.shape[-1]
    return (inputs.shape[-1], outputs), (outputs if bias else 0,)
