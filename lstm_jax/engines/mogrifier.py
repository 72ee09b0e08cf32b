"""The Mogrifier's recurrence with a hand-written gradient, as `fused` has it.

The loop keeps what scaled what, s = 2 σ(u) of every round, and the opened gates. From
those, everything that needs no gradient is made again outside the loop back in time,
for all steps at once; the products of the weight gradients follow after it.

    back, each step                      after the loop
    dz      = as in `fused`              dw   = [x, h]ᵀ dz
    [dx, dh] = dz @ wᵀ                   dq_n = sourceᵀ du
    for each round, the last one first:
        du      = dtarget * target * s (1 - s / 2)
        dtarget = dtarget * s
        dsource = dsource + du @ q_nᵀ

2 σ(u) = 1 + tanh(u / 2), so here too there is no function but tanh.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from lstm_jax.cells.lstm import GATES, LSTMState
from lstm_jax.cells.mogrifier import MogrifierParams, gate_weights, places
from lstm_jax.engines.fused import opening, state_before
from lstm_jax.engines.loop import over_time
from lstm_jax.ops.matmul import (
    factor_dtype,
    loop_matmul,
    psum_over_replicas,
    weight_gradient,
)
from lstm_jax.typing import Flags, GateBias, Hidden, Inputs


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    capped: bool
    reverse: bool
    factors: DTypeLike  # the type in which matrices are multiplied


class Weights(NamedTuple):
    """A matrix for each round, and [w_x; w_h], [D + H, 4H], with the bias [4H]."""

    rounds: tuple[Array, ...]
    gates: Array
    b: GateBias


def run_mogrifier(
    xs: Inputs,
    params: MogrifierParams,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
    *,
    capped: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments.

    `capped` is whether the input gate is at most 1 - f.
    """
    static = StaticArgs(capped, reverse, factor_dtype(params.w_x.dtype))
    gates = gate_weights(params)
    b = jnp.zeros_like(gates[0]) if params.b is None else params.b
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
    (h, c), (hs, _) = forward_loop(static, weights, xs, h, c, resets, valid, keep=False)
    return hs, h, c


