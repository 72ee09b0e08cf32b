"""Arrays out of a `.npz` of a user's; nothing in it is executed."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_jax import InputError


def read_arrays(
    raw: bytes, path: Path, wanted: Callable[[str], bool]
) -> dict[str, NDArray]:
    """Read some arrays of an archive.

    Args:
        raw: the archive.
        path: where it is from, for messages.
        wanted: says of a name whether its array is read.

    Raises:
        InputError: it is no archive, or damaged, or what is wanted is no array.
    """
    if not zipfile.is_zipfile(io.BytesIO(raw)):
        raise InputError(f"{path}: expected a .npz, found no archive")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if wanted(name)}
    except Exception as error:  # of the many that a hostile file can cause
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: expected a .npz, found: {reason:.100}") from None
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path}: expected {name} to be an array, found a file")
    return found
