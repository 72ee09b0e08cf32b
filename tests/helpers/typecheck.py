"""The run-time checker the tests put on every function of lstm_jax."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# An int may stand for a float, as static type checkers have it.
_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Beartype, except on constructors.

    JAX rebuilds dataclass pytrees around placeholders (shapes, axes, sentinels) that
    are no arrays, so a dataclass's own fields can't be held to their annotations.
    """
    return function if function.__name__ == "__init__" else _beartype(function)
