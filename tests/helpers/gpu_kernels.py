"""The two kernels of the engine `pallas_gpu` as loops of `jax.numpy`: what they mean.

They stand in for the kernels where those can't run, and the kernels are held to them in
Pallas's interpreter.
"""

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.engines.pallas_gpu.layout import KernelArgs

Kept = tuple[Array, Array]


def forward_kernel(
    args: KernelArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    flags: Array | None,
    keep: bool,
) -> tuple[Array, Array, Array, Kept | None]:
    """Every h, the last h and c; the opened gates and the c that each step began with.

    Args:
        args: what is known while it is traced.
        z: [T, B, 4H].
        w_h: [H, 4H], of the type in which matrices are multiplied.
        h: [B, H], of that type.
        c: [B, H], float32.
        flags: [T, B] or None: 0 where a step leaves the state alone, 1 where it goes
            on from it, 2 where it starts from zero.
        keep: whether there will be a gradient.
    """

    def step(state: tuple[Array, Array], now: tuple) -> tuple[tuple, tuple]:
        z_t, flag = now
        h, c = (jnp.where(flag == 2, 0, a) for a in state)
        z_t = z_t.astype(jnp.float32) + _product(h, w_h)
        z_i, z_f, z_g, z_o = jnp.split(z_t, 4, axis=-1)
        i, f, o = map(jax.nn.sigmoid, (z_i, z_f, z_o))
        gates = jnp.concatenate([i, f, jnp.tanh(z_g), o], -1).astype(z.dtype)
        c_next = f * c + i * jnp.tanh(z_g)
        h_next = (o * jnp.tanh(c_next)).astype(h.dtype)
        after = jnp.where(flag, h_next, state[0]), jnp.where(flag, c_next, state[1])
        return after, (after[0], gates, c)

    _check(args, z, w_h, h, c)
    sequences = z, _of_rows(z, flags)
    (h, c), (hs, *kept) = jax.lax.scan(step, (h, c), sequences, reverse=args.reverse)
    return hs, h, c, (kept[0], kept[1]) if keep else None


def backward_kernel(
    args: KernelArgs,
    w_h: Array,
    gates: Array,
    c_before: Array,
    flags: Array | None,
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array]:
    """The gradients of z [T, B, 4H], in the type of w_h, and of the first h and c.

    Args:
        args: what is known while it is traced.
        w_h: [H, 4H].
        gates: opened [T, B, 4H].
        c_before: the c that each step began with [T, B, H], float32.
        flags: [T, B] or None.
        cotangents: those of every h [T, B, H], in the type of w_h, and of the last h
            and c [B, H], float32.
    """

    def step(after: tuple[Array, Array], now: tuple) -> tuple[tuple, Array]:
        gates, c_before, flag, dh_t = now
        i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
        dh = after[0] + dh_t.astype(jnp.float32)
        tanh_c = jnp.tanh(f * c_before + i * g)
        dc = after[1] + dh * o * (1 - tanh_c**2)
        dz = [
            dc * g * i * (1 - i),
            dc * c_before * f * (1 - f),
            dc * i * (1 - g**2),
            dh * tanh_c * o * (1 - o),
        ]
        dz = jnp.where(flag, jnp.concatenate(dz, -1), 0).astype(w_h.dtype)
        before = (
            jnp.where(flag == 1, _product(dz, w_h.T), jnp.where(flag == 0, dh, 0)),
            jnp.where(flag == 1, dc * f, jnp.where(flag == 0, after[1], 0)),
        )
        return before, dz

    dhs, dh, dc = cotangents
    _check(args, gates, w_h, dhs[0], dh, dc, c_before[0])
    sequences = gates, c_before, _of_rows(gates, flags), dhs
    (dh, dc), dz = jax.lax.scan(step, (dh, dc), sequences, reverse=not args.reverse)
    return dz, dh, dc


def _product(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _of_rows(like: Array, flags: Array | None) -> Array:
    """Flags [T, B, 1]; where there are none, every step goes on."""
    if flags is None:
        return jnp.ones((*like.shape[:2], 1), jnp.int32)
    assert flags.dtype == jnp.int32
    return flags[..., None]


def _check(
    args: KernelArgs, z: Array, w_h: Array, factors: Array, *exact: Array
) -> None:
    """The sizes and types that kernels rely on."""
    rows, units = args.layout.rows, args.layout.units
    assert rows % args.layout.group == 0 and units % args.layout.blocks == 0
    assert z.shape == (args.steps, rows, 4 * units) and w_h.shape == (units, 4 * units)
    assert factors.dtype == w_h.dtype and z.dtype in (w_h.dtype, jnp.float32)
    for array in (factors, *exact):
        assert array.shape == (rows, units)
    assert {array.dtype.name for array in exact} == {"float32"}
