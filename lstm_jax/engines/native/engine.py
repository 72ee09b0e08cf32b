"""The engine `native`: a kernel of this library's own in the place of XLA's loop.

    forward     z, w_h, h, c  -> hs, c           without a gradient
                              -> gates, cs too   where one will be asked for
    backward    gates, cs, dhs, dh, dc  ->  dz, dh, dc

The weight gradient is one large product over all steps (`weights.py`). z is overwritten
with the gates and these with dz where nobody else needs them: fresh memory is dear.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.engines.fused import state_before
from lstm_jax.engines.native.calls import (
    CallOptions,
    call_backward,
    call_forward,
    call_options,
    last_step,
    masks_of,
    may_be_spread,
)
from lstm_jax.engines.native.weights import weight_gradient
from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.ops.matmul import factor_dtype, psum_over_replicas
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights


def unsupported_by_native(spec: RecurrenceSpec) -> str | None:
    """Why it can't run a request; None if it can, once it was built."""
    if spec.platform != "cpu":
        return f"runs on a CPU, not on {spec.platform}"
    if spec.dtype != "float32":
        return f"has float32 weights, not {spec.dtype}"
    if spec.explicit:
        return "knows nothing of explicit sharding"
    if spec.partly_mapped:
        return "can't be divided in a shard_map over some axes of a mesh"
    return None


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    options: CallOptions
    spread: bool  # whether XLA may spread rows over devices


def run_native(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments."""
    rounded = factor_dtype(w_h.dtype) == jnp.bfloat16
    static = StaticArgs(call_options(reverse, rounded), may_be_spread())
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
    operands = (z, w_h, h, c, *masks_of(resets, valid))
    hs, c = call_forward(static.options, False, static.spread, *operands)
    return hs, last_step(static.options, hs), c


def _forward(
    static: StaticArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    operands = (z, w_h, h, c, *masks_of(resets, valid))
    hs, c_last, gates, cs = call_forward(static.options, True, static.spread, *operands)
    kept = (w_h, h, c, resets, valid, gates, hs, cs)
    return (hs, last_step(static.options, hs), c_last), kept


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, c, resets, valid, gates, hs, cs = residuals
    operands = (w_h, gates, cs, c, *cotangents, *masks_of(resets, valid))
    dz, dh, dc = call_backward(static.options, static.spread, *operands)
    h_before = state_before(h, hs, resets, static.options.reverse)
    dw_h = weight_gradient(*static, h_before, dz, w_h)
    return dz, dw_h, psum_over_replicas(dh, h), psum_over_replicas(dc, c), None, None


_recur.defvjp(_forward, _backward)
