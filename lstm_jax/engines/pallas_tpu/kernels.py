"""Two kernels for a TPU, written in Pallas: all steps forward, and all steps back.

The arithmetic is that of `fused.py`: the forward kernel keeps the opened gates, and
here also the c that each step began with, from which and the gates the backward kernel
makes c again. The weight gradient is one product after the loop.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl

from lstm_jax.cells.lstm import GATES
from lstm_jax.engines.pallas_tpu.blocks import (
    KernelArgs,
    Ref,
    call,
    for_each_step,
    sequence,
)


class Flagged(NamedTuple):
    """Rows by step: where a sequence starts, which are valid; [T, B] or None."""

    resets: Any
    valid: Any


@functools.partial(jax.jit, static_argnames=("args", "keep"))
def forward_kernel(
    args: KernelArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Flagged,
    keep: bool,
) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """All h, the last h and c; if `keep`, the gates and the c each step began with."""
    units = args.layout.units

    def kernel(
        z: Ref,
        w_h: Ref,
        h_first: Ref,
        c_first: Ref,
        flags: Flagged,
        hs: Ref,
        h: Ref,
        c: Ref,
        kept: tuple[Ref, Ref] | None,
    ) -> None:
        @pl.when(pl.program_id(0) == 0)
        def begin() -> None:
            h[...] = h_first[...]
            c[...] = c_first[...]

        def step(t: Array) -> None:
            h_before, c_before = h[...], c[...]
            h_t, c_t = h_before, c_before
            if flags.resets is not None:
                resets = _over_units(flags.resets[t], c_t)
                h_t = jnp.where(resets, jnp.zeros_like(h_t), h_t)
                c_t = jnp.where(resets, jnp.zeros_like(c_t), c_t)
            if kept is not None:
                kept[1][t] = c_t
            z_t = z[t].astype(c_t.dtype) + _product(args, h_t, w_h[...])
            z_i, z_f, z_g, z_o = _by_gate(z_t, units)
            i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), jnp.tanh(z_g), _sigmoid(z_o)
            if kept is not None:
                _write_gates(kept[0], t, (i, f, g, o), units)
            c_t = f * c_t + i * g
            h_t = (o * jnp.tanh(c_t)).astype(h_t.dtype)
            if flags.valid is not None:
                valid = _over_units(flags.valid[t], c_t)
                h_t = jnp.where(valid, h_t, h_before)
                c_t = jnp.where(valid, c_t, c_before)
            h[...], c[...], hs[t] = h_t, c_t, h_t

        for_each_step(args, args.reverse, step)

    kept = (sequence(args, 4 * units, z.dtype), sequence(args, units, c.dtype))
    return call(
        args,
        args.reverse,
        kernel,
        (z, w_h, h, c, _columns(flags)),
        (sequence(args, units, h.dtype), h, c, kept if keep else None),
    )


@functools.partial(jax.jit, static_argnames="args")
def backward_kernel(
    args: KernelArgs,
    w_h: Array,
    gates: Array,
    c_before: Array,
    flags: Flagged,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    """The gradients of all z and of the first h and c, given those of the results."""
    units = args.layout.units

    def kernel(
        w_h_transposed: Ref,
        gates: Ref,
        c_before: Ref,
        flags: Flagged,
        cotangents: tuple[Ref, Ref, Ref],
        dz: Ref,
        dh: Ref,
        dc: Ref,
    ) -> None:
        dhs, dh_last, dc_last = cotangents

        @pl.when(pl.program_id(0) == 0)
        def begin() -> None:
            dh[...] = dh_last[...]
            dc[...] = dc_last[...]

        def step(t: Array) -> None:
            c_t, dc_next = c_before[t], dc[...]
            i, f, g, o = _by_gate(gates[t].astype(c_t.dtype), units)
            tanh_c = jnp.tanh(f * c_t + i * g)
            dh_t = dh[...] + dhs[t].astype(c_t.dtype)
            dc_t = dc_next + dh_t * o * (1 - tanh_c * tanh_c)
            dz_t = (
                dc_t * g * i * (1 - i),
                dc_t * c_t * f * (1 - f),
                dc_t * i * (1 - g * g),
                dh_t * tanh_c * o * (1 - o),
            )
            valid = None
            if flags.valid is not None:
                valid = _over_units(flags.valid[t], c_t)
                dz_t = [jnp.where(valid, one, jnp.zeros_like(one)) for one in dz_t]
            _write_gates(dz, t, dz_t, units)
            dh_t_before = _product(args, dz[t], w_h_transposed[...])
            dc_t_before = dc_t * f
            if flags.resets is not None:
                resets = _over_units(flags.resets[t], c_t)
                zero = jnp.zeros_like(c_t)
                dh_t_before = jnp.where(resets, zero, dh_t_before)
                dc_t_before = jnp.where(resets, zero, dc_t_before)
            if valid is not None:
                dh_t_before = jnp.where(valid, dh_t_before, dh_t)
                dc_t_before = jnp.where(valid, dc_t_before, dc_next)
            dh[...], dc[...] = dh_t_before, dc_t_before

        for_each_step(args, not args.reverse, step)

    dhs, dh, dc = cotangents
    cotangents = (dhs, dh.astype(dc.dtype), dc)
    return call(
        args,
        not args.reverse,
        kernel,
        (w_h.T, gates, c_before, _columns(flags), cotangents),
        (sequence(args, 4 * units, gates.dtype), dc, dc),
    )


def _product(args: KernelArgs, a: Array, b: Array) -> Array:
    return jax.lax.dot(
        a.astype(b.dtype),
        b,
        precision=args.precision,
        preferred_element_type=jnp.float32,
    )


def _sigmoid(x: Array) -> Array:
    """As one tanh: the unit for such functions has it as one instruction."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _by_gate(a: Array, units: int) -> list[Array]:
    return [a[:, n * units : (n + 1) * units] for n in range(len(GATES))]


def _write_gates(ref: Ref, t: Array, gates: Sequence[Array], units: int) -> None:
    for n, gate in enumerate(gates):
        ref[t, :, n * units : (n + 1) * units] = gate.astype(ref.dtype)


def _columns(flags: Flagged) -> Flagged:
    """[T, B, 1] of 32 bits, as registers hold them."""
    return jax.tree.map(lambda a: a[..., None].astype(jnp.int32), flags)


def _over_units(flags: Array, like: Array) -> Array:
    """Flags of the rows [B, 1], for every unit of them."""
    return jnp.broadcast_to(flags, like.shape) != 0
