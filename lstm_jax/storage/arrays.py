"""Arrays of a tree by name: the path of each leaf, and what a leaf is on disk.

Keys of random numbers are stored as the numbers they consist of.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Tree = TypeVar("Tree")
Leaf = jax.Array | np.ndarray | jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class Stored:
    """What an array is, whatever numbers are in it."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """How many bytes its numbers take."""
        # NumPy's own dtype knows no bfloat16.
        return math.prod(self.shape) * jnp.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.dtype}{self.shape}"


def named(tree: object) -> dict[str, jax.Array | np.ndarray]:
    """The leaves by their names, keys as the numbers they consist of."""
    return {
        name: jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for name, leaf in zip(names_of(tree), jax.tree.leaves(tree), strict=True)
    }


def on_host(tree: object) -> dict[str, np.ndarray]:
    """Copies of the leaves by their names."""
    return {name: np.array(leaf) for name, leaf in named(tree).items()}


def described(tree: object) -> dict[str, Stored]:
    """What the leaves of a tree, or of its `jax.eval_shape`, are on disk."""
    shapes = jax.eval_shape(named, tree)
    return {name: Stored(str(leaf.dtype), leaf.shape) for name, leaf in shapes.items()}


def filled(like: Tree, arrays: Mapping[str, jax.Array | np.ndarray]) -> Tree:
    """A tree like this one with these arrays as its leaves."""
    leaves, tree = jax.tree.flatten(like)
    values = [
        jax.random.wrap_key_data(jnp.asarray(arrays[name]))
        if _is_key(leaf)
        else jnp.asarray(arrays[name])
        for name, leaf in zip(names_of(like), leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, values)


def difference(wanted: Mapping[str, Stored], found: Mapping[str, Stored]) -> str | None:
    """The first array by name that is missing, not expected, or another; or None."""
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found or name not in wanted:
            side = "missing" if name in wanted else "not expected"
            return f"the array {name} is {side}"
        if found[name] != wanted[name]:
            return f"expected {name} to be {wanted[name]}, found {found[name]}"
    return None


def names_of(tree: object) -> list[str]:
    """The path of every leaf, parts joined by "/"."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p in paths]


def _is_key(leaf: Leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
