"""Files of weights: reading them executes nothing, writing them replaces nothing.

A file of arrays is read as a dictionary of them by name, those of Keras and ONNX as
what `keras.py` and `onnx.py` take.
"""

import contextlib
import functools
import importlib
import io
import json
import math
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.eqx_files import read_eqx, write_eqx
from lstm_jax.interop.keras import Record, records_of, records_without_configuration
from lstm_jax.interop.keras import snake_case as _snake_case
from lstm_jax.interop.weights import Array, flattened, nested
from lstm_jax.storage.files import open_regular, sync_folder, writing
from lstm_jax.storage.safetensors import parts_of, read_all

_EXTRAS = {
    "torch": "torch",
    "h5py": "interop",
    "onnx": "interop",
    "flatbuffers": "interop",
}
_NEEDS = {".pt": "torch", ".pth": "torch", ".bin": "torch", ".onnx": "onnx"}
_NEEDS |= {".keras": "h5py", ".h5": "h5py", ".hdf5": "h5py"}
_KERAS_WEIGHTS, _KERAS_CONFIG = "model.weights.h5", "config.json"
_LARGEST_JSON = 1 << 26  # bytes
# What arrays may take together: bytes that any file may ask for, and times its size.
# Compressed weights do not come near, for their digits are as good as random.
_ALWAYS, _TIMES = 1 << 26, 100


def needed(module: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Import a package that not everybody has.

    Raises:
        InputError: naming the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"{what}: expected the package {module}, found none; pip install {module} "
            f"(extra {_EXTRAS[module]})"
        ) from None


