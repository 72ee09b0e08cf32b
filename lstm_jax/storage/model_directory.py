"""What an experiment leaves in its directory: model.npz, settings.json, result.json.

A result names the data it was made from by checksums, so that it can be told from that
of other data.

Reading them executes nothing: arrays and JSON, never a pickle.
"""

import json
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.storage.arrays import Stored, difference, names_of
from lstm_jax.storage.files import Fields, read_object
from lstm_jax.typing import Model

_MODEL, _SETTINGS = "model.npz", "settings.json"


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
    return read_object(run_dir / _SETTINGS)


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
