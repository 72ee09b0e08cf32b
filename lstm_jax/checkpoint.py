"""Checkpoints: the state of a run on disk. Orbax behind one door.

A checkpoint is two sets of named arrays, `model` and `training` (optimizer, carried
state, key, step), and a JSON record of what the loop knew, of what every array is, and
of its SHA-256. The names are the paths of the leaves in their trees: a checkpoint
describes itself, what does not fit is refused by name, and what is damaged is noticed.
Orbax writes each step into a temporary folder and renames it.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from lstm_jax.arrays import (
    Stored,
    described,
    difference,
    digests,
    filled,
    on_host,
    sha256_of,
)
from lstm_jax.errors import InputError, note
from lstm_jax.files import Fields, seal, unseal
from lstm_jax.orbax_io import (
    Damaged,
    check_size,
    damaged,
    first_line,
    metadata_of,
    quiet,
)
from lstm_jax.record import Record
from lstm_jax.step import TrainState

Tree = TypeVar("Tree")
Found = TypeVar("Found")
_MODEL, _TRAINING, _RECORD = "model", "training", "record"


class _Wanted(policies.PreservationPolicy):
    """Keeps the steps in `steps`."""

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
    """The checkpoints of one run: the last two and the best are kept.

    To be used in a `with` statement, or closed. Reading raises InputError if there are
    none, or if they are not of the expected shapes, and Damaged if they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._wanted = _Wanted()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._wanted, create=False
        )
        with quiet():
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """The steps there are, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def save(self, state: TrainState, record: Record) -> None:
        """Write a checkpoint in the background; the state may be donated at once.

        Raises:
            InputError: this one or the last could not be written.
        """
        before = self.steps()[:1]
        self._wanted.steps = frozenset({record.step, record.best_step, *before})
        model = on_host(state.model)
        training = on_host(dataclasses.replace(state, model=()))
        arrays = {_MODEL: digests(model), _TRAINING: digests(training)}
        contents = ocp.args.Composite(
            model=ocp.args.StandardSave(model),
            training=ocp.args.StandardSave(training),
            record=ocp.args.JsonSave(
                seal({**dataclasses.asdict(record), "arrays": arrays})
            ),
        )
        with quiet(), self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._manager.save(record.step, args=contents, force=True)

    def busy(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._manager.is_saving_in_progress()

    def wait(self) -> None:
        """Wait for what is still being written.

        Raises:
            InputError: it could not be written.
        """
        with quiet(), self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for what is still being written, and let go."""
        try:
            self.wait()
        finally:
            with quiet(), contextlib.suppress(Exception):  # already said by `wait`
                self._manager.close()

    def latest(self) -> Record:
        """The record of the newest checkpoint whose record is good."""
        return self._first_good(self.steps(), self.record)

    def resume(
        self, like: TrainState, before: int | None = None
    ) -> tuple[Record, TrainState]:
        """The newest checkpoint that is good, of the same shapes as `like`.

        Args:
            like: the shapes of its state.
            before: only checkpoints of earlier steps.
        """
        steps = [step for step in self.steps() if before is None or step < before]
        return self._first_good(
            steps, lambda step: (self.record(step), self.load_state(step, like))
        )

    def best_model(self, like: Tree) -> Tree:
        """The model of the lowest validation loss; if damaged, the newest good one."""
        best = self.latest().best_step
        others = [step for step in self.steps() if step != best]
        return self._first_good(
            [best, *others], lambda step: self.load_model(step, like)
        )

    def forget_after(self, step: int) -> None:
        """Move newer checkpoints out of the way, and remove what was never finished."""
        with self._writing():
            for newer in [found for found in self.steps() if found > step]:
                place = self._folder / str(newer)
                aside = self._folder / f"{newer}.aside"
                shutil.rmtree(aside, ignore_errors=True)
                place.rename(aside)
            for draft in self._folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(draft)
        with quiet():
            self._manager.reload()

    def record(self, step: int) -> Record:
        """The record of a checkpoint."""
        fields = self._record(step)
        fields.pop("arrays", None)
        try:
            return Record(**fields)
        except (TypeError, ValueError):
            raise Damaged(
                f"{self._folder / str(step)}: expected a record of "
                f"{[f.name for f in dataclasses.fields(Record)]}, found "
                f"{sorted(fields)!r:.200}"
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

    def _first_good(self, steps: Sequence[int], read: Callable[[int], Found]) -> Found:
        """What can be read of the first step of which it can be; say so if not all."""
        failures: list[Damaged] = []
        for step in steps:
            try:
                found = read(step)
            except Damaged as error:
                failures.append(error)
                continue
            for error in failures:
                note(f"{error}; step {step} takes its place")
            return found
        if failures:
            raise failures[0]
        raise InputError(f"expected a checkpoint in {self._folder}, found none")

    def _load(self, step: int, item: str, like: Tree) -> Tree:
        """Compare names, shapes and types, then read, then compare the checksums."""
        where = self._folder / str(step) / item
        wanted = described(like)
        sums = self._record(step).get("arrays", {}).get(item)
        if sums is not None:
            with damaged(where):
                written = {
                    name: Stored(of["dtype"], tuple(of["shape"]))
                    for name, of in sums.items()
                }
            if problem := difference(wanted, written):
                raise InputError(f"{where}: {problem}")
        empty = {n: np.zeros(kind.shape, kind.dtype) for n, kind in wanted.items()}
        check_size(where, sum(array.nbytes for array in empty.values()))
        if problem := difference(wanted, metadata_of(where)):
            # Other than its own record says, or no record says what it should be.
            raise (InputError if sums is None else Damaged)(f"{where}: {problem}")
        arrays = self._restore(step, item, ocp.args.StandardRestore(empty))
        for name, array in arrays.items() if sums else ():
            if sha256_of(array) != sums[name]["sha256"]:
                raise Damaged(f"{where}: {name} is not what was written (sha256)")
        return filled(like, arrays)

    def _record(self, step: int) -> Fields:
        """All that the record says, once its checksum is found to be right."""
        where = self._folder / str(step)
        check_size(where / _RECORD, 0)
        found = self._restore(step, _RECORD, ocp.args.JsonRestore())
        with damaged(where / _RECORD):
            return unseal(found)

    def _restore(
        self, step: int, item: str, how: ocp.args.CheckpointArgs
    ) -> dict[str, Any]:
        """One part of a checkpoint: named arrays, or the record."""
        with quiet(), damaged(self._folder / str(step)):
            parts = ocp.args.Composite(**{item: how})
            found = self._manager.restore(step, args=parts)[item]
            if not isinstance(found, dict):
                raise ValueError(f"{item} is {found!r:.60}")
            return found

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever goes wrong while writing is the disk's fault, said in one line."""
        try:
            yield
        except Exception as error:
            raise InputError(
                f"{self._folder}: a checkpoint could not be written "
                f"({first_line(error)}); those before it are kept"
            ) from None
