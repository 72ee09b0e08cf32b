"""Checkpoints: the state of a run on disk, in folders that are whole or not there.

    checkpoints/STEP/model.safetensors      the parameters, or their EMA
    checkpoints/STEP/training.safetensors   optimizer, carried state, key, step; beside
                                            an EMA the parameters too
    checkpoints/STEP/training.orbax         instead, of a state that lies in parts on
                                            many devices: all of it, see `sharded`
    checkpoints/STEP/record.json            what the loop knew, and the files' SHA-256

A step is written beside the loop into a draft, which is renamed once all of it is on
the disk; only then are older steps removed. Arrays are named by the paths of the leaves
in their trees, so what does not fit is refused by name; what is damaged is passed over
for the step before it.
"""

import contextlib
import dataclasses
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from lstm_jax.errors import InputError, warn
from lstm_jax.storage.arrays import described, filled, on_host
from lstm_jax.storage.files import (
    Fields,
    open_regular,
    read_json,
    sha256_of,
    sync_folder,
    synced_sha256_of,
    write_json,
    write_parts,
    writing,
)
from lstm_jax.storage.safetensors import Difference, parts_of, read_arrays


@dataclasses.dataclass(frozen=True)
class CheckpointInfo:
    """What the loop knows beside the state, kept with every checkpoint.

    `loss` is the validation loss measured at this step, None if there was none;
    `best_step` and `best_loss` are those of the lowest so far. `rate_scale` is what
    backing off has left of the learning rate. `history` identifies the lines up to
    here (see `history.Fingerprint`); records of older runs have none.
    """

    step: int
    loss: float | None
    best_step: int
    best_loss: float | None
    seconds: float
    compile_seconds: float
    evaluate_seconds: float
    save_seconds: float = 0.0
    rate_scale: float = 1.0
    history: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can have written: a record comes from a file."""
        counts = (self.step, self.best_step)
        seconds = (self.seconds, self.compile_seconds, self.evaluate_seconds)
        losses = (self.loss, self.best_loss)
        holds = (
            all(type(count) is int and 0 <= count < 2**31 for count in counts)
            and all(_is_real(s) and s >= 0 for s in (*seconds, self.save_seconds))
            and all(loss is None or _is_real(loss) for loss in losses)
            and _is_real(self.rate_scale)
            and 0 < self.rate_scale <= 1
            and isinstance(self.history, str | None)
        )
        if not holds:
            raise ValueError(f"expected the numbers of a run, found {self}")


def _current_name(name: str) -> str:
    """What an array is called today: a Mogrifier's rounds were beside the layers."""
    return re.sub(r"(^|/)rounds/(\d+)/(\d+)/", r"\1layers/\2/rounds/\3/", name)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Tree = TypeVar("Tree")
Found = TypeVar("Found")
Arrays = dict[str, np.ndarray]
_SUFFIX = ".safetensors"
_RECORD = "record.json"
PARTS = "training.orbax"


class Damaged(InputError):
    """A checkpoint can't be read, or is not what was written."""


