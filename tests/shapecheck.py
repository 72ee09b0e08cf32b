"""The run-time checker the tests put on every function of lstm_jax."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Beartype, except on constructors.

    JAX rebuilds dataclass pytrees around placeholders (shapes, axes, sentinels) that
    are no arrays, so a dataclass's own fields can't be held to their annotations.
    """
    return function if function.__name__ == "__init__" else beartype(function)
