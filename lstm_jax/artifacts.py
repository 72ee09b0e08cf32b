"""What an experiment leaves in its directory: model.npz, settings.json, result.json.

A result names the data it was made from by checksums, so that it can be told from that
of other data.

Reading them executes nothing: arrays and JSON, never a pickle.
"""

import contextlib
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.arrays import Stored, difference, names_of
from lstm_jax.claim import Claim
from lstm_jax.data import bytes_of
from lstm_jax.errors import InputError
from lstm_jax.files import Fields
from lstm_jax.step import Model

_MODEL, _SETTINGS, _RESULT = "model.npz", "settings.json", "result.json"


@dataclasses.dataclass(frozen=True)
class DataFile:
    """What was read: its name, how many bytes it has, and their SHA-256.

    All are those of the unpacked content. What can be read once only, a pipe, has a
    name and nothing else.
    """

    name: str
    bytes: int | None
    sha256: str | None


def describe_file(path: Path) -> DataFile:
    """Name a file that a result is made from; one in `.gz` as if it were unpacked.

    Raises:
        InputError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        return DataFile(path.name, None, None)
    size, digest = 0, hashlib.sha256()
    for piece in bytes_of(path):
        size += len(piece)
        digest.update(piece)
    return DataFile(path.name.removesuffix(".gz"), size, digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table of applications, see `experiments/README.md`.

    `ours` is what this run measured of `metric`, by `protocol`; `floor` is the trivial
    or classical method that the run computed itself; `published` and `best_known` are
    other people's numbers with their source. `files` are the data, in the order in
    which they were read; none if they were generated.
    """

    task: str
    data: str
    licence: str
    protocol: str
    metric: str
    ours: str
    floor: str
    published: str
    best_known: str
    minutes: float
    command: str
    files: tuple[DataFile, ...] = ()


@contextlib.contextmanager
def new_experiment(
    name: str, run_dir: Path, overwrite: bool = False, spare: Sequence[Path] = ()
) -> Iterator[None]:
    """Have the folder of a run for an application, while this is open.

    It is to be opened once all was checked, and before anything is computed. If that
    fails before anything is written, nothing is left of the run.

    Args:
        name: of the application.
        run_dir: its folder: a new one, or an empty one.
        overwrite: or that of a former run. Of that one the files that it has written
            are removed, and all others stay.
        spare: files and folders that must outlive this.

    Raises:
        InputError: there is a run and no leave to replace it, or something else, or
            another process at work; or it can't be written to.
    """
    claim = Claim(run_dir, name, overwrite, spare)
    with claim.held():
        claim.sign()
        yield


def write_result(run_dir: Path, result: Result) -> None:
    """Write `result.json` and print it as one line."""
    line = json.dumps(dataclasses.asdict(result), ensure_ascii=False)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / _RESULT).write_text(line + "\n", encoding="utf-8")
    print(line)


def read_result(run_dir: Path) -> Result:
    """The result of a run.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = run_dir / _RESULT
    fields = _read_json(path)
    expected = [field.name for field in dataclasses.fields(Result)]
    found = sorted({"files": [], **fields})  # older ones do not name their files
    if found != sorted(expected):
        raise InputError(f"{path}: expected {expected}, found {sorted(fields)}")
    try:
        files = tuple(DataFile(**file) for file in fields.pop("files", []))
    except TypeError as error:
        raise InputError(f"{path}: expected data files, found: {error}") from None
    return Result(**fields, files=files)


def save_model(run_dir: Path, model: Model, settings: Fields) -> None:
    """Keep the arrays of a model, and what it takes to build one like it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(names_of(model), jax.tree.leaves(model), strict=True))
    np.savez(run_dir / _MODEL, allow_pickle=False, **jax.device_get(arrays))
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (run_dir / _SETTINGS).write_text(text + "\n", encoding="utf-8")


def load_settings(run_dir: Path) -> Fields:
    """What `save_model` was told.

    Raises:
        InputError: there is nothing of the kind.
    """
    return _read_json(run_dir / _SETTINGS)


def load_model(run_dir: Path, like: Model) -> Model:
    """The model that `save_model` kept.

    Args:
        run_dir: where.
        like: a model of the same shapes, or its `jax.eval_shape`.

    Raises:
        InputError: the file is missing or damaged, or of another model.
    """
    path = run_dir / _MODEL
    leaves = jax.tree.leaves(like)
    kinds = [Stored(str(leaf.dtype), tuple(leaf.shape)) for leaf in leaves]
    wanted = dict(zip(names_of(like), kinds, strict=True))
    try:
        with zipfile.ZipFile(path) as kept:
            headers = {name: _header(kept, name) for name in kept.namelist()}
            found = {n.removesuffix(".npy"): kind for n, kind in headers.items()}
            if problem := difference(wanted, found):
                raise InputError(f"{path}: {problem}")
            arrays = {name: _array(kept, f"{name}.npy") for name in wanted}
    except InputError:
        raise
    except Exception as error:  # of the many that a hostile archive can cause
        raise InputError(f"{path}: expected a model, found: {error!s:.200}") from None
    values = [jnp.asarray(arrays[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def _header(kept: zipfile.ZipFile, name: str) -> Stored:
    """What an array is, before room is made for it."""
    with kept.open(name) as member:
        version = np.lib.format.read_magic(member)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(member)
    return Stored(str(dtype), shape)


def _array(kept: zipfile.ZipFile, name: str) -> np.ndarray:
    with kept.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _read_json(path: Path) -> Fields:
    try:
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: expected a finished run, found: {error.strerror}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    if not isinstance(fields, dict):
        kind = type(fields).__name__
        raise InputError(f"{path}: expected a JSON object, found {kind}")
    return fields