class Checkpoints:
    """The checkpoints of one run: the last two are kept, and the best of each.

    To be used in a `with` statement, or closed. Reading raises InputError if there are
    none, or if they are not of the expected shapes, and Damaged if they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = ThreadPoolExecutor(1, "checkpoints")
        self._pending: Future[None] | None = None
        self._begun: int | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """The steps there are, the newest first."""
        if not self._folder.is_dir():
            return []
        names = (path.name for path in self._folder.iterdir())
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def begin(self, step: int) -> Path:
        """Make room for the parts of a step that are written before it is saved.

        Returns:
            The folder for them, in a draft that `save` finds and gives its name.

        Raises:
            InputError: the last checkpoint could not be written, or this can't be.
        """
        self.wait()
        draft = self._draft_of(step)
        with writing(draft):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        self._begun = step
        return draft / PARTS

    def save(self, trees: Mapping[str, object], record: CheckpointInfo) -> None:
        """Write a checkpoint in the background; the arrays may be donated at once.

        Args:
            trees: by name, which is that of a file; `model` is one of them.
            record: what is known beside them.

        Raises:
            InputError: the last one could not be written.
        """
        self.wait()
        files = {f"{name}{_SUFFIX}": on_host(tree) for name, tree in trees.items()}
        begun, self._begun = self._begun == record.step, None
        self._pending = self._writer.submit(self._write, files, record, begun)

    def busy(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Wait for what is still being written.

        Raises:
            InputError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Wait for what is still being written, and let go."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def latest(self) -> CheckpointInfo:
        """The record of the newest checkpoint whose record is good."""
        return self._first_good(self.steps(), self.record)

    def newest(
        self, read: Callable[[int], Found], before: int | None = None
    ) -> tuple[CheckpointInfo, Found]:
        """Read the newest checkpoint that is good, and its record.

        Args:
            read: what is wanted of a step.
            before: only checkpoints of earlier steps.
        """
        steps = [step for step in self.steps() if before is None or step < before]
        return self._first_good(steps, lambda step: (self.record(step), read(step)))

    def best_model(self, like: Tree) -> Tree:
        """The model of the lowest validation loss; if damaged, the best before it."""
        steps, best = self.steps(), list[int]()
        for step in steps:
            with contextlib.suppress(Damaged):
                best.append(self.record(step).best_step)
        candidates = dict.fromkeys([*best, *steps])  # each once, in this order
        return self._first_good(
            list(candidates), lambda step: self.load_model(step, like)
        )

    def record(self, step: int) -> CheckpointInfo:
        """The record of a checkpoint."""
        where = self._folder / str(step)
        fields = self._record(step)
        fields.pop("files")
        try:
            record = CheckpointInfo(**fields)
        except (TypeError, ValueError) as error:
            raise Damaged(
                f"{where}: expected the record of a checkpoint, found: {error!s:.200}"
            ) from None
        if record.step != step:
            raise Damaged(f"{where}: expected a record of it, found {record.step}'s")
        if record.best_loss is not None and not math.isfinite(record.best_loss):
            # A first validation of NaN was once held to be the best for good.
            return dataclasses.replace(record, best_step=step, best_loss=None)
        return record

    def load_model(self, step: int, like: Tree) -> Tree:
        """The model of a checkpoint, of the same shapes as `like`."""
        return self.load(step, "model", like)

    def load(self, step: int, name: str, like: Tree) -> Tree:
        """Read a tree of a checkpoint, of the same shapes as `like`.

        The checksum is compared, then names, shapes and types; only then are there
        arrays.
        """
        where = self._folder / str(step) / f"{name}{_SUFFIX}"
        written = self._record(step)["files"].get(where.name)
        try:
            with open_regular(where) as file:
                if written != sha256_of(file):
                    raise ValueError("not what was written (sha256)")
                file.seek(0)
                arrays = read_arrays(file, described(like), _current_name)
        except Difference as error:
            raise InputError(f"{where}: {error}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise Damaged(
                f"expected a checkpoint at {where}, found a damaged one: {error!s:.200}"
            ) from None
        return filled(like, arrays)

    def parts(self, step: int) -> Path | None:
        """The folder of a state in parts, once all its files were found to be good.

        Returns:
            None if the checkpoint has none.

        Raises:
            Damaged: they are not what was written.
        """
        where = self._folder / str(step) / PARTS
        if not where.exists():
            return None
        files = self._record(step)["files"]
        written = {n: s for n, s in files.items() if n.startswith(f"{PARTS}/")}
        try:
            found = synced_sha256_of(where)
        except OSError as error:
            raise Damaged(f"{where}: {error}") from None
        if written != {f"{PARTS}/{name}": digest for name, digest in found.items()}:
            raise Damaged(
                f"expected a checkpoint at {where}, found a damaged one: not what was "
                "written (sha256)"
            )
        return where

    def forget_after(self, step: int) -> None:
        """Move newer checkpoints out of the way, and remove what was never finished."""
        with writing(self._folder):
            for newer in [found for found in self.steps() if found > step]:
                aside = self._folder / f"{newer}.aside"
                shutil.rmtree(aside, ignore_errors=True)
                (self._folder / str(newer)).rename(aside)
            for draft in self._folder.glob("*.draft"):
                shutil.rmtree(draft)

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
                warn(f"{error}; step {step} takes its place")
            return found
        if failures:
            raise failures[0]
        raise InputError(f"expected a checkpoint in {self._folder}, found none")

    def _needed_by_the_last(self) -> set[int]:
        """The last checkpoint and its best: what a resume needs if the next is lost."""
        last = set(self.steps()[:1])
        with contextlib.suppress(Damaged):
            return last | {self.record(step).best_step for step in last}
        return last

    def _draft_of(self, step: int) -> Path:
        return self._folder / f"{step}.draft"

    def _write(
        self, files: dict[str, Arrays], record: CheckpointInfo, begun: bool
    ) -> None:
        """Write a step, give it its name, and remove the steps that are not wanted.

        Args:
            files: the arrays of each.
            record: what is known beside them.
            begun: whether parts of it are there already.
        """
        draft = self._draft_of(record.step)
        wanted = {record.step, record.best_step, *self._needed_by_the_last()}
        with writing(draft), contextlib.ExitStack() as undo:
            if not begun:
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
            # A full disk is not to be left full: the history may still have a line.
            undo.callback(shutil.rmtree, draft, ignore_errors=True)
            sums = synced_sha256_of(draft)
            sums |= {n: write_parts(draft / n, parts_of(a)) for n, a in files.items()}
            fields = {**dataclasses.asdict(record), "files": sums}
            write_json(draft / _RECORD, fields)
            sync_folder(draft)
            draft.rename(self._folder / str(record.step))
            sync_folder(self._folder)
            for step in set(self.steps()) - wanted:
                gone = self._draft_of(step)
                (self._folder / str(step)).rename(gone)
                shutil.rmtree(gone)

    def _record(self, step: int) -> Fields:
        """All that the record says."""
        try:
            fields = read_json(self._folder / str(step) / _RECORD, "a checkpoint")
        except InputError as error:
            raise Damaged(str(error)) from None
        files = fields.setdefault("files", {})
        if not isinstance(files, dict):
            where = self._folder / str(step)
            raise Damaged(f"{where}: expected a list of files, found {files!r:.60}")
        return fields
