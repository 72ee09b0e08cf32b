"""The parameters of a network, layer by layer: names, shapes and how many they are."""

import math
import re
from typing import Any

import jax


def parameter_table(model: Any) -> str:  # noqa: ANN401
    """A line for each layer of a network: its arrays, and how many numbers they hold.

    Args:
        model: a tree of arrays, or of their shapes.
    """
    layers: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        layer, name = _named(jax.tree_util.keystr(path, simple=True, separator="."))
        shape = " x ".join(map(str, leaf.shape)) or "1"
        text = f"[{shape}]" if name == layer else f"{name} [{shape}]"
        layers.setdefault(layer, []).append(text)
        counts[layer] = counts.get(layer, 0) + math.prod(leaf.shape)
    total = sum(counts.values())
    names = sorted(layers, key=_place)
    rows = [(name, ", ".join(_short(layers[name])), counts[name]) for name in names]
    widths = [max((len(str(row[k])) for row in rows), default=0) for k in (0, 1)]
    lines = [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {n:>12,}" for a, b, n in rows]
    return "\n".join([*lines, f"{total:,} parameters"])


def _named(path: str) -> tuple[str, str]:
    """The layer an array belongs to, and its name in there."""
    parts = path.removesuffix(".value").split(".")
    depth = next((k for k, part in enumerate(parts) if part.isdecimal()), None)
    if depth is None:
        return ".".join(parts[:-1]) or parts[0], parts[-1]
    layer = " ".join(parts[:depth]).removesuffix("s")
    return f"{layer} {int(parts[depth]) + 1}", ".".join(parts[depth + 1 :]) or layer


def _place(layer: str) -> int:
    """Embeddings come first, and what follows the layers last; all else stays."""
    if "embed" in layer:
        return 0
    return 2 if "out" in layer else 1


def _short(arrays: list[str]) -> list[str]:
    """Equal arrays of a numbered row as one."""
    found: dict[str, int] = {}
    for array in arrays:
        alike = re.sub(r"\.\d+ ", " ", array)  # rounds.3 [64 x 64]
        found[alike] = found.get(alike, 0) + 1
    return [f"{n} {each}" if n > 1 else each for each, n in found.items()]
