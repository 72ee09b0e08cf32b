"""NVIDIA's kernel: the whole recurrence as one cuDNN call, and its gradient another.

It goes through `jax.experimental.rnn`, whose kernel is batch-major, takes the weights
in one vector (w_xᵀ, w_hᵀ and the bias in two parts, gates in our order i, f, g, o) and
lengths of at least 1. The arithmetic is full float32: `Precision.HIGHEST`, where
cuDNN by itself would round the factors to TF32, ten bits.

What the kernel has not is refused, never approximated: other types, resets, `vmap`,
forward mode and second derivatives, and `shard_map` with `check_vma`, which it
knows nothing about. XLA can't divide the call: with `jax.jit`, a batch spread over
devices is gathered on each.
"""

from typing import NoReturn

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap
from jax.experimental import rnn
from jax.experimental.layout import Layout, with_layout_constraint

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.typing import Flags, Hidden, Inputs

_ORDER = Layout(major_to_minor=(0, 1, 2))


def unsupported_by_cudnn(spec: RecurrenceSpec) -> str | None:
    """What the kernel lacks for a request."""
    lacks = [
        (needed, found)
        for needed, found, holds in (
            ("a CUDA device", spec.platform, spec.platform == "cuda"),
            ("float32", spec.dtype, spec.dtype == "float32"),
            ("one sequence per row", "resets", not spec.resets),
            ("lengths", "a mask", not spec.mask),
            ("the inputs", "only their share of the gates", spec.inputs),
        )
        if not holds
    ]
    if not lacks:
        return None
    needs, finds = (", ".join(words) for words in zip(*lacks, strict=True))
    return f"needs {needs}; found {finds}"


def run_cudnn(
    xs: Inputs,
    params: LSTMParams,
    state: LSTMState,
    resets: None,
    valid: Flags | None,
    reverse: bool,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence; see `lstm_jax.engines` for the arguments.

    The kernel refuses a row of length 0. Such a row is run for one step, on the zeros
    of the padding, and what comes of that is thrown away: nothing depends on it.
    """
    if valid is None:
        lengths = jnp.full(xs.shape[1], len(xs), jnp.int32)
    else:
        lengths = jnp.maximum(valid.sum(axis=0, dtype=jnp.int32), 1)
    xs = _flip(xs, lengths) if reverse else xs
    params, xs, before = _refuse_transformations((params, xs, state))
    b = jnp.zeros_like(params.w_h[0]) if params.b is None else params.b
    weights = [params.w_x.T.ravel(), params.w_h.T.ravel(), b, jnp.zeros_like(b)]
    hs, h, c = rnn.lstm(
        _in_order(xs.swapaxes(0, 1)),
        before.h[None],
        before.c[None],
        jnp.concatenate(weights),
        lengths,
        xs.shape[-1],
        len(params.w_h),
        1,  # layers
        0.0,  # dropout
        False,  # bidirectional
        jax.lax.Precision.HIGHEST,
    )
    after = LSTMState(h=h[0], c=c[0])
    hs = _in_order(hs).swapaxes(0, 1)
    hs = _flip(hs, lengths) if reverse else hs
    if valid is not None:
        some = valid.any(axis=0)[:, None]
        after = jax.tree.map(lambda a, b: jnp.where(some, a, b), after, state)
    return hs, after


@jax.custom_vjp
def _in_order(x: Array) -> Array:
    """Lay out x [B, T, N], and its cotangent, in the order of the axes.

    `jax.experimental.rnn` says nothing about memory. XLA may then hand its kernel what
    lies time-major, as our arrays do, and the kernel would read it as batch-major
    (github.com/jax-ml/jax/issues/19177).
    """
    return with_layout_constraint(x, _ORDER)


_in_order.defvjp(
    lambda x: (_in_order(x), None),
    lambda _, cotangent: (with_layout_constraint(cotangent, _ORDER),),
)


def _flip(xs: Array, lengths: Array) -> Array:
    """Every row's steps in the opposite order, those beyond its length left alone."""
    t = jnp.arange(len(xs), dtype=jnp.int32)[:, None]
    source = jnp.where(t < lengths, lengths - 1 - t, t)
    return jnp.take_along_axis(xs, source[..., None], axis=0)


Operands = tuple[LSTMParams, Array, LSTMState]


@jax.custom_vjp
def _refuse_transformations(operands: Operands) -> Operands:
    """Nothing, except that what the kernel can't stand fails here, with a reason."""
    for leaf in jax.tree.leaves(operands):
        if jax.typeof(leaf).manual_axis_type.varying:
            raise ValueError(
                "engine 'cudnn': expected shard_map with check_vma=False, found "
                "check_vma=True; engines that can: fused, scan"
            )
    return _refuse_vmap(operands)


@custom_vmap
def _refuse_vmap(operands: Operands) -> Operands:
    return operands


@_refuse_vmap.def_vmap
def _refuse(*_: object) -> NoReturn:
    raise ValueError(
        "engine 'cudnn': expected no vmap, found one; engines that can: fused, scan"
    )


_refuse_transformations.defvjp(
    lambda operands: (_refuse_transformations(operands), None),
    lambda _, cotangents: (cotangents,),
)
