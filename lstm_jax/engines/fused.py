"""The fast engine: the same recurrence with a hand-written gradient.

Differentiating a scan makes its backward loop add to the [H, 4H] weight gradient at
every step, and makes both loops move many small arrays. Here the forward loop does one
matrix product and one tanh per step and keeps the opened gates. The backward loop only
turns the gradient of (h, c) into that of z. What needs no step before it, the inputs'
products and all weight gradients, stands outside the loops, as a few large operations:

    forward, each step           backward, each step
    z   = z_t + h @ w_h          dc  = dc + dh * (o (1 - tanh²c))
    a   = tanh(z / 2 or z)       dz  = [dc, dc, dc, dh] * slope
    ... c, h                     dc  = dc * f ;  dh = dz @ w_hᵀ
                                 after the loop: dw_h = h_{t-1}ᵀ dz over all steps

σ(x) = (1 + tanh(x/2)) / 2, so one tanh over the whole [B, 4H] block serves all four
gates. The halving is a power of two and loses no precision.

Under `jax.default_matmul_precision("BF16_BF16_F32")` every product has factors rounded
to bfloat16, and all else stays float32; see `lstm_jax.ops.matmul`.

A custom gradient has no forward mode; `run_scan` has it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES, LSTMState
from lstm_jax.engines.loop import over_time
from lstm_jax.ops.matmul import factor_dtype, loop_matmul, weight_gradient
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    reverse: bool
    factors: DTypeLike  # the type in which matrices are multiplied


def run_fused(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments."""
    static = StaticArgs(reverse, factor_dtype(w_h.dtype))
    hs, h, c = _recur(static, z, w_h, state.h, state.c, resets, valid)
    return hs, LSTMState(h=h, c=c)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(
    static: StaticArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[Array, Array, Array]:
    (h, c), (hs, _, _) = forward_loop(static, z, w_h, h, c, resets, valid, keep=False)
    return hs, h, c


def _forward(
    static: StaticArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    (h_last, c_last), (hs, gates, cs) = forward_loop(
        static, z, w_h, h, c, resets, valid, keep=True
    )
    return (hs, h_last, c_last), (w_h, h, c, resets, valid, gates, hs, cs)


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, c, resets, valid, gates, hs, cs = residuals
    dhs, dh, dc = cotangents
    dz, dh, dc = backward_loop(
        static, w_h, gates, cs, c, dhs, dh.astype(c.dtype), dc, resets, valid
    )
    h_before = state_before(h, hs, resets, static.reverse)
    dw_h = weight_gradient(h_before, dz, w_h, static.factors)
    return dz, dw_h, dh.astype(h.dtype), dc, None, None


_recur.defvjp(_forward, _backward)


def forward_loop(
    static: StaticArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
    keep: bool,
) -> tuple[tuple[Array, Array], tuple]:
    """The last h and c; every h and, for the gradient (if `keep`), gates and c."""
    scale, shift = opening(len(w_h), c.dtype)
    times_w_h = loop_matmul(
        w_h * scale.astype(w_h.dtype), h.shape[0], static.factors, c.dtype
    )

    def step(before: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        h, c = before
        z_t, resets_t, valid_t = inputs
        if resets_t is not None:
            h = jnp.where(resets_t[:, None], 0, h)
            c = jnp.where(resets_t[:, None], 0, c)
        z_t = z_t * scale.astype(z_t.dtype) + times_w_h(h)
        gates = jnp.tanh(z_t) * scale + shift
        i, f, g, o = jnp.split(gates, len(GATES), axis=-1)
        c = f * c + i * g
        h = (o * jnp.tanh(c)).astype(h.dtype)
        if valid_t is not None:
            h = jnp.where(valid_t[:, None], h, before[0])
            c = jnp.where(valid_t[:, None], c, before[1])
        kept = (gates.astype(z.dtype), c) if keep else (None, None)
        return (h, c), (h, *kept)

    return over_time(step, (h, c), (z, resets, valid), static.reverse)


def backward_loop(
    static: StaticArgs,
    w_h: Array,
    gates: Array,
    cs: Array,
    c: Array,
    dhs: Array,
    dh: Array,
    dc: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[Array, Array, Array]:
    """The gradients of z and of the first h and c, given those of all outputs."""
    c_before = state_before(c, cs, resets, static.reverse)
    times_w_h_transposed = loop_matmul(w_h.T, c.shape[0], static.factors, c.dtype)

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, Array]:
        dh_next, dc_next = carry
        dh_t, gates_t, c_t, c_before_t, resets_t, valid_t = inputs
        i, f, g, o = jnp.split(gates_t.astype(c.dtype), len(GATES), axis=-1)
        tanh_c = jnp.tanh(c_t)
        dh = dh_next + dh_t
        dc = dc_next + dh * (o * (1 - tanh_c * tanh_c))
        slopes = [
            g * i * (1 - i),
            c_before_t * f * (1 - f),
            i * (1 - g * g),
            tanh_c * o * (1 - o),
        ]
        dz = jnp.concatenate([dc, dc, dc, dh], -1) * jnp.concatenate(slopes, -1)
        if valid_t is not None:
            dz = jnp.where(valid_t[:, None], dz, 0)
        dz = dz.astype(w_h.dtype)
        dh_before = times_w_h_transposed(dz)
        dc_before = dc * f
        if resets_t is not None:
            dh_before = jnp.where(resets_t[:, None], 0, dh_before)
            dc_before = jnp.where(resets_t[:, None], 0, dc_before)
        if valid_t is not None:
            dh_before = jnp.where(valid_t[:, None], dh_before, dh)
            dc_before = jnp.where(valid_t[:, None], dc_before, dc_next)
        return (dh_before, dc_before), dz

    inputs = (dhs.astype(c.dtype), gates, cs, c_before, resets, valid)
    (dh, dc), dz = over_time(step, (dh, dc), inputs, not static.reverse)
    return dz, dh, dc


def opening(hidden_size: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Scale and shift [4H]: tanh(scale z) scale + shift opens all gates by one tanh.

    That is σ(z) = tanh(z/2)/2 + 1/2 in the blocks i, f, o; tanh itself in the block g.
    """
    scale = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], dtype), hidden_size)
    shift = jnp.repeat(jnp.array([0.5, 0.5, 0.0, 0.5], dtype), hidden_size)
    return scale, shift


def state_before(
    first: Array, states: Array, resets: Array | None, reverse: bool
) -> Array:
    """The state each step began with: the one before it, or zero where it starts."""
    if reverse:
        before = jnp.concatenate([states[1:], first[None]])
    else:
        before = jnp.concatenate([first[None], states[:-1]])
    return before if resets is None else jnp.where(resets[..., None], 0, before)
