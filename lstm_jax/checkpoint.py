"""Checkpoints: the state of a run on disk. Orbax behind one door.

A checkpoint is two sets of named arrays, `model` and `training` (optimizer, carried
state, key, step), and a JSON record of what the loop knew. The names are the paths of
the leaves in their trees, so that a checkpoint describes itself, and what does not fit
is refused by name. Orbax writes each step into a temporary folder and renames it.
"""

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from lstm_jax.errors import InputError
from lstm_jax.rundir import Record
from lstm_jax.step import TrainState

Tree = TypeVar("Tree")
Leaf = jax.Array | np.ndarray | jax.ShapeDtypeStruct
_MODEL, _TRAINING, _RECORD = "model", "training", "record"


class _Wanted(policies.PreservationPolicy):
    """Keeps the steps in `steps`: those that the last record names."""

    def __init__(self) -> None:
        self.steps: frozenset[int] = frozenset()

    def should_preserve(
        self,
        checkpoints: Sequence[Any],
        *,
        context: object,
    ) -> Sequence[bool]:
        """One answer for each checkpoint there is."""
        return [info.step in self.steps for info in checkpoints]


class Checkpoints:
    """The checkpoints of one run: the latest and the best are kept.

    To be used in a `with` statement, or closed. Reading raises InputError if there are
    none, or if they are damaged or not of the expected shapes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._wanted = _Wanted()
        # Of several processes, whoever has the run directory is alone with it.
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=str(own)
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._wanted,
            create=False,
            multiprocessing_options=alone,
        )
        with _quiet():
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def save(self, state: TrainState, record: Record) -> None:
        """Write a checkpoint in the background; the state may be donated at once."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._wanted.steps = frozenset({record.step, record.best_step})
        training = dataclasses.replace(state, model=())
        contents = ocp.args.Composite(
            model=ocp.args.StandardSave(_named(state.model)),
            training=ocp.args.StandardSave(_named(training)),
            record=ocp.args.JsonSave(dataclasses.asdict(record)),
        )
        with _quiet():
            self._manager.save(record.step, args=contents, force=True)

    def latest(self) -> Record:
        """The record of the last checkpoint."""
        step = self._manager.latest_step()
        if step is None:
            raise InputError(f"expected a checkpoint in {self._folder}, found none")
        found = self._restore(step, _RECORD, ocp.args.JsonRestore())
        try:
            return Record(**found)
        except TypeError:
            raise InputError(
                f"{self._folder / str(step)}: expected a record of "
                f"{[f.name for f in dataclasses.fields(Record)]}, found {found}"
            ) from None

    def load_model(self, step: int, like: Tree) -> Tree:
        """The model of a checkpoint, of the same shapes as `like`."""
        return self._load(step, _MODEL, like)

    def load_state(self, step: int, like: TrainState) -> TrainState:
        """All of a checkpoint, of the same shapes as `like`."""
        model = self._load(step, _MODEL, like.model)
        training = dataclasses.replace(like, model=())
        training = self._load(step, _TRAINING, training)
        return dataclasses.replace(training, model=model)

    def close(self) -> None:
        """Wait for what is still being written."""
        with _quiet():
            self._manager.wait_until_finished()
            self._manager.close()

    def _load(self, step: int, item: str, like: Tree) -> Tree:
        wanted = {
            name: np.zeros(array.shape, array.dtype)
            for name, array in _named_shapes(like).items()
        }
        self._check(step, item, wanted)
        arrays = self._restore(step, item, ocp.args.StandardRestore(wanted))
        leaves, tree = jax.tree.flatten(like)
        values = [
            jax.random.wrap_key_data(jnp.asarray(arrays[name]))
            if _is_key(leaf)
            else jnp.asarray(arrays[name])
            for name, leaf in zip(wanted, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, values)

    def _check(self, step: int, item: str, wanted: dict[str, np.ndarray]) -> None:
        """Compare names, shapes and types before any array is read."""
        where = self._folder / str(step) / item
        with _quiet(), _damaged(where):
            with ocp.StandardCheckpointer() as reader:
                metadata = reader.metadata(where).item_metadata
            if not metadata or not metadata.tree:
                raise ValueError("no description of its arrays")
            leaves = metadata.tree
            found = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found or name not in wanted:
                side = "missing" if name in wanted else "not expected"
                raise InputError(f"{where}: the array {name} is {side}")
            expected = (wanted[name].shape, wanted[name].dtype)
            if found[name] != expected:
                raise InputError(
                    f"{where}: expected {name} to be {expected[1]}{expected[0]}, "
                    f"found {found[name][1]}{found[name][0]}"
                )

    def _restore(
        self, step: int, item: str, how: ocp.args.CheckpointArgs
    ) -> dict[str, Any]:
        """One part of a checkpoint: named arrays, or the record."""
        with _quiet(), _damaged(self._folder / str(step)):
            parts = ocp.args.Composite(**{item: how})
            found = self._manager.restore(step, args=parts)[item]
            if not isinstance(found, dict):
                raise ValueError(f"{item} is {found!r:.60}")
            return found


def _named(tree: object) -> dict[str, np.ndarray]:
    """Copies of the leaves by their paths, on the host."""
    return {
        name: np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for name, leaf in zip(_names(tree), jax.tree.leaves(tree), strict=True)
    }


def _named_shapes(tree: object) -> dict[str, jax.ShapeDtypeStruct]:
    def stored(leaf: jax.Array) -> jax.Array:
        return jax.random.key_data(leaf) if _is_key(leaf) else leaf

    leaves = jax.tree.leaves(tree)
    shapes = jax.eval_shape(lambda leaves: [stored(leaf) for leaf in leaves], leaves)
    return dict(zip(_names(tree), shapes, strict=True))


def _names(tree: object) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p in paths]


def _is_key(leaf: Leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@contextlib.contextmanager
def _damaged(where: Path) -> Iterator[None]:
    """Whatever goes wrong while reading is the file's fault, and said in one line."""
    _ignore_late_reads()
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"expected a checkpoint at {where}, found a damaged one: {reason[0]:.200}"
        ) from None


@functools.cache
def _ignore_late_reads() -> None:
    """Say nothing of reads that end after another one has failed.

    Orbax reads arrays side by side in an event loop and closes it at the first error;
    those still under way then find it closed, and Python would print their traces.
    """
    logging.getLogger("asyncio").addFilter(
        lambda record: "zarr" not in record.getMessage()
    )
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's notices to itself while it works for us."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
