"""Matrix products that XLA lays out badly if left to itself."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Tree = Any
Multiply = Callable[[int, Array], Array]  # (n, a): the product of a and weights[n]
Step = Callable[[Multiply, Tree, Tree, Tree], tuple[Tree, Tree]]


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def scan_products(
    step: Step, weights: tuple[Array, ...], constants: Tree, carry: Tree, xs: Tree
) -> tuple[Tree, Tree]:
    """A scan over time whose weight gradients are single products after the loop.

    Differentiating a scan adds to the gradient of every matrix at every step. Here the
    loop back in time only collects the gradient of each product.

    Args:
        step: (multiply, constants, carry, x) to (carry, y), as for `jax.lax.scan`;
            `multiply(n, a)` is a @ weights[n], and each n is called for once.
        weights: matrices.
        constants: what else is the same at every step, biases for example.
        carry: arrays [B, ...].
        xs: arrays [T, B, ...].

    Returns:
        The last carry, and every y.
    """

    def body(carry: Tree, x: Tree) -> tuple[Tree, Tree]:
        return step(lambda n, a: a @ weights[n], constants, carry, x)

    return jax.lax.scan(body, carry, xs)


def _scan_forward(
    step: Step, weights: tuple[Array, ...], constants: Tree, carry: Tree, xs: Tree
) -> tuple[tuple[Tree, Tree], tuple]:
    turned = jax.lax.optimization_barrier(tuple(w.T for w in weights))

    def run(constants: Tree, carry: Tree, xs: Tree, nothing: Tree) -> tuple:
        def body(carry: Tree, inputs: tuple) -> tuple[Tree, tuple]:
            x, added = inputs
            seen: dict[int, Array] = {}

            def multiply(n: int, a: Array) -> Array:
                seen[n] = a
                return _product(a, weights[n], turned[n]) + added[n]

            carry, y = step(multiply, constants, carry, x)
            return carry, (y, [seen[n] for n in range(len(weights))])

        carry, (ys, seen) = jax.lax.scan(body, carry, (xs, nothing))
        return (carry, ys), seen

    steps, rows = len(jax.tree.leaves(xs)[0]), len(jax.tree.leaves(carry)[0])
    # Zeros, whose gradients are those of the products they are added to.
    nothing = [jnp.zeros((steps, rows, w.shape[1]), w.dtype) for w in weights]
    found, back, seen = jax.vjp(run, constants, carry, xs, nothing, has_aux=True)
    return found, (back, seen, weights)


def _scan_backward(step: Step, residuals: tuple, cotangents: tuple) -> tuple:
    back, seen, weights = residuals
    constants, carry, xs, products = back(cotangents)
    gradients = tuple(map(weight_gradient, seen, products, weights))
    return gradients, constants, carry, xs


scan_products.defvjp(_scan_forward, _scan_backward)


@jax.custom_vjp
def _product(a: Array, w: Array, turned: Array) -> Array:
    """The product whose gradient goes to `a` alone, through wᵀ laid out before."""
    return a @ w


def _product_backward(turned: Array, dz: Array) -> tuple[Array, None, None]:
    return dz @ turned, None, None


_product.defvjp(lambda a, w, turned: (a @ w, turned), _product_backward)
