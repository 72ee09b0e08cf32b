"""The kernel's functions as operations of JAX.

XLA cannot look into a custom call. Where rows may lie on several devices it is told
how to divide one: by rows alone, and each device then calls for its own. In an exported
program the loops of `fused` are in its place.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_batching import sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from lstm_jax.engines import fused
from lstm_jax.engines.lowering import unless_exported
from lstm_jax.engines.opaque import varying_as

Arrays = tuple[Array, ...]
Shapes = tuple[tuple[int, ...], ...]
# The axes of each operand and result: b is that of the rows.
_FORWARD = ("t b g", "h g", "b h", "b h"), ("t b h", "b h")
_KEPT = ("t b g", "t b h")
_BACKWARD = (
    ("h g", "t b g", "t b h", "b h", "t b h", "b h", "b h"),
    ("t b g", "b h", "b h"),
)


class CallOptions(NamedTuple):
    """The attributes of a call.

    Attributes:
        reverse: walk from the last step to the first.
        rounded: factors of products are rounded to bfloat16.
        threads: over how many threads of XLA's pool to divide the rows; 0: all.
    """

    reverse: bool
    rounded: bool
    threads: int


def call_forward(
    options: CallOptions, keep: bool, spread: bool, *operands: Array
) -> Arrays:
    """Make every h and the last c; the opened gates and every c too, to `keep`.

    Args:
        options: of the call.
        keep: whether there will be a gradient; z's memory is then that of the gates.
        spread: whether XLA may have spread the rows over devices.
        operands: z, w_h, h, c, and the masks.
    """
    inputs, outputs = _FORWARD
    outputs = (*outputs, *_KEPT) if keep else outputs
    return _dividing(_forward, (options, keep), inputs, outputs, operands, spread)


def call_backward(options: CallOptions, spread: bool, *operands: Array) -> Arrays:
    """Make the gradients of z and of the first h and c; dz in the gates' memory.

    Args:
        options: of the call.
        spread: whether XLA may have spread the rows over devices.
        operands: w_h, gates, every c, the first c, the gradients of every h, of the
            last h and of the last c, and the masks.
    """
    return _dividing(_backward, (options,), *_BACKWARD, operands, spread)


def _forward(options: CallOptions, keep: bool, *operands: Array) -> Arrays:
    shapes = _forward_shapes(keep, operands)
    if keep:
        return _call("lstm_jax_forward_keep", options, shapes, {0: 2}, *operands)
    return _call("lstm_jax_forward", options, shapes, None, *operands)


def _forward_shapes(keep: bool, operands: Arrays) -> Shapes:
    z, _, h, *_ = operands
    states = (len(z), *h.shape)
    return (states, h.shape, z.shape, states) if keep else (states, h.shape)


def _backward(options: CallOptions, *operands: Array) -> Arrays:
    shapes = _backward_shapes(operands)
    return _call("lstm_jax_backward", options, shapes, {1: 0}, *operands)


def _backward_shapes(operands: Arrays) -> Shapes:
    _, gates, _, c, *_ = operands
    return gates.shape, c.shape, c.shape


def _call(
    target: str,
    options: CallOptions,
    shapes: Shapes,
    overwritten: dict[int, int] | None,
    *operands: Array,
) -> Arrays:
    """Call a function of the library, for float32 results of these shapes.

    Args:
        target: its name.
        options: its attributes.
        shapes: of the results.
        overwritten: of an operand, the result that may take its memory.
        operands: its arguments.
    """
    results = jax.ffi.ffi_call(
        target,
        [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes],
        input_output_aliases=overwritten,
        vmap_method="sequential",
    )(
        *operands,
        reverse=options.reverse,
        rounded=options.rounded,
        threads=np.int64(options.threads),
    )
    return tuple(results)


def _dividing(
    call: Callable[..., Arrays],
    static: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    operands: Arrays,
    spread: bool,
) -> Arrays:
    """The results of a call, on all devices over which the rows are spread."""
    function = functools.partial(_unless_exported, call, static)
    if spread:
        masks = tuple("t b" if each.size else "none nil" for each in operands[-2:])
        function = _divided(call, static, (*inputs, *masks), outputs)
    called = jax.custom_jvp(function)
    called.defjvp(functools.partial(_differentiate, call, static))
    return called(*operands)


def _unless_exported(
    call: Callable[..., Arrays], static: tuple[Any, ...], *operands: Array
) -> Arrays:
    """The results of a call on one device; in an exported program, of its equal."""
    if call is _backward:
        shapes = _backward_shapes(operands)
    else:
        shapes = _forward_shapes(static[1], operands)
    results = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    equal = _fused_backward if call is _backward else _fused_forward
    made = unless_exported(call, equal, static, results, operands)
    return varying_as(operands, made)


def _differentiate(
    call: Callable[..., Arrays],
    static: tuple[Any, ...],
    primals: Arrays,
    tangents: Arrays,
) -> tuple[Arrays, Arrays]:
    """The derivative of a call, which XLA can't look into: that of its equal.

    A first gradient has no need of it, for the calls are its own. A second one has,
    and then the loops of `fused` are in their place.
    """
    options, *keep = static
    equal = _fused_backward if call is _backward else _fused_forward
    return jax.jvp(functools.partial(equal, options, *keep), primals, tangents)


def _fused_forward(options: CallOptions, keep: bool, *operands: Array) -> Arrays:
    z, w_h, h, c, *masks = operands
    last, all_of_them = fused.forward_loop(
        _fused_args(options), z, w_h, h, c, *map(_mask_or_none, masks), keep=True
    )
    hs, gates, cs = all_of_them
    return (hs, last[1], gates, cs) if keep else (hs, last[1])


def _fused_backward(options: CallOptions, *operands: Array) -> Arrays:
    *others, resets, valid = operands
    masks = map(_mask_or_none, (resets, valid))
    return fused.backward_loop(_fused_args(options), *others, *masks)


def _fused_args(options: CallOptions) -> fused.StaticArgs:
    factors = jnp.bfloat16 if options.rounded else jnp.float32
    return fused.StaticArgs(options.reverse, factors)


def _mask_or_none(mask: Array) -> Array | None:
    return mask if mask.size else None


@functools.cache
def _divided(
    call: Callable[..., Arrays],
    static: tuple[Any, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
) -> Callable[..., Arrays]:
    """A call that XLA may divide by rows."""
    local = functools.partial(_unless_exported, call, static)
    function = custom_partitioning(lambda *operands: local(*operands))
    names = inputs[0].split() if "b" in inputs[0] else inputs[1].split()
    first = 0 if "b" in inputs[0] else 1

    def partition(mesh: Any, arguments: Any, results: Any) -> tuple:  # noqa: ANN401
        rows = arguments[first].sharding.spec[names.index("b")]

        def places(axes: tuple[str, ...]) -> tuple[NamedSharding, ...]:
            specs = [
                PartitionSpec(*(rows if axis == "b" else None for axis in each.split()))
                for each in axes
            ]
            return tuple(NamedSharding(mesh, spec) for spec in specs)

        return mesh, local, places(outputs), places(inputs)

    rule = f"{', '.join(inputs)} -> {', '.join(outputs)}"
    function.def_partition(partition, sharding_rule=rule)
    return sequential_vmap(function)
