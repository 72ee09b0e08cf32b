"""A hand-written gradient has no forward mode: whoever asks for it is told who has.

JAX says so in terms of its own, and under `jax.jit` only when it compiles. Here the
tangents of what an engine reads pass through an operation that is linear and does
nothing: a gradient only transposes it, which removes it, while forward mode has to
compile or run it, which fails with our message.
"""

import functools
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Found = TypeVar("Found")
_refused = Primitive("lstm_jax_no_forward_mode")


def run_without_forward_mode(
    run: Callable[..., Found], operands: tuple, reason: str
) -> Found:
    """Run a function with a gradient of its own.

    Args:
        run: the function.
        operands: its arguments, pytrees of arrays.
        reason: the message of the error.

    Raises:
        ValueError: now or later, a forward derivative is traced, compiled or run.
    """
    guarded = _guard(reason)(operands)
    try:
        return run(*guarded)
    except TypeError as error:
        if "forward-mode" in str(error) and "custom_vjp" in str(error):
            raise ValueError(reason) from None  # where JAX says it first: in jacfwd
        raise


@functools.cache
def _guard(reason: str) -> jax.custom_jvp:
    guard = jax.custom_jvp(lambda operands: operands)

    def passed(tangent: Any) -> Any:  # noqa: ANN401
        if isinstance(tangent, SymbolicZero):
            return tangent
        return _refused.bind(tangent, reason=reason)

    def derivative(primals: tuple, tangents: tuple) -> tuple:
        is_zero = {"is_leaf": lambda leaf: isinstance(leaf, SymbolicZero)}
        return primals[0], jax.tree.map(passed, tangents[0], **is_zero)

    guard.defjvp(derivative, symbolic_zeros=True)
    return guard


def _refuse(*_: object, reason: str) -> NoReturn:
    raise ValueError(reason)


_refused.def_impl(_refuse)
_refused.def_abstract_eval(lambda tangent, *, reason: tangent)
ad.deflinear2(_refused, lambda cotangent, _, *, reason: [cotangent])
batching.defvectorized(_refused)
mlir.register_lowering(_refused, _refuse)
