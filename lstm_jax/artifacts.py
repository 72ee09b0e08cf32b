"""What an experiment leaves in its directory: model.npz, settings.json, result.json.

Reading them executes nothing: arrays and JSON, never a pickle.
"""

import dataclasses
import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.rundir import Fields
from lstm_jax.step import Model

_MODEL, _SETTINGS, _RESULT = "model.npz", "settings.json", "result.json"


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table of applications, see `experiments/README.md`.

    `ours` is what this run measured of `metric`, by `protocol`; `floor` is the trivial
    or classical method that the run computed itself; `published` and `best_known` are
    other people's numbers with their source.
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


def make_run_dir(run_dir: Path) -> None:
    """Make the folder of a run, before anything is computed for it.

    Raises:
        InputError: it cannot be made.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{run_dir}: expected a folder to write to, found: {error.strerror}"
        ) from None


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
    if sorted(fields) != sorted(expected):
        raise InputError(f"{path}: expected {expected}, found {sorted(fields)}")
    return Result(**fields)


def save_model(run_dir: Path, model: Model, settings: Fields) -> None:
    """Keep the arrays of a model, and what it takes to build one like it."""
    run_dir.mkdir(parents=True, exist_ok=True)
    arrays = dict(zip(_names(model), jax.tree.leaves(model), strict=True))
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
    wanted = dict(zip(_names(like), jax.tree.leaves(like), strict=True))
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files if name in wanted}
            spare = set(kept.files) - set(wanted)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected a model, found: {error}") from None
    for name, leaf in wanted.items():
        there = _describe(found[name]) if name in found else "nothing"
        if there != _describe(leaf):
            raise InputError(
                f"{path}: expected {name} {_describe(leaf)}, found {there}"
            )
    if spare:
        raise InputError(f"{path}: did not expect {', '.join(sorted(spare))}")
    values = [jnp.asarray(found[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), values)


def _describe(array: jax.Array | np.ndarray | jax.ShapeDtypeStruct) -> str:
    return f"{array.dtype} {array.shape}"


def _read_json(path: Path) -> Fields:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: expected a finished run, found: {error.strerror}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(fields)}")
    return fields


def _names(tree: Model) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(p, simple=True, separator="/") for p in paths]
