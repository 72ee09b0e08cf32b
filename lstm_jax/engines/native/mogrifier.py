"""The Mogrifier in the engine `native`: a kernel in the place of the loops of `fused`.

    forward     weights, xs, h, c  ->  hs, c
                                   ->  scales, gates, cs too, for a gradient
    backward    scales, gates, cs, dhs, dh, dc  ->  dus, dz, dxs, dh, dc

The weight gradients, products over all steps, are XLA's, as they are in `fused`. Scales
are overwritten with dus, gates with dz.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.cells.mogrifier import MogrifierParams, gate_weights
from lstm_jax.engines import mogrifier as fused
from lstm_jax.engines.fused import state_before
from lstm_jax.engines.mogrifier import Weights, scale_again, weight_gradients
from lstm_jax.engines.native.calls import (
    Arrays,
    Call,
    CallOptions,
    Shapes,
    call_options,
    dividing,
    last_step,
    library_call,
    mask_or_none,
    masks_of,
    may_be_spread,
)
from lstm_jax.ops.matmul import factor_dtype, psum_over_replicas
from lstm_jax.typing import Flags, Hidden, Inputs

# The axes of each operand and result: b is that of the rows, i and j of the rounds.
_FORWARD = ("i h d", "j d h", "e g", "g", "t b d", "b h", "b h"), ("t b h", "b h")
_KEPT = ("i t b d", "j t b h", "t b g", "t b h")
_BACKWARD = (
    (
        *("i h d", "j d h", "e g", "t b d", "b h", "b h", "t b h"),
        *_KEPT,
        *("t b h", "b h", "b h"),
    ),
    ("i t b d", "j t b h", "t b g", "t b d", "b h", "b h"),
)


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    options: CallOptions
    capped: bool  # whether the input gate is at most 1 - f
    spread: bool  # whether XLA may spread rows over devices


def run_native_mogrifier(
    xs: Inputs,
    params: MogrifierParams,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
    *,
    capped: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments."""
    gates = gate_weights(params)
    b = jnp.zeros_like(gates[0]) if params.b is None else params.b
    rounded = factor_dtype(params.w_x.dtype) == jnp.bfloat16
    static = StaticArgs(call_options(reverse, rounded), capped, may_be_spread())
    weights = Weights(params.rounds, gates, b)
    hs, h, c = _recur(static, weights, xs, state.h, state.c, resets, valid)
    return hs, LSTMState(h=h, c=c)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(
    static: StaticArgs,
    weights: Weights,
    xs: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[Array, Array, Array]:
    operands = (*_operands(weights, xs), weights.b, xs, h, c)
    hs, c = _call_forward(static, False, *operands, *masks_of(resets, valid))
    return hs, last_step(static.options, hs), c


def _forward(
    static: StaticArgs,
    weights: Weights,
    xs: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    operands = (*_operands(weights, xs), weights.b, xs, h, c)
    hs, c_last, *kept = _call_forward(static, True, *operands, *masks_of(resets, valid))
    residuals = (weights, xs, h, c, resets, valid, hs, kept)
    return (hs, last_step(static.options, hs), c_last), residuals


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    weights, xs, h, c, resets, valid, hs, kept = residuals
    before = (*_operands(weights, xs), xs, h, c, hs)
    operands = (*before, *kept, *cotangents, *masks_of(resets, valid))
    x_dus, h_dus, dz, dxs, dh, dc = _call_backward(static, *operands)
    h_before = state_before(h, hs, resets, static.options.reverse)
    scaled = scale_again(xs, h_before, _in_turn(*kept[:2]))
    factors = jnp.bfloat16 if static.options.rounded else xs.dtype
    dus = _in_turn(x_dus, h_dus)
    found = weight_gradients(factors, weights, scaled, dz, dus)
    dxs, dh, dc = map(psum_over_replicas, (dxs, dh, dc), (xs, h, c))
    return found, dxs, dh, dc, None, None


_recur.defvjp(_forward, _backward)


def _operands(weights: Weights, xs: Array) -> Arrays:
    """The matrices as the library takes them: even rounds, odd ones, the gates'."""
    hidden, inputs = weights.gates.shape[-1] // 4, xs.shape[-1]
    even, odd = _apart(weights.rounds, (hidden, inputs), (inputs, hidden))
    return even, odd, weights.gates


def _apart(
    of_rounds: tuple[Array, ...] | list[Array],
    even: tuple[int, ...],
    odd: tuple[int, ...],
) -> Arrays:
    """Arrays of these shapes, one for each round: those of even rounds, of odd ones."""
    parts = (of_rounds[::2], even), (of_rounds[1::2], odd)
    return tuple(
        jnp.stack(part) if part else jnp.zeros((0, *shape), jnp.float32)
        for part, shape in parts
    )


def _in_turn(even: Array, odd: Array) -> list[Array]:
    """The inverse of `_apart`."""
    count = len(even) + len(odd)
    return [(odd if n % 2 else even)[n // 2] for n in range(count)]


def _call_forward(static: StaticArgs, keep: bool, *operands: Array) -> Arrays:
    inputs, outputs = _FORWARD
    outputs = (*outputs, *_KEPT) if keep else outputs
    call = Call(_run_forward, _fused_forward, _forward_shapes, inputs, outputs)
    return dividing(call, (static, keep), operands, static.spread)


def _call_backward(static: StaticArgs, *operands: Array) -> Arrays:
    call = Call(_run_backward, _fused_backward, _backward_shapes, *_BACKWARD)
    return dividing(call, (static,), operands, static.spread)


def _run_forward(static: StaticArgs, keep: bool, *operands: Array) -> Arrays:
    name = "lstm_jax_mogrifier_forward" + "_keep" * keep
    shapes = _forward_shapes(static, keep, *operands)
    options = {"capped": static.capped}
    return library_call(name, static.options, shapes, None, *operands, **options)


def _forward_shapes(static: StaticArgs, keep: bool, *operands: Array) -> Shapes:
    even, odd, _, b, xs, h, *_ = operands
    states = (len(xs), *h.shape)
    if not keep:
        return states, h.shape
    scales = (len(even), *xs.shape), (len(odd), *states)
    return (states, h.shape, *scales, (*xs.shape[:2], len(b)), states)


def _run_backward(static: StaticArgs, *operands: Array) -> Arrays:
    return library_call(
        "lstm_jax_mogrifier_backward",
        static.options,
        _backward_shapes(static, *operands),
        {7: 0, 8: 1, 9: 2},
        *operands,
        capped=static.capped,
    )


def _backward_shapes(static: StaticArgs, *operands: Array) -> Shapes:
    _, _, _, xs, h, c, _, x_scales, h_scales, gates, *_ = operands
    return x_scales.shape, h_scales.shape, gates.shape, xs.shape, h.shape, c.shape


def _fused_forward(static: StaticArgs, keep: bool, *operands: Array) -> Arrays:
    even, odd, gates, b, xs, h, c, *masks = operands
    weights = Weights(tuple(_in_turn(even, odd)), gates, b)
    (_, c_last), (hs, kept) = fused.forward_loop(
        _fused_args(static), weights, xs, h, c, *map(mask_or_none, masks), keep=True
    )
    if not keep:
        return hs, c_last
    scales, *others = kept
    return (hs, c_last, *_apart(scales, xs.shape, hs.shape), *others)


def _fused_backward(static: StaticArgs, *operands: Array) -> Arrays:
    even, odd, w, xs, h, c, hs, x_scales, h_scales, gates, cs, *others = operands
    dhs, dh, dc, resets, valid = others
    resets, valid = mask_or_none(resets), mask_or_none(valid)
    weights = Weights(tuple(_in_turn(even, odd)), w, jnp.zeros_like(w[0]))
    scales = _in_turn(x_scales, h_scales)
    h_before = state_before(h, hs, resets, static.options.reverse)
    found = fused.backward_loop(
        _fused_args(static),
        weights,
        c,
        resets,
        valid,
        scale_again(xs, h_before, scales),
        (scales, gates, cs),
        (dhs, dh, dc),
    )
    dus = _apart(found.us, xs.shape, hs.shape)
    return (*dus, found.z, found.xs, found.h, found.c)


def _fused_args(static: StaticArgs) -> fused.StaticArgs:
    factors = jnp.bfloat16 if static.options.rounded else jnp.float32
    return fused.StaticArgs(static.capped, static.options.reverse, factors)
