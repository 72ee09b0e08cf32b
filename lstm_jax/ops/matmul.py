"""Matrix products that XLA lays out badly if left to itself, or does not round.

`jax.default_matmul_precision("BF16_BF16_F32")` asks for factors that are rounded to
bfloat16, and sums in float32. Where a processor multiplies bfloat16 that is up to twice
as fast; but XLA:CPU only does so if the factors already are of that type. So the
products below turn them into it, those of their gradients too.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.typing import Size

Given = ParamSpec("Given")
Found = TypeVar("Found")

_WIDE = 512  # units, and
_SEVERAL_ROWS = 16  # rows from which a loop's product is turned round on CPU; measured
ROUNDED = "BF16_BF16_F32"  # what JAX calls it


def rounded_products(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """The same function, with the factors of its products rounded to bfloat16.

    Those of an LSTM or a Mogrifier by the engines `native` and `fused`, and of a
    language model, their gradients included. On a CPU the others are left to XLA.
    """

    @functools.wraps(function)
    def rounded(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        with jax.default_matmul_precision(ROUNDED):
            return function(*args, **kwargs)

    return rounded


def factor_dtype(dtype: DTypeLike) -> DTypeLike:
    """The type in which numbers of this one are multiplied: bfloat16 where asked for.

    Of what is being traced; a gradient is told, for it may be traced later.
    """
    asked = jax.config.jax_default_matmul_precision  # pyrefly: ignore[missing-attribute]
    rounded = asked == ROUNDED and jnp.dtype(dtype) == jnp.float32
    return jnp.bfloat16 if rounded else dtype


def typed_matmul(a: Array, b: Array, factors: DTypeLike, dtype: DTypeLike) -> Array:
    """The product of a and b, of factors of one type, summed in another."""
    return jnp.dot(
        a.astype(factors),
        b.astype(factors),
        precision=_precision(factors),
        preferred_element_type=dtype,
    )


def loop_matmul(
    w: Array, rows: Size, factors: DTypeLike, dtype: DTypeLike
) -> Callable[[Array], Array]:
    """The product [rows, K] @ w of a loop, w being laid out once, before the loop.

    On CPU many float32 units multiply up to twice as fast if the weights come first,
    as in (wᵀ @ rowsᵀ)ᵀ; bfloat16 ones do not. The barriers keep XLA from folding the
    transpositions back into the product, which would then read its weights across the
    grain.
    """
    fixed = jax.lax.optimization_barrier
    plain = functools.partial(typed_matmul, factors=factors, dtype=dtype)
    as_given = fixed(w.astype(factors))
    few = not isinstance(rows, int) or rows < _SEVERAL_ROWS  # or a symbol, any number
    narrow = min(w.shape) < _WIDE or few
    if narrow or factors == jnp.bfloat16:
        return lambda hs: plain(hs, as_given)
    transposed = fixed(w.T)

    def weights_first(hs: Array) -> Array:
        return fixed(plain(transposed, fixed(hs.T))).T

    return lambda hs: jax.lax.platform_dependent(
        hs, cpu=weights_first, default=lambda hs: plain(hs, as_given)
    )


def matmul(xs: Array, w: Array) -> Array:
    """The product of xs and w, [..., K] times [K, N], and as told by `factor_dtype`.

    Where factors are rounded it has no forward mode.
    """
    factors = factor_dtype(w.dtype)
    return xs @ w if factors == w.dtype else _rounded_product(factors, xs, w)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_product(factors: DTypeLike, xs: Array, w: Array) -> Array:
    return typed_matmul(xs, w, factors, w.dtype)


def _rounded_forward(
    factors: DTypeLike, xs: Array, w: Array
) -> tuple[Array, tuple[Array, Array]]:
    return typed_matmul(xs, w, factors, w.dtype), (xs, w)


def _rounded_backward(
    factors: DTypeLike, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    xs, w = residuals
    dxs = psum_over_replicas(typed_matmul(dy, w.T, factors, xs.dtype), xs)
    # XLA:CPU does not have the product of bfloat16 factors into which it turns one that
    # is transposed afterwards, as the gradient of a tied embedding is.
    return dxs, jax.lax.optimization_barrier(weight_gradient(xs, dy, w, factors))


_rounded_product.defvjp(_rounded_forward, _rounded_backward)


def weight_gradient(
    inputs: Array, outputs_gradient: Array, weights: Array, factors: DTypeLike
) -> Array:
    """The gradient of w in y = x @ w: Σ xᵀ dy over time steps and rows.

    JAX transposes the product to (dyᵀ x)ᵀ, for which dy, the larger of the two by far
    where gates are made, has to be copied with its axes turned round.

    Args:
        inputs: x, [..., K].
        outputs_gradient: dy, [..., N].
        weights: w, [K, N]; under explicit sharding the gradient lies where they do.
        factors: the type in which to multiply.
    """
    total = summed_product(inputs, outputs_gradient, weights, factors)
    return psum_over_replicas(total, weights)


def summed_product(
    inputs: Array, outputs_gradient: Array, weights: Array, factors: DTypeLike
) -> Array:
    """`weight_gradient` as far as this program knows it; K may be another than w's."""
    summed = tuple(range(inputs.ndim - 1))
    explicit = any(jax.typeof(outputs_gradient).sharding.spec)
    places = jax.typeof(weights).sharding if explicit else None
    return jax.lax.dot_general(
        inputs.astype(factors),
        outputs_gradient.astype(factors),
        ((summed, summed), ((), ())),
        precision=_precision(factors),
        preferred_element_type=weights.dtype,
        out_sharding=places,
    )


def psum_over_replicas(gradient: Array, weights: Array) -> Array:
    """The gradient of weights over all devices, given what this program knows of it.

    Inside `shard_map` that is a device's own share: only JAX knows over what to add.
    """
    _, gathered = jax.vjp(lambda w: w + gradient, weights)
    return gathered(gradient)[0]


def _precision(factors: DTypeLike) -> jax.lax.Precision | None:
    """What is bfloat16 already needs no algorithm of JAX's, whatever was asked for."""
    return jax.lax.Precision.DEFAULT if factors == jnp.bfloat16 else None
