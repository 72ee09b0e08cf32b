"""The two kernels for a GPU as one function with a gradient.

A first gradient needs no derivative of a kernel. A second one does, and then the loops
of `fused` are in the place of the kernels.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import sequential_vmap

from lstm_jax.cells.lstm import GATES
from lstm_jax.engines import fused
from lstm_jax.engines.opaque import varying_as
from lstm_jax.engines.pallas_gpu.kernels import backward_kernel, forward_kernel
from lstm_jax.engines.pallas_gpu.layout import KernelArgs
from lstm_jax.ops.matmul import weight_gradient

Results = TypeVar("Results")


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
    w_h, h_first = w_h.astype(static.factors), h.astype(static.factors)
    operands = z, w_h, h_first, c, flags
    hs, h_last, c_last, kept = _call(
        functools.partial(forward_kernel, static.kernel, keep=keep),
        functools.partial(_forward_loop, static, keep),
        operands,
    )
    return hs, h_last.astype(h.dtype), c_last, kept


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, flags, hs, kept = residuals
    dhs, dh, dc = cotangents
    gates, c_before = kept
    factors = w_h.astype(static.factors)
    last = (dhs.astype(static.factors), dh.astype(dc.dtype), dc)
    operands = factors, gates, c_before, flags, last
    dz, dh, dc = _call(
        functools.partial(backward_kernel, static.kernel),
        functools.partial(_backward_loop, static),
        operands,
    )
    starts, _ = _masks(flags)
    first = h.astype(hs.dtype)
    h_before = fused.state_before(first, hs, starts, static.kernel.reverse)
    dw_h = weight_gradient(h_before, dz, w_h, jnp.dtype(static.factors))
    return dz.astype(gates.dtype), dw_h, dh.astype(h.dtype), dc, None


recur.defvjp(_forward, _backward)


def _call(
    kernel: Callable[..., Results], equal: Callable[..., Results], operands: tuple
) -> Results:
    """Call a kernel, one by one under `vmap`; its derivative is that of its equal."""
    called = jax.custom_jvp(sequential_vmap(lambda *operands: kernel(*operands)))
    called.defjvp(functools.partial(jax.jvp, equal))
    return varying_as(operands, called(*operands))


def _forward_loop(
    static: StaticArgs,
    keep: bool,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Array | None,
) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """What `forward_kernel` does."""
    starts, valid = _masks(flags)
    last, (hs, gates, cs) = fused.forward_loop(
        _of_fused(static), z, w_h, h, c, starts, valid, keep=True
    )
    c_before = fused.state_before(c, cs, starts, static.kernel.reverse)
    return hs, *last, (gates, c_before) if keep else None


def _backward_loop(
    static: StaticArgs,
    w_h: Array,
    gates: Array,
    c_before: Array,
    flags: Array | None,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    """What `backward_kernel` does."""
    starts, valid = _masks(flags)
    i, f, g, _ = jnp.split(gates.astype(c_before.dtype), len(GATES), axis=-1)
    cs = f * c_before + i * g
    cs = cs if valid is None else jnp.where(valid[..., None], cs, c_before)
    first = c_before[-1 if static.kernel.reverse else 0]
    return fused.backward_loop(
        _of_fused(static), w_h, gates, cs, first, *cotangents, starts, valid
    )


def _masks(flags: Array | None) -> tuple[Array | None, Array | None]:
    """Where a sequence starts, and which steps are valid."""
    return (None, None) if flags is None else (flags == 2, flags > 0)


def _of_fused(static: StaticArgs) -> fused.StaticArgs:
    return fused.StaticArgs(static.kernel.reverse, jnp.dtype(static.factors))
