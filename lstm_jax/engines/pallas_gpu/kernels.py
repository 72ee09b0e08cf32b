"""Two kernels for a Hopper GPU, written in Pallas: all steps forward, and all back.

`layout.py` has the picture and the equations. The arithmetic is that of `fused.py`; the
forward kernel keeps the opened gates and the c that each step began with. A step is a
chain of waits, so what no other block waits for is done while this one waits: bringing
the inputs of the next step, and taking away what is kept.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lstm_jax.cells.lstm import GATES
from lstm_jax.engines.pallas_gpu.blocks import (
    Ref,
    bring_gates,
    call,
    columns_of_blocks,
    keep_gates,
    load,
    load_gates,
    multiply,
    over_units,
    place,
    rows_of_blocks,
    store_gates,
    turn_back,
    write,
)
from lstm_jax.engines.pallas_gpu.exchange import board_shape, exchange
from lstm_jax.engines.pallas_gpu.layout import (
    KernelArgs,
    backward_memory,
    forward_memory,
)

Kept = tuple[Array, Array]
State = tuple[Array, Array]
_PAUSES, _STARTS = 0.0, 2.0  # flags of a step: the state stays; it starts from zero


@functools.partial(jax.jit, static_argnames=("args", "keep"))
def forward_kernel(
    args: KernelArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Array | None,
    keep: bool,
) -> tuple[Array, Array, Array, Kept | None]:
    """All h, the last h and c; if `keep`, the gates and the c each step began with.

    Args:
        args: what is known while it is traced.
        z: the inputs' share of the gates [T, B, 4H].
        w_h: recurrent weights [H, 4H], in the type of the factors.
        h: the first state [B, H], in that type.
        c: and its cells [B, H], float32.
        flags: [T, B] or None: 0 where a step leaves the state alone, 1 where it goes
            on from it, 2 where it starts from zero.
        keep: whether there will be a gradient.
    """
    sizes, steps = args.layout, args.steps
    chunks = sizes.chunks(w_h.dtype)

    def kernel(
        z: Ref,
        w: Ref,
        h_first: Ref,
        c_first: Ref,
        flags: Ref | None,
        hs: Ref,
        c_last: Ref,
        kept: tuple[Ref, Ref] | None,
        /,
        **m: Ref,
    ) -> None:
        at = place(sizes)
        others = exchange(args, at, m)

        def time(n: Array | int) -> Array | int:
            return steps - 1 - n if args.reverse else n

        def bring(n: Array | int) -> None:
            """What step n reads besides h."""
            t = time(n)
            bring_gates(z, t, at, m["z"], m["z_there"])
            if flags is not None:
                plgpu.copy_gmem_to_smem(flags.at[t, at.rows], m["flags"], m["z_there"])

        def begin() -> State:
            for n in range(chunks):
                plgpu.copy_gmem_to_smem(w.at[at.block, n], m["w"].at[n], m["begun"])
            mine = at.rows, at.units
            plgpu.copy_gmem_to_smem(c_first.at[mine], m["own_c"], m["begun"])
            plgpu.copy_gmem_to_smem(h_first.at[mine], m["own_h"], m["begun"])
            plgpu.copy_gmem_to_smem(h_first.at[at.rows], m["h"].at[0], m["h_there"])
            bring(0)
            plgpu.barrier_wait(m["begun"])
            state = load(sizes, m["own_h"]), load(sizes, m["own_c"])
            others.begin(m["h_there"])
            return state

        def step(n: Array, state: State) -> State:
            h, c = state
            t = time(n)
            multiply(
                sizes,
                m["w"],
                others.all_h(n),
                len(GATES) * sizes.own,
                lambda _, sums: turn_back(m["sums"], sums),
            )
            plgpu.commit_smem()
            sums = load_gates(sizes, m["sums"])
            plgpu.barrier_wait(m["z_there"])
            flag, c_before = None, c
            if flags is not None:
                flag = load(sizes, m["flags"])
                c_before, *sums = (_unless_it_starts(flag, a) for a in (c, *sums))
            z_t = [load(sizes, m["z"].at[q]) + each for q, each in enumerate(sums)]
            i, f, o = (_sigmoid(z_t[q]) for q in (0, 1, 3))
            g = jnp.tanh(z_t[2])
            c_t = f * c_before + i * g
            h_t = o * jnp.tanh(c_t)
            if flag is not None:
                c_t = jnp.where(flag == _PAUSES, c, c_t)
                h_t = jnp.where(flag == _PAUSES, h, h_t)
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)
            m["own_h"][...] = h_t.astype(m["own_h"].dtype)
            plgpu.commit_smem()
            others.tell_h(n)
            plgpu.copy_smem_to_gmem(m["own_h"], hs.at[t, at.rows, at.units])
            others.h_is_written(n)

            @pl.when(n + 1 < steps)
            def meanwhile() -> None:
                bring(n + 1)

            if kept is not None:
                store_gates(m["gates"], (i, f, g, o))
                m["own_c"][...] = c_before
                plgpu.commit_smem()
                keep_gates(m["gates"], kept[0], t, at)
                plgpu.copy_smem_to_gmem(m["own_c"], kept[1].at[t, at.rows, at.units])
            others.gather_h(n, hs.at[t, at.rows])
            return h_t, c_t

        _, c = jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps), step, begin())
        plgpu.wait_smem_to_gmem(0)
        m["own_c"][...] = c
        write(m["own_c"], c_last.at[at.rows, at.units])

    by_gate = z.reshape(*z.shape[:2], len(GATES), sizes.units)
    hs = jax.ShapeDtypeStruct((steps, *h.shape), h.dtype)
    cs = jax.ShapeDtypeStruct((steps, *c.shape), c.dtype)
    kept = jax.ShapeDtypeStruct(by_gate.shape, z.dtype), cs
    hs, c_last, kept = call(
        args,
        kernel,
        (
            by_gate,
            columns_of_blocks(sizes, w_h, chunks),
            h,
            c,
            over_units(sizes, flags, z.dtype),
        ),
        (hs, jax.ShapeDtypeStruct(c.shape, c.dtype), kept if keep else None),
        forward_memory(args, w_h.dtype, z.dtype, keep, flags is not None),
    )
    if keep:
        kept = kept[0].reshape(z.shape), kept[1]
    return hs, hs[0 if args.reverse else -1], c_last, kept


@functools.partial(jax.jit, static_argnames="args")
def backward_kernel(
    args: KernelArgs,
    w_h: Array,
    gates: Array,
    c_before: Array,
    flags: Array | None,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    """The gradients of all z and of the first h and c, given those of the results.

    Args:
        args: what is known while it is traced.
        w_h: recurrent weights [H, 4H], in the type of the factors.
        gates: opened [T, B, 4H].
        c_before: the c that each step began with [T, B, H], float32.
        flags: [T, B] or None.
        cotangents: those of all h [T, B, H], in the type of the factors, and of the
            last h and c [B, H], float32.

    Returns:
        dz [T, B, 4H] in the type of the factors, dh and dc [B, H] in float32.
    """
    sizes, steps = args.layout, args.steps

    def kernel(
        w: Ref,
        gates: Ref,
        c_before: Ref,
        flags: Ref | None,
        cotangents: tuple[Ref, Ref, Ref],
        dz: Ref,
        dh_first: Ref,
        dc_first: Ref,
        board: Ref,
        /,
        **m: Ref,
    ) -> None:
        at = place(sizes)
        others = exchange(args, at, m, board)
        dhs, dh_last, dc_last = cotangents

        def time(n: Array | int) -> Array | int:
            return n if args.reverse else steps - 1 - n

        def bring(n: Array | int) -> None:
            """What step n reads besides the others' sums."""
            t, here = time(n), m["all_there"]
            mine = t, at.rows, at.units
            bring_gates(gates, t, at, m["gates"], here)
            plgpu.copy_gmem_to_smem(c_before.at[mine], m["c"], here)
            plgpu.copy_gmem_to_smem(dhs.at[mine], m["dh"], here)
            if flags is not None:
                plgpu.copy_gmem_to_smem(flags.at[t, at.rows], m["flags"], here)

        def first(source: Ref) -> Array:
            mine = source.at[at.rows, at.units]
            plgpu.copy_gmem_to_smem(mine, m["c"], m["state_there"])
            plgpu.barrier_wait(m["state_there"])
            value = load(sizes, m["c"])
            plgpu.commit_smem()
            return value

        def begin() -> State:
            plgpu.copy_gmem_to_smem(w.at[at.block, 0], m["w"].at[0], m["begun"])
            state = first(dh_last), first(dc_last)
            bring(0)
            plgpu.barrier_wait(m["begun"])
            others.begin()
            return state

        def step(n: Array, state: State) -> State:
            dh, dc_after = state
            t = time(n)
            plgpu.barrier_wait(m["all_there"])
            i, f, g, o = (load(sizes, m["gates"].at[q]) for q in range(len(GATES)))
            c = load(sizes, m["c"])
            dh = dh + load(sizes, m["dh"])
            tanh_c = jnp.tanh(f * c + i * g)
            dc = dc_after + dh * o * (1.0 - tanh_c * tanh_c)
            dz_t = [
                dc * g * i * (1.0 - i),
                dc * c * f * (1.0 - f),
                dc * i * (1.0 - g * g),
                dh * tanh_c * o * (1.0 - o),
            ]
            dc = dc * f
            flag = None
            if flags is not None:
                flag = load(sizes, m["flags"])
                dz_t = [jnp.where(flag == _PAUSES, 0.0, part) for part in dz_t]
                dc = _unless_it_starts(flag, dc)
                dc = jnp.where(flag == _PAUSES, dc_after, dc)
            dz_t = [part.astype(w_h.dtype) for part in dz_t]
            m["dz"][...] = jnp.concatenate(dz_t, axis=1)
            plgpu.commit_smem()
            tell = functools.partial(others.tell_sums, n)
            multiply(sizes, m["w"], m["dz"], sizes.piece, tell)
            others.sums_are_told(n)
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)
            store_gates(m["own_dz"], dz_t)
            plgpu.commit_smem()
            keep_gates(m["own_dz"], dz, t, at)

            @pl.when(n + 1 < steps)
            def meanwhile() -> None:
                bring(n + 1)

            dh_before = others.dh(n)
            if flag is not None:
                dh_before = _unless_it_starts(flag, dh_before)
                dh_before = jnp.where(flag == _PAUSES, dh, dh_before)
            return dh_before, dc

        dh, dc = jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps), step, begin())
        plgpu.wait_smem_to_gmem(0)
        for value, target in ((dh, dh_first), (dc, dc_first)):
            m["c"][...] = value
            write(m["c"], target.at[at.rows, at.units])

    by_gate = gates.reshape(steps, sizes.rows, len(GATES), sizes.units)
    state = jax.ShapeDtypeStruct((sizes.rows, sizes.units), jnp.float32)
    dz, dh, dc, _ = call(
        args,
        kernel,
        (
            rows_of_blocks(sizes, w_h),
            by_gate,
            c_before,
            over_units(sizes, flags, gates.dtype),
            cotangents,
        ),
        (
            jax.ShapeDtypeStruct(by_gate.shape, w_h.dtype),
            state,
            state,
            jax.ShapeDtypeStruct(board_shape(args), w_h.dtype),
        ),
        backward_memory(args, w_h.dtype, gates.dtype, flags is not None),
    )
    return dz.reshape(gates.shape), dh, dc


def _unless_it_starts(flag: Array, a: Array) -> Array:
    """An array, and zero where a step starts from zero: also of what is no number."""
    return jnp.where(flag == _STARTS, 0.0, a)


def _sigmoid(x: Array) -> Array:
    """As one tanh: the card has that as one instruction."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5
