"""Layers of other systems as ours, ready to be called, and ours as theirs.

`from_*` takes what the other system has in memory, or the path of a file; `to_*` gives
what the other system loads. All of it is checked for sizes, and what one side can't
hold is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from lstm_jax.errors import InputError
from lstm_jax.interop import equinox, files
from lstm_jax.interop.equinox import EQUINOX
from lstm_jax.interop.flax_linen import LINEN
from lstm_jax.interop.flax_nnx import NNX
from lstm_jax.interop.formats import choose, find_layers
from lstm_jax.interop.haiku import HAIKU
from lstm_jax.interop.keras import KERAS, records_of
from lstm_jax.interop.onnx import ONNX
from lstm_jax.interop.ours import Layer, to_layer, to_weights
from lstm_jax.interop.system import System, places
from lstm_jax.interop.torch import TORCH
from lstm_jax.interop.weights import cast


def read_layers(
    path: Path | str, name: str = "", dtype: DTypeLike | None = None
) -> Layer:
    """Read the recurrent layers of a file of any system.

    Args:
        path: the file, or the folder of a run of ours.
        name: which layers, where there are several.
        dtype: of the parameters; None for that of the file.

    Returns:
        `LSTM` for one layer, `Bidirectional` for one in two directions, `StackedLSTM`
        for several; also of GRUs.

    Raises:
        InputError: there are no such layers, none that we can hold, or the file is
            damaged.
    """
    weights = find_layers(Path(path), name).weights()
    return to_layer(weights if dtype is None else cast(weights, jnp.dtype(dtype)))


def from_torch(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of an `nn.LSTM`, `nn.GRU` or their cells.

    Args:
        source: a module, a state dict, or the path of a file of one.
        name: which layers, where there are several: the prefix of their names.
        dtype: of the parameters; None for that of the source.

    Raises:
        InputError: as `read_layers`.
    """
    source = source.state_dict() if hasattr(source, "state_dict") else source
    if isinstance(source, Mapping):
        source = files.tensors_of(source)
    return _from(TORCH, source, name, dtype)


def to_torch(layer: Layer) -> dict[str, Any]:
    """Give the state dict of an `nn.LSTM` or `nn.GRU` that is our layer.

    The second bias of an LSTM is zero.

    Raises:
        InputError: PyTorch can't hold it.
    """
    files.needed("torch", "to_torch")
    return files.state_dict_of(TORCH.assemble(TORCH.write(to_weights(layer))))


def from_keras(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of Keras' `LSTM`, `GRU` or `Bidirectional`.

    Args:
        source: a layer, a `Sequential` or functional model, or the path of a file.
        name: which layers, where there are several: the name of the first.
        dtype: of the parameters; None for that of the source.

    Raises:
        InputError: as `read_layers`.
    """
    if not isinstance(source, str | Path):
        layers = getattr(source, "layers", [source])
        config = {"layers": [_described(layer) for layer in layers]}
        if hasattr(source, "layers"):
            config = source.get_config()
        weights = {layer.name: layer.get_weights() for layer in layers}
        model = {"class_name": type(source).__name__, "config": config}
        source = records_of(model, lambda name, kind, count: weights.get(name, []))
    return _from(KERAS, source, name, dtype)


def _described(layer: Any) -> dict[str, Any]:  # noqa: ANN401 - Keras is optional
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def to_keras(layer: Layer) -> list[list[np.ndarray]]:
    """Give for every layer what `set_weights` of Keras' `LSTM` or `GRU` takes.

    Raises:
        InputError: Keras can't hold it.
    """
    records = KERAS.assemble(KERAS.write(to_weights(layer)))
    return [list(record.weights) for record in records]


def from_linen(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of the parameters of linen cells, or of the path of a file.

    The carry is (c, h) there, our state h and c. The rest is as in `from_torch`.
    """
    return _from(LINEN, source, name, dtype)


def to_linen(layer: Layer) -> dict[str, Any]:
    """Give the parameters of linen cells: params, layers_0, cell, kernels and biases.

    Raises:
        InputError: linen can't hold it.
    """
    return LINEN.assemble(LINEN.write(to_weights(layer)))


def from_nnx(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of a module with NNX' cells, its pure state, or a file's path.

    The carry is (c, h) there, our state h and c. The rest is as in `from_torch`.
    """
    if isinstance(source, nnx.Module):
        source = nnx.to_pure_dict(nnx.state(source, nnx.Param))
    return _from(NNX, source, name, dtype)


def to_nnx(layer: Layer) -> dict[str, Any]:
    """Give the pure state of NNX' `OptimizedLSTMCell`s or `GRUCell`s by layer.

    `nnx.update(cell, to_nnx(layer)["layers"]["0"]["cell"])` fills the first.

    Raises:
        InputError: NNX can't hold it.
    """
    return NNX.assemble(NNX.write(to_weights(layer)))


def from_haiku(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of the parameters of an `hk.LSTM`, or of the path of a file.

    The 1 that Haiku adds to the forget gate at every step is stored in ours. The rest
    is as in `from_torch`.
    """
    return _from(HAIKU, source, name, dtype)


def to_haiku(layer: Layer) -> dict[str, Any]:
    """Give the parameters of modules lstm_0/linear and so on.

    Raises:
        InputError: Haiku can't hold it.
    """
    return HAIKU.assemble(HAIKU.write(to_weights(layer)))


def from_equinox(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of an `eqx.nn.LSTMCell` or `GRUCell`, or of a tree of them.

    Args:
        source: a cell, a module or list with cells, or the path of a file.
        name: which layers, where there are several.
        dtype: of the parameters; None for that of the source.

    Raises:
        InputError: as `read_layers`.
    """
    if not isinstance(source, str | Path):
        leaves = jax.tree_util.tree_flatten_with_path(source)[0]
        source = {
            jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in leaves
            if hasattr(leaf, "shape")
        }
    return _from(EQUINOX, source, name, dtype)


def to_equinox(layer: Layer) -> list[Any]:
    """Give a cell for every layer, and for every direction: forward, backward.

    Raises:
        InputError: Equinox can't hold it.
    """
    stack = EQUINOX.write(to_weights(layer))
    return [equinox.cell_of(stack.style, arrays) for _, arrays in places(stack)]


def from_onnx(source: Any, name: str = "", dtype: DTypeLike | None = None) -> Layer:  # noqa: ANN401
    """Make our layer of the `LSTM` or `GRU` operators of a model.

    Args:
        source: an `onnx.ModelProto`, or the path of a file.
        name: which operators, where there are several stacks: the first one's name.
        dtype: of the parameters; None for that of the source.

    Raises:
        InputError: as `read_layers`.
    """
    return _from(ONNX, source, name, dtype)


def to_onnx(layer: Layer) -> Any:  # noqa: ANN401 - ONNX is optional
    """Give an `onnx.ModelProto` of the layers alone, see `onnx.assemble`.

    Raises:
        InputError: ONNX can't hold it.
    """
    files.needed("onnx", "to_onnx")
    return ONNX.assemble(ONNX.write(to_weights(layer)))


def _from(system: System, source: Any, name: str, dtype: DTypeLike | None) -> Layer:  # noqa: ANN401
    """Find the layers in memory or in a file, and make ours of them."""
    if isinstance(source, str | Path):
        found = find_layers(Path(source), name)
        if found.system is not system:
            raise InputError(
                f"{source}: expected layers of {system.title}, found "
                f"{found.system.title}'s"
            )
    else:
        found = choose(source, [system], name)
    weights = found.weights()
    return to_layer(weights if dtype is None else cast(weights, jnp.dtype(dtype)))
