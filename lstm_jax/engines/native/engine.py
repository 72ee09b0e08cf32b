"""The engine `native`: a kernel of this library's own in the place of XLA's loop.

    forward     z, w_h, h, c  -> hs, c           without a gradient
                              -> gates, cs too   where one will be asked for
    backward    gates, cs, dhs, dh, dc  ->  dz, dh, dc

The weight gradient, one large product over all steps, is XLA's. z is overwritten with
the gates and these with dz where nobody else needs them: fresh memory is dear.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.engines.fused import state_before
from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.ops.matmul import factor_dtype, weight_gradient
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights

_ALL_THREADS = 0


def unsupported_by_native(spec: RecurrenceSpec) -> str | None:
    """Why it can't run a request; None if it can, once it was built."""
    if spec.platform != "cpu":
        return f"runs on a CPU, not on {spec.platform}"
    if spec.dtype != "float32":
        return f"has float32 weights, not {spec.dtype}"
    return None


class StaticArgs(NamedTuple):
    """What is decided before tracing."""

    reverse: bool
    rounded: bool  # factors of products are rounded to bfloat16
    threads: int


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
    threads = _ALL_THREADS if len(jax.devices("cpu")) == 1 else 1
    static = StaticArgs(reverse, rounded, threads)
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
    shapes = (_states(z, h), h.shape)
    hs, c = _call(
        "lstm_jax_forward", shapes, static, z, w_h, h, c, *_masks(resets, valid)
    )
    return hs, _last(static, hs), c


def _forward(
    static: StaticArgs,
    z: Array,
    w_h: Array,
    h: Array,
    c: Array,
    resets: Array | None,
    valid: Array | None,
) -> tuple[tuple[Array, Array, Array], tuple]:
    states = _states(z, h)
    hs, c_last, gates, cs = _call(
        "lstm_jax_forward_keep",
        (states, h.shape, z.shape, states),
        static,
        *(z, w_h, h, c, *_masks(resets, valid)),
        overwritten={0: 2},
    )
    kept = (w_h, h, c, resets, valid, gates, hs, cs)
    return (hs, _last(static, hs), c_last), kept


def _backward(static: StaticArgs, residuals: tuple, cotangents: tuple) -> tuple:
    w_h, h, c, resets, valid, gates, hs, cs = residuals
    dz, dh, dc = _call(
        "lstm_jax_backward",
        (gates.shape, h.shape, c.shape),
        static,
        *(w_h, gates, cs, c, *cotangents, *_masks(resets, valid)),
        overwritten={1: 0},
    )
    h_before = state_before(h, hs, resets, static.reverse)
    factors = jnp.bfloat16 if static.rounded else w_h.dtype
    dw_h = weight_gradient(h_before, dz, w_h, factors)
    return dz, dw_h, dh, dc, None, None


_recur.defvjp(_forward, _backward)


def _call(
    target: str,
    shapes: tuple[tuple[int, ...], ...],
    static: StaticArgs,
    *operands: Array,
    overwritten: dict[int, int] | None = None,
) -> list[Array]:
    """Call a function of the library, for float32 results of these shapes.

    Args:
        target: its name.
        shapes: of the results.
        static: its attributes.
        operands: its arguments.
        overwritten: of an operand, the result that may take its memory.
    """
    call = jax.ffi.ffi_call(
        target,
        [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        input_output_aliases=overwritten,
        vmap_method="sequential",
    )
    results = call(
        *operands,
        reverse=static.reverse,
        rounded=static.rounded,
        threads=np.int64(static.threads),
    )
    # Under shard_map they vary over the devices over which the operands do; JAX can't
    # know that of a custom call.
    axes = frozenset[str]().union(*map(_varying, operands))
    return [
        jax.lax.pcast(each, tuple(axes - _varying(each)), to="varying")
        for each in results
    ]


def _varying(array: Array) -> frozenset[str]:
    """The axes of a mesh over which an array differs, inside shard_map."""
    return frozenset(jax.typeof(array).manual_axis_type.varying)


def _masks(*masks: Array | None) -> tuple[Array, ...]:
    """Masks as the library takes them: without elements where there are none."""
    return tuple(jnp.zeros((0, 0), bool) if m is None else m for m in masks)


def _states(z: Array, h: Array) -> tuple[int, ...]:
    return (z.shape[0], *h.shape)


def _last(static: StaticArgs, hs: Array) -> Array:
    return hs[0] if static.reverse else hs[-1]
