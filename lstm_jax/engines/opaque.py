"""What stands around a kernel that JAX and XLA can't look into.

Its rows and units are filled up with zeros, it runs on one device at a time, and its
gradient has no gradient.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.lstm import GATES

Operands = TypeVar("Operands")


def fill(a: Array, *more: tuple[int, int]) -> Array:
    """Zeros at the ends of the axes; with an axis of gates more, in every gate."""
    if len(more) == a.ndim:
        return jnp.pad(a, more)
    by_gate = a.reshape(*a.shape[:-1], len(GATES), -1)
    filled = jnp.pad(by_gate, more)
    return filled.reshape(*filled.shape[:-2], -1)


def on_the_same_axes(engine: str, operands: Operands) -> Operands:
    """In `shard_map`, all operands as different on each device as any of them is.

    JAX then adds up the gradients of those that were the same. Under a mesh of explicit
    axes, arrays that are spread are refused: XLA can't divide a kernel.
    """
    for leaf in jax.tree.leaves(operands):
        if any(axes is not None for axes in jax.typeof(leaf).sharding.spec):
            raise ValueError(
                f"engine {engine!r}: expected arrays on one device, or shard_map; "
                "found some spread over devices; engines that can: fused, scan"
            )
    return varying_as(operands, operands)


def varying_as(operands: object, results: Operands) -> Operands:
    """In `shard_map`, results as different on each device as the operands are.

    JAX can't know that of a kernel's.
    """
    leaves = jax.tree.leaves(operands)
    axes = frozenset[str]().union(*map(_varying, leaves))

    def alike(a: Array) -> Array:
        lacking = axes - _varying(a)
        return jax.lax.pcast(a, tuple(lacking), to="varying") if lacking else a

    return jax.tree.map(alike, results)


def differentiable_once(engine: str, operands: Operands) -> Operands:
    """Nothing, except that a derivative of a derivative fails here, with a reason."""

    def refuse(primals: tuple, tangents: tuple) -> tuple:
        raise ValueError(
            f"engine {engine!r}: expected no derivative of a derivative, found one; "
            "an engine that can: scan"
        )

    same = jax.custom_jvp(lambda operands: operands)
    same.defjvp(refuse)
    return same(operands)


def _varying(a: Array) -> frozenset[str]:
    """The axes of a mesh over which an array differs, inside shard_map."""
    return frozenset(jax.typeof(a).manual_axis_type.varying)
