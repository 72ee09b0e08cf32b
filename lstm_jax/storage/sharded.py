"""Arrays in parts, on the devices of one process or several, each writing its own.

By Orbax (https://orbax.readthedocs.io), which is imported here and nowhere else, and
only when it is used. Every process calls `save_sharded` and `load_sharded` at the same
time; the folder has to be one that all of them see. Arrays have the names that they
have in our own checkpoints, and may be read onto other devices than they came from.
"""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from lstm_jax.errors import InputError
from lstm_jax.storage.arrays import (
    Stored,
    described,
    difference,
    filled,
    named,
    names_of,
)

Tree = TypeVar("Tree")


def require_orbax() -> ModuleType:
    """Import Orbax.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("orbax.checkpoint")
    except ImportError:
        raise InputError(
            "--shard-model: expected the package orbax-checkpoint, found none "
            "(pip install orbax-checkpoint)"
        ) from None


def save_sharded(folder: Path, tree: object) -> None:
    """Write a tree of arrays into a new folder; it is on the disk on return.

    Raises:
        InputError: it could not be written.
    """
    # Orbax does not write what has no elements, and need not.
    arrays = {name: array for name, array in named(tree).items() if array.size}
    with _orbax(f"{folder}: could not be written") as (orbax, checkpointer):
        checkpointer.save(folder.resolve(), orbax.args.StandardSave(arrays))


def load_sharded(folder: Path, like: Tree) -> Tree:
    """Read a tree of arrays, each part by the process that is to have it.

    Args:
        folder: of `save_sharded`.
        like: arrays or their `jax.ShapeDtypeStruct`s, whose sharding says where each is
            to lie; on the first device of this process if it says nothing.

    Raises:
        InputError: these are other arrays, or they can't be read.
    """
    shapes = jax.eval_shape(named, like)
    here = SingleDeviceSharding(jax.local_devices()[0])
    leaves = dict(zip(names_of(like), jax.tree.leaves(like), strict=True))
    places = {n: getattr(leaf, "sharding", None) for n, leaf in leaves.items()}
    wanted = {
        name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=places[name] or here)
        for name, a in shapes.items()
        if a.size
    }
    with _orbax(f"{folder}: could not be read") as (orbax, checkpointer):
        kept = checkpointer.metadata(folder.resolve()).item_metadata
        found = {n: Stored(str(a.dtype), tuple(a.shape)) for n, a in kept.items()}
        if problem := difference(described(wanted), found):
            raise ValueError(problem)
        restore = orbax.args.StandardRestore(wanted)
        arrays = checkpointer.restore(folder.resolve(), restore)
    empty = {n: jnp.zeros(a.shape, a.dtype) for n, a in shapes.items() if not a.size}
    return filled(like, arrays | empty)


@contextlib.contextmanager
def _orbax(failure: str) -> Iterator[tuple[ModuleType, Any]]:
    """Orbax and what it writes and reads with; its errors in one line."""
    orbax = require_orbax()
    try:
        with orbax.Checkpointer(orbax.StandardCheckpointHandler()) as checkpointer:
            yield orbax, checkpointer
    except Exception as error:  # tensorstore has many
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{failure}: {reason:.200}") from None
