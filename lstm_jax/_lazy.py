"""Public names that are imported when they are first asked for (PEP 562)."""

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple


class Lazy(NamedTuple):
    """What a package has to define for its names to be fetched late."""

    getattr: Callable[[str], object]
    dir: Callable[[], list[str]]
    all: list[str]


def lazy(package: str) -> Lazy:
    """Make `__getattr__`, `__dir__` and `__all__` of a package.

    Its public names stand in its source once: as the imports under `TYPE_CHECKING`,
    where type checkers read them, and this function too.
    """
    loader: Any = sys.modules[package].__loader__
    tree = ast.parse(loader.get_source(package))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    origin = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

    def fetch(name: str) -> object:
        if name not in origin:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if origin[name] == package:  # a package in this one
            return import_module(f"{package}.{name}")
        value = getattr(import_module(origin[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(origin)
    return Lazy(fetch, lambda: [*vars(sys.modules[package]), *names], names)
