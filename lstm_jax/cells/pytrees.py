"""Parameters and states as what JAX and Flax take apart.

Flax's serialization (`to_bytes`, `to_state_dict`, and the checkpoints built on them)
asks for the fields of a class that it does not know; NNX and JAX do not.
"""

import dataclasses
from typing import Any, TypeVar

import jax
from flax import serialization

Kind = TypeVar("Kind", bound=type)


def register_arrays(kind: Kind) -> Kind:
    """Register a dataclass of arrays, as a decorator above `dataclasses.dataclass`."""
    jax.tree_util.register_dataclass(kind)
    serialization.register_serialization_state(kind, _to_state, _from_state)
    return kind


def _to_state(held: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        field.name: serialization.to_state_dict(getattr(held, field.name))
        for field in dataclasses.fields(held)
    }


def _from_state(like: Any, state: dict[str, Any]) -> Any:  # noqa: ANN401
    names = [field.name for field in dataclasses.fields(like)]
    if set(state) != set(names):
        raise ValueError(
            f"{type(like).__name__}: expected {', '.join(names)}, "
            f"found {', '.join(map(str, state))}"
        )
    return type(like)(
        **{
            name: serialization.from_state_dict(
                getattr(like, name), state[name], name=name
            )
            for name in names
        }
    )
