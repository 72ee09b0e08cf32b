"""Compiled programs that never overtake each other on the CPU.

A program spread over several CPU devices meets in collectives: a sum of gradients, a
sum of losses. While a device waits there it holds one of XLA's few threads. With a
second such program in flight the threads can all be taken by devices that wait for one
that has none left, and XLA ends the process after 40 seconds ("Termination timeout for
all reduce"). So everything in this package compiles through `bounded_jit`: a call on
several CPU devices returns when it has been computed. Calls on one device, on GPUs and
on TPUs return at once, as those of `jax.jit` do.
"""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

R = TypeVar("R")
_LEVEL = "xla_backend_optimization_level"  # of LLVM's optimizations: 0 to 3

# Held while a program runs: threads of one process take turns too. A program may call
# another while it is traced, hence reentrant.
_TURN = threading.RLock()


def bounded_jit(function: Callable[..., R], **options: object) -> Callable[..., R]:
    """Compile a function as `jax.jit` does, for calls that `take_turns`.

    Args:
        function: what to compile.
        options: those of `jax.jit`.
    """
    compile_: Callable[..., Callable[..., R]] = jax.jit
    # Whatever a user wants to be told of in programs of their own.
    broadcasting = jax.numpy_rank_promotion("allow")
    return take_turns(compile_(broadcasting(function), **options))


def run_once(function: Callable[..., R], **options: object) -> Callable[..., R]:
    """Compile a function as `bounded_jit` does, sooner: it is to run for an instant.

    On a CPU most of the time that the first state of a training takes is LLVM's, which
    makes its draws fast. The numbers are the same.

    Args:
        function: what to compile; it can't be called by another program.
        options: those of `jax.jit`.
    """
    return bounded_jit(function, compiler_options=_with_less_effort(), **options)


def _with_less_effort() -> dict[str, int] | None:
    """Options of XLA; none where XLA_FLAGS has them, or where they mean another."""
    asked = _LEVEL in os.environ.get("XLA_FLAGS", "")
    return None if asked or jax.default_backend() != "cpu" else {_LEVEL: 1}


def take_turns(program: Callable[..., R]) -> Callable[..., R]:
    """Make calls of a compiled program wait for its results on several CPU devices.

    Use it, or `bounded_jit`, for programs of your own that run on a CPU shown as
    several devices and do not need each other's results.
    """

    @functools.wraps(program)
    def call(*args: object, **kwargs: object) -> R:
        if compilation_is_off():  # the function itself is called, with these
            args, kwargs = jax.tree.map(_as_traced, (args, kwargs))
        with _TURN:
            results = program(*args, **kwargs)
            arrays = [leaf for leaf in jax.tree.leaves(results) if _is_concrete(leaf)]
            if any(map(_is_on_several_cpus, arrays)):
                jax.block_until_ready(arrays)
        return results

    return call


def compilation_is_off() -> bool:
    """Whether `jax.disable_jit` or JAX_DISABLE_JIT is in force."""
    config: Any = jax.config  # its switches are unknown to type checkers
    return config.jax_disable_jit


def _as_traced(leaf: object) -> object:
    """Turn an array of NumPy into one of JAX: a traced function sees no others."""
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf


def _is_concrete(leaf: object) -> bool:
    """Tell an array from what stands for one while a caller is traced."""
    return isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer)


def _is_on_several_cpus(array: jax.Array) -> bool:
    devices = array.sharding.device_set
    return len(devices) > 1 and next(iter(devices)).platform == "cpu"