def _forward(
    static: StaticArgs,
    weights: Weights,
    xs: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    (h_last, c_last), (hs, kept) = forward_loop(
        static, weights, xs, h, c, resets, valid, keep=True
    )
    return (hs, h_last, c_last), (weights, xs, h, c, resets, valid, hs, kept)


def forward_loop(
    static: StaticArgs,
    weights: Weights,
    xs: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
    keep: bool,
) -> tuple[tuple[Array, Array], tuple]:
    """The last h and c; every h, and for the gradient (if `keep`) what it needs."""
    scale, shift = opening(h.shape[-1], c.dtype)

    def prepared(w: Array) -> Callable[[Array], Array]:
        return loop_matmul(w, h.shape[0], static.factors, c.dtype)

    by_round = [prepared(0.5 * q) for q in weights.rounds]
    by_gates = prepared(weights.gates * scale.astype(weights.gates.dtype))
    b = weights.b * scale

    def step(before: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        h, c = before
        x, resets_t, valid_t = inputs
        if resets_t is not None:
            h = jnp.where(resets_t[:, None], 0, h)
            c = jnp.where(resets_t[:, None], 0, c)
        pair, scales = [x, h], []
        for n, multiplied in enumerate(by_round):
            source, target = places(n)
            s = (1 + jnp.tanh(multiplied(pair[source]))).astype(x.dtype)
            pair[target] = s * pair[target]
            scales.append(s)
        z = by_gates(jnp.concatenate(pair, axis=-1)) + b
        gates = jnp.tanh(z) * scale + shift
        i, f, g, o = _opened(gates, static.capped)
        c = f * c + i * g
        h = (o * jnp.tanh(c)).astype(h.dtype)
        if valid_t is not None:
            h = jnp.where(valid_t[:, None], h, before[0])
            c = jnp.where(valid_t[:, None], c, before[1])
        kept = (scales, gates.astype(x.dtype), c) if keep else None
        return (h, c), (h, kept)

    return over_time(step, (h, c), (xs, resets, valid), static.reverse)


def _opened(gates: Array, capped: bool) -> tuple[Array, Array, Array, Array]:
    i, f, g, o = jnp.split(gates, len(GATES), axis=-1)
    return (jnp.minimum(i, 1 - f) if capped else i), f, g, o


@jax.numpy_rank_promotion("allow")
def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    weights, xs, h, c, resets, valid, hs, kept = residuals
    scaled = scale_again(xs, state_before(h, hs, resets, static.reverse), kept[0])
    found = backward_loop(static, weights, c, resets, valid, scaled, kept, cotangents)
    return (
        weight_gradients(static.factors, weights, scaled, found.z, found.us),
        psum_over_replicas(found.xs, xs),
        found.h.astype(h.dtype),
        found.c,
        None,
        None,
    )


_recur.defvjp(_forward, _backward)


class Scaled(NamedTuple):
    """What the rounds made of inputs and states, for all steps at once.

    Attributes:
        sources: what told by how much, of every round.
        turns: what turns the gradient of a target into that of u, of every round.
        pair: inputs and states at last.
    """

    sources: list[Array]
    turns: list[Array]
    pair: list[Array]


def scale_again(xs: Array, h_before: Array, scales: Sequence[Array]) -> Scaled:
    """Run the rounds once more, given by how much they scaled: no product is needed."""
    pair = [xs, h_before]
    sources, turns = [], []
    for n, s in enumerate(scales):
        source, target = places(n)
        sources.append(pair[source])
        turns.append(pair[target] * s * (1 - 0.5 * s))
        pair[target] = s * pair[target]
    return Scaled(sources, turns, pair)


class Gradients(NamedTuple):
    """Those of what the loop reads, z being that of the gates and u that of a round."""

    xs: Array
    z: Array
    us: list[Array]
    h: Array
    c: Array


def backward_loop(
    static: StaticArgs,
    weights: Weights,
    c: Array,
    resets: Array | None,
    valid: Array | None,
    scaled: Scaled,
    kept: tuple[Sequence[Array], Array, Array],
    cotangents: tuple[Array, Array, Array],
) -> Gradients:
    """Walk back in time, given the gradients of every h and of the last h and c."""
    scales, gates, cs = kept
    dhs, dh, dc = cotangents
    inputs_size = scaled.pair[0].shape[-1]
    c_before = state_before(c, cs, resets, static.reverse)
    f, dc_per_dh, slope = _slopes(gates.astype(c.dtype), cs, c_before, static.capped)

    def prepared(w: Array) -> Callable[[Array], Array]:
        return loop_matmul(w.T, c.shape[0], static.factors, c.dtype)

    by_round = [prepared(q) for q in weights.rounds]
    by_gates = prepared(weights.gates)

    def step(carry: tuple, inputs: tuple) -> tuple[tuple, tuple]:
        dh_t, dc_per_dh_t, slope_t, f_t, scales_t, turns_t, resets_t, valid_t = inputs
        dh = carry[0] + dh_t
        dc = carry[1] + dh * dc_per_dh_t
        dz = jnp.concatenate([dc, dc, dc, dh], axis=-1) * slope_t
        if valid_t is not None:
            dz = jnp.where(valid_t[:, None], dz, 0)
        pair = jnp.split(by_gates(dz), [inputs_size], axis=-1)
        dus = []
        for n in reversed(range(len(by_round))):
            source, target = places(n)
            du = pair[target] * turns_t[n]
            pair[target] = pair[target] * scales_t[n]
            pair[source] = pair[source] + by_round[n](du)
            dus.insert(0, du)
        dx, dh_before = pair
        dc_before = dc * f_t
        if resets_t is not None:
            dh_before = jnp.where(resets_t[:, None], 0, dh_before)
            dc_before = jnp.where(resets_t[:, None], 0, dc_before)
        if valid_t is not None:
            dh_before = jnp.where(valid_t[:, None], dh_before, dh)
            dc_before = jnp.where(valid_t[:, None], dc_before, carry[1])
        return (dh_before, dc_before), (dx.astype(scaled.pair[0].dtype), dz, dus)

    turns = scaled.turns
    inputs = (dhs.astype(c.dtype), dc_per_dh, slope, f, scales, turns, resets, valid)
    start = (dh.astype(c.dtype), dc)
    (dh, dc), (dxs, dz, dus) = over_time(step, start, inputs, not static.reverse)
    return Gradients(dxs, dz, dus, dh, dc)


def weight_gradients(
    factors: DTypeLike,
    weights: Weights,
    scaled: Scaled,
    dz: Array,
    dus: Sequence[Array],
) -> Weights:
    """The gradients of all weights, one product each over all steps."""
    return Weights(
        tuple(
            weight_gradient(source, du, q, factors)
            for source, du, q in zip(scaled.sources, dus, weights.rounds, strict=True)
        ),
        weight_gradient(jnp.concatenate(scaled.pair, -1), dz, weights.gates, factors),
        psum_over_replicas(dz.sum((0, 1)).astype(weights.b.dtype), weights.b),
    )


def _slopes(
    gates: Array, cs: Array, c_before: Array, capped: bool
) -> tuple[Array, Array, Array]:
    """f, dc/dh, and what turns [dc, dc, dc, dh] into dz, for all steps."""
    i, f, g, o = _opened(gates, capped)
    tanh_c = jnp.tanh(cs)
    by_input, by_forgetting = g * i * (1 - i), c_before * f * (1 - f)
    if capped:
        at_cap = gates[..., : i.shape[-1]] > 1 - f
        by_input = jnp.where(at_cap, 0, by_input)
        by_forgetting = jnp.where(at_cap, (c_before - g) * f * (1 - f), by_forgetting)
    by_output = tanh_c * o * (1 - o)
    parts = [by_input, by_forgetting, i * (1 - g * g), by_output]
    return f, o * (1 - tanh_c * tanh_c), jnp.concatenate(parts, axis=-1)
