"""The two kernels for a GPU as one function with a gradient, and no second one."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import sequential_vmap

from lstm_jax.engines.fused import state_before
from lstm_jax.engines.opaque import differentiable_once, varying_as
from lstm_jax.engines.pallas_gpu.kernels import backward_kernel, forward_kernel
from lstm_jax.engines.pallas_gpu.layout import KernelArgs
from lstm_jax.ops.matmul import weight_gradient


class StaticArgs(NamedTuple):
    """What is decided before tracing.

    Attributes:
        kernel: what the kernels have to know.
        factors: the type in which matrices are multiplied.
    """

    kernel: KernelArgs
    factors: str


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
    static: StaticArgs, z: Array, w_h: Array, h: Array, c: Array, flags: Array | None
) -> tuple[Array, Array, Array]:
    """Every h and the last h and c, of sizes that fill a layout.

    Args:
        static: what is known while it is traced.
        z: the inputs' share of the gates [T, B, 4H].
        w_h: recurrent weights [H, 4H].
        h: the state before the first step [B, H].
        c: and its cells.
        flags: [T, B] or None: 0 where a step leaves the state alone, 1 where it goes
            on from it, 2 where it starts from zero.
    """
    hs, h, c, _ = _run(static, False, z, w_h, h, c, flags)
    return hs.astype(w_h.dtype), h, c


def _forward(
    static: StaticArgs, z: Array, w_h: Array, h: Array, c: Array, flags: Array | None
) -> tuple[tuple[Array, Array, Array], tuple]:
    z, w_h, h, c = differentiable_once("pallas_gpu", (z, w_h, h, c))
    hs, h_last, c_last, kept = _run(static, True, z, w_h, h, c, flags)
    return (hs.astype(w_h.dtype), h_last, c_last), (w_h, h, flags, hs, kept)


def _run(
    static: StaticArgs,
    keep: bool,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Array | None,
) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """The kernel forward: hs of the factors' type, the last h of that of h."""
    kernel = sequential_vmap(
        lambda *operands: forward_kernel(static.kernel, *operands, keep=keep)
    )
    w_h, h_first = w_h.astype(static.factors), h.astype(static.factors)
    operands = z, w_h, h_first, c, flags
    hs, h_last, c_last, kept = varying_as(operands, kernel(*operands))
    return hs, h_last.astype(h.dtype), c_last, kept


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, flags, hs, kept = residuals
    w_h, kept, cotangents = differentiable_once("pallas_gpu", (w_h, kept, cotangents))
    dhs, dh, dc = cotangents
    gates, c_before = kept
    kernel = sequential_vmap(
        lambda *operands: backward_kernel(static.kernel, *operands)
    )
    factors = w_h.astype(static.factors)
    last = (dhs.astype(static.factors), dh.astype(dc.dtype), dc)
    operands = factors, gates, c_before, flags, last
    dz, dh, dc = varying_as(operands, kernel(*operands))
    resets = None if flags is None else flags == 2
    h_before = state_before(h.astype(hs.dtype), hs, resets, static.kernel.reverse)
    dw_h = weight_gradient(h_before, dz, w_h, jnp.dtype(static.factors))
    return dz.astype(gates.dtype), dw_h, dh.astype(h.dtype), dc, None


recur.defvjp(_forward, _backward)
