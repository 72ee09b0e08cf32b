"""The inputs' share of the gates, x @ w_x + b of all steps, by the engine `native`.

The kernel packs the matrix once and adds the bias while a block is in the cache,
where XLA walks all of [T, B, 4H] again.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.protocol import add_bias
from lstm_jax.engines.native.calls import (
    Arrays,
    Call,
    CallOptions,
    Shapes,
    call_options,
    dividing,
    library_call,
    masks_of,
    may_be_spread,
)
from lstm_jax.engines.native.weights import (
    FEW_ROWS,
    affine_gradients,
    weight_gradient,
)
from lstm_jax.ops.matmul import (
    factor_dtype,
    matmul,
    psum_over_replicas,
    typed_matmul,
)
from lstm_jax.typing import Gates, Inputs


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    options: CallOptions
    spread: bool  # whether XLA may spread rows over devices


def project(xs: Inputs, w: Array, b: Array | None) -> Gates:
    """The product x @ w + b of every step, [T, B, D] times [D, 4H], in float32."""
    if xs.shape[0] * xs.shape[1] < FEW_ROWS:
        return add_bias(matmul(xs, w), b)
    rounded = factor_dtype(w.dtype) == jnp.bfloat16
    static = StaticArgs(call_options(False, rounded), may_be_spread())
    return _project(static, xs, w, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _project(static: StaticArgs, xs: Array, w: Array, b: Array | None) -> Array:
    return _call(static, False, xs, w, b)


def _forward(
    static: StaticArgs, xs: Array, w: Array, b: Array | None
) -> tuple[Array, tuple]:
    return _call(static, False, xs, w, b), (xs, w, b)


def _backward(static: StaticArgs, residuals: tuple, dz: Array) -> tuple:
    xs, w, b = residuals
    dxs = psum_over_replicas(_call(static, True, dz, w, None), xs)
    if b is None:
        return dxs, weight_gradient(*static, xs, dz, w), None
    return dxs, *affine_gradients(*static, xs, dz, w, b)


_project.defvjp(_forward, _backward)


def _call(
    static: StaticArgs, transposed: bool, xs: Array, w: Array, b: Array | None
) -> Array:
    """The product of xs and w, or its transpose, and b; XLA may divide it by rows."""
    given, made = ("g", "d") if transposed else ("d", "g")
    inputs = (f"t b {given}", "d g", "nil" if b is None else made)
    call = Call(_run, _equal, _shapes, inputs, (f"t b {made}",))
    bias = jnp.zeros(0, jnp.float32) if b is None else b
    operands = (xs, w, bias, *masks_of(None, None))
    return dividing(call, (static.options, transposed), operands, static.spread)[0]


def _run(options: CallOptions, transposed: bool, *operands: Array) -> Arrays:
    shapes = _shapes(options, transposed, *operands)
    return library_call(
        "lstm_jax_project", options, shapes, None, *operands[:3], transposed=transposed
    )


def _equal(options: CallOptions, transposed: bool, *operands: Array) -> Arrays:
    xs, w, b, *_ = operands
    factors = jnp.bfloat16 if options.rounded else w.dtype
    made = typed_matmul(xs, w.T if transposed else w, factors, w.dtype)
    return (made + b if b.size else made,)


def _shapes(_: CallOptions, transposed: bool, *operands: Array) -> Shapes:
    xs, w, *_others = operands
    return ((*xs.shape[:2], w.shape[0 if transposed else 1]),)