def check_installed(path: Path) -> None:
    """Import what files with such an ending need.

    Raises:
        InputError: naming the extra that brings it.
    """
    if module := _NEEDS.get(path.suffix.lower()):
        needed(module, str(path))


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Say in one line that a file is none of its kind, or a damaged one."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, found no file") from None
    except Exception as error:  # of the many that a damaged file can cause
        reason = (str(error).strip().splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {reason}"
        raise InputError(f"{path}: expected {what}, found: {reason:.200}") from None


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path to write at, and put what was written in its place at the end.

    A file or a folder of files. Nothing is at the target before, and nothing if
    anything fails.

    Raises:
        InputError: there is something already, or it could not be written.
    """
    refuse_existing(target)
    with (
        writing(target),
        tempfile.TemporaryDirectory(
            prefix=".convert-", dir=target.parent, ignore_cleanup_errors=True
        ) as folder,
    ):
        draft = Path(folder) / target.name
        yield draft
        for path in draft.rglob("*") if draft.is_dir() else [draft]:
            if path.is_dir():
                sync_folder(path)
                continue
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        refuse_existing(target)
        os.replace(draft, target)
        sync_folder(target.parent)


def refuse_existing(target: Path) -> None:
    """Refuse to write over anything, be it a broken link.

    Raises:
        InputError: there is something.
    """
    if target.exists() or target.is_symlink():
        raise InputError(f"{target}: expected a file to be written, found one there")
    if not target.parent.is_dir():
        raise InputError(f"{target}: expected a folder to write in, found none")


def _check_archive(file: BinaryIO) -> None:
    """Refuse a zip whose members are far larger than it is.

    Raises:
        InputError: with both sizes.
    """
    with zipfile.ZipFile(file) as archive:
        _check_room(file, sum(each.file_size for each in archive.infolist()))


def _check_room(file: BinaryIO, declared: int) -> None:
    """Refuse a file that asks for far more memory than it takes on the disk.

    Args:
        file: open.
        declared: bytes of what is in it, as it says.

    Raises:
        InputError: with both sizes.
    """
    size = os.fstat(file.fileno()).st_size
    most = max(_ALWAYS, _TIMES * size)
    if declared > most:
        raise InputError(
            f"expected {most:,} bytes of arrays at most in a file of {size:,}, found "
            f"{declared:,}"
        )


def read_safetensors(path: Path) -> dict[str, Array]:
    """Read any .safetensors file."""
    with open_regular(path) as file:
        return read_all(file)


def write_safetensors(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a .safetensors file; nested arrays by their paths."""
    flat = flattened(arrays)
    path.write_bytes(b"".join(bytes(part) for part in parts_of(flat)))


def read_npz(path: Path) -> dict[str, Array]:
    """Read an .npz file; one with Python objects is refused."""
    with open_regular(path) as file:
        _check_archive(file)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz file; nested arrays by their paths."""
    flat = flattened(arrays)
    if any(array.dtype == ml_dtypes.bfloat16 for array in flat.values()):
        raise InputError(".npz: expected numbers that NumPy knows, found bfloat16")
    named: Any = flat
    with open(path, "wb") as file:
        np.savez(file, **named)


def read_msgpack(path: Path) -> dict[str, Any]:
    """Read what `flax.serialization.to_bytes` wrote."""
    from flax.serialization import msgpack_restore

    with open_regular(path) as file:
        tree = msgpack_restore(file.read())
    if not isinstance(tree, Mapping):
        raise InputError(f"expected a dictionary, found {type(tree).__name__}")
    return dict(tree)


def write_msgpack(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a file for `flax.serialization.from_bytes`."""
    from flax.serialization import msgpack_serialize

    path.write_bytes(msgpack_serialize(nested(flattened(tree))))


def read_torch(path: Path) -> dict[str, Array]:
    """Read a state dict, or one inside a checkpoint, with `weights_only=True`.

    Raises:
        InputError: there is no PyTorch, or what is in the file is more than tensors.
    """
    import torch

    with open_regular(path) as file:
        if zipfile.is_zipfile(file):
            _check_archive(file)
        file.seek(0)
        try:
            tree = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if "Weights only" not in str(error):
                raise
            raise InputError(
                "expected tensors alone, found objects whose loading executes code: "
                "save module.state_dict()"
            ) from None
        if not isinstance(tree, Mapping):
            raise InputError(f"expected a state dict, found {type(tree).__name__}")
        _check_room(file, _bytes_of(tree))
    return tensors_of(tree)


def _bytes_of(tree: Any) -> int:  # noqa: ANN401
    """What tensors take when each has numbers of its own, and is no view of a few."""
    if isinstance(tree, Mapping):
        return sum(map(_bytes_of, tree.values()))
    return tree.numel() * tree.element_size() if hasattr(tree, "detach") else 0


def tensors_of(tree: Mapping[Any, Any], above: str = "") -> dict[str, Array]:
    """The tensors of a state dict as arrays, with those of dictionaries in it."""
    found: dict[str, Array] = {}
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            found |= tensors_of(value, f"{name}.")
        elif hasattr(value, "detach"):
            found[name] = array_of(value.detach(), name)
        elif isinstance(value, np.ndarray):
            found[name] = value
    return found


def array_of(tensor: Any, name: str) -> Array:  # noqa: ANN401 - PyTorch is optional
    """A tensor in NumPy; a bfloat16 stays one."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise InputError(
            f"{name}: expected plain numbers, found a {tensor.dtype} apart"
        )
    tensor = tensor.cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def write_torch(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a state dict with `torch.save`."""
    import torch

    torch.save(state_dict_of(arrays), path)


def state_dict_of(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Arrays as tensors of their own."""
    import torch

    def tensor(array: Array) -> torch.Tensor:
        array = np.array(array, order="C")
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    return {name: tensor(array) for name, array in arrays.items()}


def read_onnx(path: Path) -> Any:  # noqa: ANN401 - ONNX is optional
    """Read a model, with what it keeps in files beside it."""
    import onnx

    with open_regular(path):
        model = onnx.load(path)
    onnx.checker.check_model(model)
    return model


def write_onnx(path: Path, model: Any) -> None:  # noqa: ANN401
    """Write a model."""
    path.write_bytes(model.SerializeToString())


def read_keras(path: Path) -> list[Record]:
    """Read a .keras archive, a .weights.h5, or a model that Keras 2 wrote as .h5."""
    import h5py

    with open_regular(path) as file:
        if path.suffix != ".keras":
            with h5py.File(file, "r") as h5:
                return _records_of_h5(h5, file)
        _check_archive(file)
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(_KERAS_CONFIG).file_size > _LARGEST_JSON:
                raise InputError("expected a configuration of a few megabytes")
            model = json.loads(archive.read(_KERAS_CONFIG))
            raw = archive.read(_KERAS_WEIGHTS)
        with h5py.File(io.BytesIO(raw), "r") as h5:
            datasets = _datasets(h5, file)
    return records_of(model, functools.partial(_weights_of, datasets))


def _records_of_h5(h5: Any, file: BinaryIO) -> list[Record]:  # noqa: ANN401
    """The layers of an HDF5 file: Keras 3's weights, or Keras 2's model or weights."""
    datasets = _datasets(h5, file)
    if any(name.startswith("layers/") for name in datasets):
        return records_without_configuration(_by_layer(datasets))
    root = h5["model_weights"] if "model_weights" in h5 else h5
    if "layer_names" not in root.attrs:
        raise InputError(f"expected the layers of Keras, found {sorted(h5)!r:.100}")
    layers = {}
    for layer in map(_text, root.attrs["layer_names"]):
        names = map(_text, root[layer].attrs["weight_names"])
        place = f"{root.name.strip('/')}/{layer}".strip("/")
        layers[layer] = [datasets[f"{place}/{name}"] for name in names]
    if "model_config" not in h5.attrs:
        return records_without_configuration(layers)
    model = json.loads(_text(h5.attrs["model_config"]))
    return records_of(model, lambda name, kind, count: layers.get(name, []))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _datasets(h5: Any, file: BinaryIO) -> dict[str, Array]:  # noqa: ANN401
    """Every array of an HDF5 file by its path; no link to other files is followed.

    Args:
        h5: open.
        file: that it is, or that it is in.
    """
    found: dict[str, Any] = {}

    def visit(name: str, each: Any) -> None:  # noqa: ANN401
        if not hasattr(each, "dtype") or each.dtype.kind not in "fiuV":
            return
        if each.external or each.is_virtual:
            raise InputError(
                f"{name}: expected an array in the file, found it elsewhere"
            )
        if each.size and each.id.get_storage_size() == 0:
            raise InputError(f"{name}: expected numbers, found that none were written")
        found[name] = each

    h5.visititems(visit)
    _check_room(file, sum(map(_room_of, found.values())))
    return {name: each[()] for name, each in found.items()}


def _room_of(dataset: Any) -> int:  # noqa: ANN401
    """Bytes of an array, and of the one piece of it that is inflated at a time."""
    return dataset.nbytes + math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize


def _by_layer(datasets: Mapping[str, Array]) -> dict[str, Sequence[Array]]:
    """Keras 3's arrays by the layer they belong to, as `get_weights` orders them."""
    layers = sorted({name.split("/")[1] for name in datasets}, key=_count)
    return {each: _weights_at(datasets, f"layers/{each}") for each in layers}


def _count(name: str) -> tuple[str, int]:
    """Sort lstm, lstm_1, lstm_2, lstm_10."""
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if number.isdigit() else (name, 0)


def _weights_of(
    datasets: Mapping[str, Array], name: str, kind: str, count: int
) -> Sequence[Array]:
    """The arrays of a layer: the file counts the layers of each class."""
    place = f"{_snake_case(kind)}_{count}" if count else _snake_case(kind)
    return _weights_at(datasets, f"layers/{place}")


def _weights_at(datasets: Mapping[str, Array], place: str) -> Sequence[Array]:
    """The arrays under a path: a layer's own, its cell's, or both directions'."""
    inner = {n: a for n, a in datasets.items() if n.startswith(f"{place}/")}
    groups = [
        "vars",
        "cell/vars",
        "forward_layer/cell/vars",
        "backward_layer/cell/vars",
    ]
    found = []
    for group in groups:
        names = [n for n in inner if n.rpartition("/")[0] == f"{place}/{group}"]
        # A dropout's seed is a whole number.
        found += [
            inner[name]
            for name in sorted(names, key=lambda name: int(name.rpartition("/")[2]))
            if inner[name].dtype.kind == "f"
        ]
    return found


def write_keras(path: Path, records: Sequence[Record]) -> None:
    """Write a `Sequential` model as .keras, or its weights as .weights.h5.

    Raises:
        InputError: numbers that HDF5 does not have.
    """
    import h5py

    if any(a.dtype == ml_dtypes.bfloat16 for each in records for a in each.weights):
        raise InputError(f"{path.suffix}: expected float16 to float64, found bfloat16")
    raw = io.BytesIO()
    with h5py.File(raw, "w") as h5:
        _write_h5(h5, records)
    if path.suffix != ".keras":
        path.write_bytes(raw.getvalue())
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.12.0"}))
        archive.writestr(_KERAS_CONFIG, json.dumps(sequential_of(records)))
        archive.writestr(_KERAS_WEIGHTS, raw.getvalue())


def _write_h5(h5: Any, records: Sequence[Record]) -> None:  # noqa: ANN401
    """The groups of Keras 3: layers/lstm_1/cell/vars/0."""
    counts: dict[str, int] = {}
    h5.create_group("vars")
    for record in records:
        kind = _snake_case(record.class_name)
        count = counts.get(kind, 0)
        counts[kind] = count + 1
        place = f"layers/{kind}_{count}" if count else f"layers/{kind}"
        h5.create_group(f"{place}/vars").attrs["name"] = record.config["name"]
        ways = ["cell"]
        if record.class_name == "Bidirectional":
            ways = ["forward_layer/cell", "backward_layer/cell"]
        size = len(record.weights) // len(ways)
        for way, inner in enumerate(ways):
            for k in range(size):
                h5[f"{place}/{inner}/vars/{k}"] = record.weights[way * size + k]


def sequential_of(records: Sequence[Record]) -> dict[str, Any]:
    """The configuration of a model of these layers, in Keras 3's JSON."""

    def layer(name: str, config: Mapping[str, Any], width: int) -> dict[str, Any]:
        return {
            "module": "keras.layers",
            "class_name": name,
            "config": dict(config),
            "registered_name": None,
            "build_config": {"input_shape": [None, None, width]},
        }

    first, dtype = len(records[0].weights[0]), records[0].weights[0].dtype.name
    shape = {"batch_shape": [None, None, first], "dtype": dtype, "name": "inputs"}
    layers = [
        layer(each.class_name, {**each.config, "dtype": dtype}, len(each.weights[0]))
        for each in records
    ]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [layer("InputLayer", shape, first), *layers],
            "build_input_shape": [None, None, first],
        },
        "registered_name": None,
        "build_config": {"input_shape": [None, None, first]},
    }


Read = Callable[[Path], Any]
Write = Callable[[Path, Any], None]
# How files are read and written, by how their names end.
READERS: dict[str, Read] = {
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".msgpack": read_msgpack,
    ".eqx": read_eqx,
    ".pt": read_torch,
    ".pth": read_torch,
    ".bin": read_torch,
    ".onnx": read_onnx,
    ".keras": read_keras,
    ".h5": read_keras,
    ".hdf5": read_keras,
}
WRITERS: dict[str, Write] = {
    ".safetensors": write_safetensors,
    ".npz": write_npz,
    ".msgpack": write_msgpack,
    ".eqx": write_eqx,
    ".pt": write_torch,
    ".pth": write_torch,
    ".bin": write_torch,
    ".onnx": write_onnx,
    ".keras": write_keras,
    ".h5": write_keras,
}
