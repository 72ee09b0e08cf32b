"""Our safetensors files against the package that the format is from."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as official

from lstm_jax.storage.arrays import Stored
from lstm_jax.storage.safetensors import parts_of, read_all, read_arrays

SHAPES = ((), (0,), (5,), (3, 1, 4))
TYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"),
)


def arrays_of(dtype: str) -> dict[str, np.ndarray]:
    """Arrays of one type in every kind of shape, no two numbers alike."""
    rng = np.random.default_rng(len(dtype))
    numbers = {
        str(shape): np.asarray(100 * rng.random(shape)).astype(jnp.dtype(dtype))
        for shape in SHAPES
    }
    return numbers | {"transposed": numbers["(3, 1, 4)"].T, "a.b/c é": numbers["()"]}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The same names, types, shapes and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
def test_the_official_package_reads_our_files(dtype: str, tmp_path: Path) -> None:
    arrays = arrays_of(dtype)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"".join(parts_of(arrays)))
    assert_same(official.load_file(path), arrays)


@pytest.mark.parametrize("dtype", TYPES)
def test_we_read_files_of_the_official_package(dtype: str, tmp_path: Path) -> None:
    arrays = arrays_of(dtype)
    # It writes the memory of an array as it lies, so it has to lie in order.
    arrays["transposed"] = arrays["transposed"].copy(order="C")
    path = tmp_path / "model.safetensors"
    official.save_file(arrays, path)
    wanted = {name: Stored(a.dtype.name, a.shape) for name, a in arrays.items()}
    with open(path, "rb") as file:
        assert_same(read_arrays(file, wanted), arrays)
    with open(path, "rb") as file:
        assert_same(read_all(file), arrays)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"shape": [2**40], "data_offsets": [0, 2**42]}, "to byte 4,39.* in a file of"),
        ({"shape": [2], "data_offsets": [0, 4]}, "a as "),
        ({"shape": [1], "data_offsets": [8, 12]}, "to byte"),
    ],
)
def test_no_more_is_read_than_there_is(
    entry: dict[str, object], message: str, tmp_path: Path
) -> None:
    header = json.dumps({"a": {"dtype": "F32"} | entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with open(path, "rb") as file, pytest.raises(ValueError, match=message):
        read_all(file)


def test_arrays_that_lie_over_each_other_are_not_read(tmp_path: Path) -> None:
    """A thousand names for the same bytes would be a thousand times the file."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    message = "^arrays of 16 bytes over each other in 8"
    with open(path, "rb") as file, pytest.raises(ValueError, match=message):
        read_all(file)
