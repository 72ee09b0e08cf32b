"""The two kernels for a TPU as one function with a gradient, and no second one."""

import functools

import jax
from jax import Array

from lstm_jax.engines.fused import state_before
from lstm_jax.engines.opaque import differentiable_once
from lstm_jax.engines.pallas_tpu.blocks import KernelArgs
from lstm_jax.engines.pallas_tpu.kernels import Flagged, backward_kernel, forward_kernel


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
    args: KernelArgs, z: Array, w_h: Array, h: Array, c: Array, flags: Flagged
) -> tuple[Array, Array, Array]:
    """Every h and the last h and c, of sizes that fill registers.

    Args:
        args: what is known while it is traced.
        z: the inputs' share of the gates [T, B, 4H].
        w_h: recurrent weights [H, 4H].
        h: the state before the first step [B, H].
        c: and its cells.
        flags: rows by step, [T, B] or None.
    """
    hs, h, c, _ = forward_kernel(args, z, w_h, h, c, flags, keep=False)
    return hs, h, c


def _forward(
    args: KernelArgs, z: Array, w_h: Array, h: Array, c: Array, flags: Flagged
) -> tuple[tuple[Array, Array, Array], tuple]:
    z, w_h, h, c = differentiable_once("pallas_tpu", (z, w_h, h, c))
    hs, h_last, c_last, kept = forward_kernel(args, z, w_h, h, c, flags, keep=True)
    return (hs, h_last, c_last), (w_h, h, flags, hs, kept)


def _backward(args: KernelArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, flags, hs, kept = residuals
    w_h, kept, cotangents = differentiable_once("pallas_tpu", (w_h, kept, cotangents))
    dz, dh, dc = backward_kernel(args, w_h, *kept, flags, cotangents)
    h_before = state_before(h, hs, flags.resets, args.reverse)
    _, transposed = jax.vjp(lambda w_h: h_before @ w_h, w_h)
    (dw_h,) = transposed(dz.astype(w_h.dtype))
    return dz, dw_h, dh.astype(h.dtype), dc, Flagged(None, None)


recur.defvjp(_forward, _backward)
