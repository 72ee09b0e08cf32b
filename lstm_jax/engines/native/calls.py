"""The kernel's functions as operations of JAX.

XLA cannot look into a custom call. Where rows may lie on several devices it is told
how to divide one: by rows alone, and each device then calls for its own. In an exported
program the loops of `fused` are in its place.
"""

import functools
import hashlib
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
from lstm_jax.engines.native.build import fingerprint
from lstm_jax.engines.opaque import varying_as
from lstm_jax.engines.spec import inside_shard_map

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


def call_options(reverse: bool, rounded: bool) -> CallOptions:
    """The attributes of a call: it has all threads, or one inside `shard_map`.

    Where XLA divides it over devices, each of them has one.

    Args:
        reverse: walk from the last step to the first.
        rounded: factors of products are rounded to bfloat16.
    """
    threads = _threads_of_a_device() if inside_shard_map() else 0
    return CallOptions(reverse, rounded, threads)


def may_be_spread() -> bool:
    """Whether XLA may spread the rows over devices."""
    return len(jax.devices("cpu")) > 1 and not inside_shard_map()


def _threads_of_a_device() -> int:
    """One where devices of this process share its threads, or 0: all of them."""
    return 1 if jax.local_device_count("cpu") > 1 else 0


class Call(NamedTuple):
    """A function of the library.

    Attributes:
        run: to call it.
        equal: a function of the same results that JAX can differentiate.
        shapes: of the results, given the same arguments.
        inputs: the axes of each operand but the masks; b is that of the rows.
        outputs: the axes of each result.
    """

    run: Callable[..., Arrays]
    equal: Callable[..., Arrays]
    shapes: Callable[..., Shapes]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


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
    call = Call(_forward, _fused_forward, _forward_shapes, inputs, outputs)
    return dividing(call, (options, keep), operands, spread)


def call_backward(options: CallOptions, spread: bool, *operands: Array) -> Arrays:
    """Make the gradients of z and of the first h and c; dz in the gates' memory.

    Args:
        options: of the call.
        spread: whether XLA may have spread the rows over devices.
        operands: w_h, gates, every c, the first c, the gradients of every h, of the
            last h and of the last c, and the masks.
    """
    call = Call(_backward, _fused_backward, _backward_shapes, *_BACKWARD)
    return dividing(call, (options,), operands, spread)


def _forward(options: CallOptions, keep: bool, *operands: Array) -> Arrays:
    shapes = _forward_shapes(options, keep, *operands)
    if keep:
        return library_call("lstm_jax_forward_keep", options, shapes, {0: 2}, *operands)
    return library_call("lstm_jax_forward", options, shapes, None, *operands)


def _forward_shapes(_: CallOptions, keep: bool, *operands: Array) -> Shapes:
    z, _w_h, h, *_others = operands
    states = (len(z), *h.shape)
    return (states, h.shape, z.shape, states) if keep else (states, h.shape)


def _backward(options: CallOptions, *operands: Array) -> Arrays:
    shapes = _backward_shapes(options, *operands)
    return library_call("lstm_jax_backward", options, shapes, {1: 0}, *operands)


def _backward_shapes(_: CallOptions, *operands: Array) -> Shapes:
    _w_h, gates, _cs, c, *_others = operands
    return gates.shape, c.shape, c.shape


