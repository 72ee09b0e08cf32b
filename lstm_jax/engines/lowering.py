"""A choice that is made when a program is lowered, and not when it is traced.

`jax.export` refuses custom calls that only this library knows, and JAX traces a
function once for all that is done with it: what has been called is not traced again to
be exported, nor the other way round. So both ways are kept in the trace, as one
operation, and which one it is is decided where JAX says whether it exports.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.custom_batching import sequential_vmap
from jax.extend.core import Primitive
from jax.interpreters import mlir

Arrays = tuple[Array, ...]
Way = Callable[..., Arrays]  # of the static arguments and the operands

_choice = Primitive("lstm_jax_unless_exported")
_choice.multiple_results = True


def unless_exported(
    call: Way,
    equal: Way,
    static: tuple[Any, ...],
    results: tuple[jax.ShapeDtypeStruct, ...],
    operands: Arrays,
) -> Arrays:
    """Give what a custom call makes, and in an exported program what its equal makes.

    It has no derivative of its own. `vmap` repeats it.

    Args:
        call: makes custom calls.
        equal: makes the same without.
        static: the first arguments of both, hashable.
        results: the shapes and types of what both make.
        operands: their other arguments.
    """

    @sequential_vmap
    def bound(*operands: Array) -> Arrays:
        options = {"call": call, "equal": equal, "static": static, "results": results}
        return tuple(_choice.bind(*operands, **options))

    return bound(*operands)


@_choice.def_impl
def _run(*operands: Array, call: Way, static: tuple[Any, ...], **_: object) -> Arrays:
    return call(*static, *operands)


@_choice.def_abstract_eval
def _shapes(
    *_: object, results: tuple[jax.ShapeDtypeStruct, ...], **__: object
) -> list[jax.core.ShapedArray]:
    return [jax.core.ShapedArray(each.shape, each.dtype) for each in results]


def _lower(
    context: mlir.LoweringRuleContext,
    *operands: Any,  # noqa: ANN401 - values of MLIR
    call: Way,
    equal: Way,
    static: tuple[Any, ...],
    results: tuple[jax.ShapeDtypeStruct, ...],
) -> Any:  # noqa: ANN401
    settings = getattr(context.module_context, "lowering_parameters", None)
    way = equal if getattr(settings, "for_export", False) else call
    # Plain types: inside shard_map they would say over which devices arrays vary, and
    # each device makes its own anyway.
    given: Any = context.avals_in
    plain = [jax.core.ShapedArray(a.shape, a.dtype) for a in given]
    function = mlir.lower_fun(lambda *arrays: way(*static, *arrays))
    return function(context.replace(avals_in=plain), *operands)


mlir.register_lowering(_choice, _lower)
