"""Parameters and states as what JAX and Flax take apart.

Flax's serialization (`to_bytes`, `to_state_dict`, and the checkpoints built on them)
asks for the fields of a class that it does not know; NNX and JAX do not. It is told of
ours as soon as somebody imports it: programs that do without Flax need not wait for it.
"""

import dataclasses
import importlib.abc
import importlib.util
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeVar

import jax

Kind = TypeVar("Kind", bound=type)
_SERIALIZATION = "flax.serialization"
_kinds: list[type] = []  # to be told of


def register_arrays(kind: Kind) -> Kind:
    """Register a dataclass of arrays, as a decorator above `dataclasses.dataclass`."""
    jax.tree_util.register_dataclass(kind)
    if _SERIALIZATION in sys.modules:
        _register(sys.modules[_SERIALIZATION], kind)
        return kind
    if not _kinds:
        sys.meta_path.insert(0, _Watch())
    _kinds.append(kind)
    return kind


class _Watch(importlib.abc.MetaPathFinder):
    """Has all that was registered told to Flax's serialization when it is imported."""

    def find_spec(
        self,
        fullname: str,
        path: Iterable[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != _SERIALIZATION:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_tell(module: ModuleType) -> None:
                execute(module)
                for kind in _kinds:
                    _register(module, kind)

            spec.loader.exec_module = execute_and_tell
        return spec


def _register(serialization: Any, kind: type) -> None:  # noqa: ANN401
    serialization.register_serialization_state(kind, _to_state, _from_state)


def _to_state(held: Any) -> dict[str, Any]:  # noqa: ANN401
    from flax import serialization

    return {
        field.name: serialization.to_state_dict(getattr(held, field.name))
        for field in dataclasses.fields(held)
    }


def _from_state(like: Any, state: dict[str, Any]) -> Any:  # noqa: ANN401
    from flax import serialization

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