def library_call(
    target: str,
    options: CallOptions,
    shapes: Shapes,
    overwritten: dict[int, int] | None,
    *operands: Array,
    **attributes: bool,
) -> Arrays:
    """Call a function of the library, for float32 results of these shapes.

    Args:
        target: its name.
        options: its attributes.
        shapes: of the results.
        overwritten: of an operand, the result that may take its memory.
        operands: its arguments.
        attributes: more of them.
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
        **attributes,
    )
    return tuple(results)


def dividing(
    call: Call, static: tuple[Any, ...], operands: Arrays, spread: bool
) -> Arrays:
    """The results of a call, on all devices over which the rows are spread.

    Args:
        call: what to call.
        static: its first arguments, which are no arrays.
        operands: the others; where rows are spread, the last two are the masks.
        spread: whether XLA may have spread the rows over devices.
    """
    function = functools.partial(_unless_exported, call, static)
    if spread:
        masks = tuple("t b" if each.size else "none nil" for each in operands[-2:])
        function = _divided(call._replace(inputs=(*call.inputs, *masks)), static)
    called = jax.custom_jvp(function)
    called.defjvp(functools.partial(_differentiate, call, static))
    return called(*operands)


def _unless_exported(call: Call, static: tuple[Any, ...], *operands: Array) -> Arrays:
    """The results of a call on one device; in an exported program, of its equal."""
    shapes = call.shapes(*static, *operands)
    results = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    made = unless_exported(call.run, call.equal, static, results, operands)
    return varying_as(operands, made)


def _differentiate(
    call: Call, static: tuple[Any, ...], primals: Arrays, tangents: Arrays
) -> tuple[Arrays, Arrays]:
    """The derivative of a call, which XLA can't look into: that of its equal.

    A first gradient has no need of it, for the calls are its own. A second one has,
    and then the loops of `fused` are in their place.
    """

    def equal(*operands: Array) -> Arrays:
        return varying_as(operands, call.equal(*static, *operands))

    return jax.jvp(equal, primals, tangents)


def _fused_forward(options: CallOptions, keep: bool, *operands: Array) -> Arrays:
    z, w_h, h, c, *masks = operands
    last, all_of_them = fused.forward_loop(
        _fused_args(options), z, w_h, h, c, *map(mask_or_none, masks), keep=True
    )
    hs, gates, cs = all_of_them
    return (hs, last[1], gates, cs) if keep else (hs, last[1])


def _fused_backward(options: CallOptions, *operands: Array) -> Arrays:
    *others, resets, valid = operands
    masks = map(mask_or_none, (resets, valid))
    return fused.backward_loop(_fused_args(options), *others, *masks)


def _fused_args(options: CallOptions) -> fused.StaticArgs:
    factors = jnp.bfloat16 if options.rounded else jnp.float32
    return fused.StaticArgs(options.reverse, factors)


def masks_of(*masks: Array | None) -> Arrays:
    """Masks as the library takes them: without elements where there are none."""
    return tuple(jnp.zeros((0, 0), bool) if m is None else m for m in masks)


def mask_or_none(mask: Array) -> Array | None:
    """A mask as the loops of `fused` take it."""
    return mask if mask.size else None


def last_step(options: CallOptions, hs: Array) -> Array:
    """The h of the step that is walked last."""
    return hs[0] if options.reverse else hs[-1]


def _on_one_device(static: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first arguments of a call, for one of several devices."""
    threads = _threads_of_a_device()

    def alone(argument: Any) -> Any:  # noqa: ANN401
        if isinstance(argument, CallOptions):
            return argument._replace(threads=threads)
        if hasattr(argument, "options"):
            return argument._replace(options=argument.options._replace(threads=threads))
        return argument

    return tuple(map(alone, static))


@functools.cache
def _divided(call: Call, static: tuple[Any, ...]) -> Callable[..., Arrays]:
    """A call that XLA may divide by rows."""
    local = functools.partial(_unless_exported, call, static)
    function = custom_partitioning(lambda *operands: local(*operands))
    first, axis = next(
        (place, axes.split().index("b"))
        for place, axes in enumerate(call.inputs)
        if "b" in axes.split()
    )

    share = functools.partial(_unless_exported, call, _on_one_device(static))

    def partition(mesh: Any, arguments: Any, results: Any) -> tuple:  # noqa: ANN401
        rows = arguments[first].sharding.spec[axis]

        def places(axes: tuple[str, ...]) -> tuple[NamedSharding, ...]:
            specs = [
                PartitionSpec(*(rows if axis == "b" else None for axis in each.split()))
                for each in axes
            ]
            return tuple(NamedSharding(mesh, spec) for spec in specs)

        return mesh, share, places(call.outputs), places(call.inputs)

    rule = f"{', '.join(call.inputs)} -> {', '.join(call.outputs)}"
    function.def_partition(partition, sharding_rule=rule)
    return sequential_vmap(_named(function, call, static))


_library = functools.cache(fingerprint)  # it asks the compiler


def _named(
    function: Callable[..., Arrays], call: Call, static: tuple[Any, ...]
) -> Callable[..., Arrays]:
    """A function in whose name is all that makes it another one.

    Until XLA divides a call a program says no more of it than its shapes, and programs
    of one text are one program to the cache of compiled ones.
    """
    which = f"{call.run.__module__}.{call.run.__qualname__} {static} {_library()}"
    key = hashlib.sha256(which.encode()).hexdigest()[:16]

    def named(*operands: Array) -> Arrays:
        return function(*operands)

    named.__name__ = f"native_{key}"
    return jax.jit(named)
