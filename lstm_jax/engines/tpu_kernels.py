"""Two kernels for a TPU, written in Pallas: all steps forward, and all steps back.

A kernel is called once for every block of time steps, in the order of the walk. The
blocks of the sequences change from call to call; w_h and the state have one block for
all, which therefore stays in VMEM. The last state is at once where the kernel keeps
the state: it is written to HBM after the last call. See `vmem.py` for the sizes.

The arithmetic is that of `fused.py`: the forward kernel keeps the opened gates, and
here also the c that each step began with, from which and the gates the backward kernel
makes c again. The weight gradient is one product after the loop.

Time steps that fill no block are a shorter last one: what lies beyond is not visited.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.typing import DTypeLike

from lstm_jax.cell import GATES
from lstm_jax.engines.vmem import Layout

Ref = Any  # an array in VMEM that is read and written by index


class Walk(NamedTuple):
    """What is known of a recurrence while it is traced."""

    layout: Layout
    steps: int
    reverse: bool
    precision: jax.lax.Precision
    interpret: bool


class Flagged(NamedTuple):
    """Rows by step: where a sequence starts, which are valid; [T, B] or None."""

    starts: Any
    valid: Any


@functools.partial(jax.jit, static_argnames=("walk", "keep"))
def walk_forward(
    walk: Walk,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Flagged,
    keep: bool,
) -> tuple[Array, Array, Array, tuple[Array, Array] | None]:
    """All h, the last h and c; if `keep`, the gates and the c each step began with."""
    units = walk.layout.units

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
            if flags.starts is not None:
                starts = _over_units(flags.starts[t], c_t)
                h_t = jnp.where(starts, jnp.zeros_like(h_t), h_t)
                c_t = jnp.where(starts, jnp.zeros_like(c_t), c_t)
            if kept is not None:
                kept[1][t] = c_t
            z_t = z[t].astype(c_t.dtype) + _product(walk, h_t, w_h[...])
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

        _for_each_step(walk, walk.reverse, step)

    kept = (_sequence(walk, 4 * units, z.dtype), _sequence(walk, units, c.dtype))
    return _call(
        walk,
        walk.reverse,
        kernel,
        (z, w_h, h, c, _columns(flags)),
        (_sequence(walk, units, h.dtype), h, c, kept if keep else None),
    )


@functools.partial(jax.jit, static_argnames="walk")
def walk_back(
    walk: Walk,
    w_h: Array,
    gates: Array,
    c_before: Array,
    flags: Flagged,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    """The gradients of all z and of the first h and c, given those of the results."""
    units = walk.layout.units

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
            dh_t_before = _product(walk, dz[t], w_h_transposed[...])
            dc_t_before = dc_t * f
            if flags.starts is not None:
                starts = _over_units(flags.starts[t], c_t)
                zero = jnp.zeros_like(c_t)
                dh_t_before = jnp.where(starts, zero, dh_t_before)
                dc_t_before = jnp.where(starts, zero, dc_t_before)
            if valid is not None:
                dh_t_before = jnp.where(valid, dh_t_before, dh_t)
                dc_t_before = jnp.where(valid, dc_t_before, dc_next)
            dh[...], dc[...] = dh_t_before, dc_t_before

        _for_each_step(walk, not walk.reverse, step)

    dhs, dh, dc = cotangents
    cotangents = (dhs, dh.astype(dc.dtype), dc)
    return _call(
        walk,
        not walk.reverse,
        kernel,
        (w_h.T, gates, c_before, _columns(flags), cotangents),
        (_sequence(walk, 4 * units, gates.dtype), dc, dc),
    )


def _call(
    walk: Walk,
    backwards: bool,
    kernel: Callable[..., None],
    inputs: Any,  # noqa: ANN401 - trees of arrays; None is one without leaves
    outputs: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Call a kernel block by block; arrays [T, ...] are sequences, others stay."""
    blocks = pl.cdiv(walk.steps, walk.layout.block)

    def spec(a: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
        def place(n: Array) -> tuple[Array, ...]:
            zero = jnp.int32(0)  # a plain 0 has 64 bits where those are enabled
            if a.ndim < 3:
                return zero, zero
            return blocks - 1 - n if backwards else n, zero, zero

        shape = a.shape if a.ndim < 3 else (walk.layout.block, *a.shape[1:])
        return pl.BlockSpec(shape, place)

    def once(a: Array) -> pl.BlockSpec:
        """What stays is moved once, and needs no second copy to be moved into."""
        whole = a.ndim < 3
        return dataclasses.replace(
            spec(a), pipeline_mode=pl.Buffered(1) if whole else None
        )

    axes = jax.typeof(inputs[0]).manual_axis_type
    return pl.pallas_call(
        kernel,
        grid=(blocks,),
        in_specs=jax.tree.map(once, inputs),
        out_specs=jax.tree.map(spec, outputs),
        out_shape=jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, manual_axis_type=axes),
            outputs,
        ),
        cost_estimate=_cost(walk, inputs, outputs),
        compiler_params=pltpu.CompilerParams(vmem_limit_bytes=walk.layout.needed),
        interpret=walk.interpret,
    )(*inputs)


def _cost(walk: Walk, inputs: Any, outputs: Any) -> pl.CostEstimate:  # noqa: ANN401
    """What XLA is told, which can't look inside."""
    arrays = jax.tree.leaves((inputs, outputs))
    units_in_all = walk.steps * walk.layout.rows * walk.layout.units
    return pl.CostEstimate(
        flops=2 * len(GATES) * walk.layout.units * units_in_all,
        transcendentals=(len(GATES) + 1) * units_in_all,
        bytes_accessed=sum(a.size * a.dtype.itemsize for a in arrays),
    )


def _for_each_step(walk: Walk, backwards: bool, step: Callable[[Array], None]) -> None:
    """The steps of the block at hand, in the order of the walk."""
    n = pl.program_id(0)
    block = pl.num_programs(0) - 1 - n if backwards else n
    count = jnp.minimum(walk.layout.block, walk.steps - block * walk.layout.block)

    def one(n: Array, _: None) -> None:
        step(count - 1 - n if backwards else n)

    jax.lax.fori_loop(jnp.int32(0), count, one, None)


def _product(walk: Walk, a: Array, b: Array) -> Array:
    return jax.lax.dot(
        a.astype(b.dtype),
        b,
        precision=walk.precision,
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


def _sequence(walk: Walk, width: int, dtype: DTypeLike) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((walk.steps, walk.layout.rows, width), dtype)
