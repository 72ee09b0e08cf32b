"""An ONNX graph that grows, and knows which of its constants are parameters of what.

So the same function that writes the graph of a network says where each parameter lies
in it, and a graph of the same structure can be read back (`onnx_import.py`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.onnx import (
    JOINED,
    JOINED_SHAPE,
    ONNX,
    Place,
    as_model,
    layer_arrays,
    layer_nodes,
)
from lstm_jax.interop.weights import Array, Style
from lstm_jax.nn.layers import LSTM

_LARGEST = 2**31 - 2**24  # bytes; a protobuf ends at 2 GiB
Size = int | str  # of an axis: a number, or the name of a free one


class Parameter(NamedTuple):
    """A constant that is an array of a module: `module.field`."""

    name: str
    module: nnx.Module
    field: str


class LayerWeights(NamedTuple):
    """The constants that are the weights of one layer, by what they are: W, R, B, P."""

    names: dict[str, str]
    style: Style
    ways: tuple[LSTM, ...]


class Read(NamedTuple):
    """What layers make: the top one's outputs [T, B, P], and the states of each."""

    xs: str
    states: list[tuple[str, ...]]


class Graph:
    """A graph that grows: nodes, constants, inputs and outputs.

    Attributes:
        parameters: which constants are arrays of a network.
        layers: which are weights of its layers.
        arrays: all constants by their names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: list[Parameter] = []
        self.layers: list[LayerWeights] = []
        self.arrays: dict[str, Array] = {}
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    @property
    def weights(self) -> set[str]:
        """The names of constants that are weights, and not structure."""
        named = {each.name for each in self.parameters}
        return named | {name for each in self.layers for name in each.names.values()}

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node; returns the name of what it makes."""
        from onnx import helper

        self._count += 1
        out = out or f"{operator.lower()}_{self._count}"
        self._nodes.append(helper.make_node(operator, inputs, [out], **attributes))
        return out

    def add_pair(
        self,
        operator: str,
        *inputs: str,
        **attributes: Any,  # noqa: ANN401
    ) -> tuple[str, str]:
        """Add a node that makes two values; returns their names."""
        from onnx import helper

        self._count += 1
        one, other = (f"{operator.lower()}_{self._count}_{k}" for k in (0, 1))
        node = helper.make_node(operator, inputs, [one, other], **attributes)
        self._nodes.append(node)
        return one, other

    def constant(self, value: Any, dtype: Any = np.float32) -> str:  # noqa: ANN401
        """Add a constant that belongs to the structure; returns its name."""
        self._count += 1
        name = f"constant_{self._count}"
        self.arrays[name] = np.asarray(value, dtype)
        return name

    def parameter(self, module: Any, field: str, prefix: str = "") -> str:  # noqa: ANN401
        """Add an array of a module, in float32; returns its name, of `field`."""
        name = f"{prefix}{field}"
        if name not in self.arrays:
            self.arrays[name] = np.asarray(getattr(module, field)[...], np.float32)
            self.parameters.append(Parameter(name, module, field))
        return name

    def input(self, name: str, shape: Sequence[Size], kind: str = "FLOAT") -> str:
        """Add an input, of a type by ONNX's name for it; returns its name."""
        self._inputs.append(_info(name, shape, kind))
        return name

    def output(self, name: str, shape: Sequence[Size], kind: str = "FLOAT") -> None:
        """Hand out a value that there is."""
        self._outputs.append(_info(name, shape, kind))

    def affine(self, x: str, module: Any, prefix: str = "") -> str:  # noqa: ANN401
        """Add x @ w_out + b_out; returns its name."""
        product = self.add("MatMul", x, self.parameter(module, "w_out", prefix))
        return self.add("Add", product, self.parameter(module, "b_out", prefix))

    def read(
        self,
        rows: Sequence[Sequence[LSTM]],
        xs: str,
        prefix: str = "",
        *,
        lengths: str = "",
        states: Sequence[tuple[str, ...]] | None = None,
    ) -> Read:
        """Add layers on top of each other.

        Args:
            rows: the layers, each in its one or two directions.
            xs: the name of what the first one reads, [T, B, D].
            prefix: what the names of nodes and weights begin with.
            lengths: the name of how many steps of each row are real; "" if all are.
            states: the names of what each layer starts from; None for zeros.

        Raises:
            InputError: cells that ONNX does not have.
        """
        stack = ONNX.write(ours.weights_of(rows))
        self.arrays[JOINED] = JOINED_SHAPE
        after = []
        for depth, (layer, ways) in enumerate(zip(stack.layers, rows, strict=True)):
            before = states[depth] if states else ()
            place = Place(depth, xs, before, lengths, prefix)
            for name, array in layer_arrays(layer, place).items():
                self.arrays[name] = array.astype(np.float32)
            names = {key: place.name(key) for key in layer[0]}
            self.layers.append(LayerWeights(names, stack.style, tuple(ways)))
            self._nodes += layer_nodes(stack.style, layer, place)
            xs = place.name("xs", 1)
            after.append(tuple(place.name(f"last_{n}") for n in kinds_of(stack.style)))
        return Read(xs, after)

    def model(self) -> Any:  # noqa: ANN401 - ONNX is optional
        """The graph as an `onnx.ModelProto`, checked.

        Raises:
            InputError: its weights do not go into one file.
        """
        import onnx
        from onnx import helper, numpy_helper

        size = sum(array.nbytes for array in self.arrays.values())
        if size > _LARGEST:
            raise InputError(
                f"expected at most {_LARGEST:,} bytes of weights, which one file of "
                f"ONNX can hold, found {size:,}"
            )
        arrays = [numpy_helper.from_array(a, n) for n, a in self.arrays.items()]
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, arrays
        )
        model = as_model(graph)
        onnx.checker.check_model(model, full_check=True)
        return model


def kinds_of(style: Style) -> str:
    """The arrays of a state: h, and of an LSTM c."""
    return "hc" if style.kind == "lstm" else "h"


def _info(name: str, shape: Sequence[Size], kind: str) -> Any:  # noqa: ANN401
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)
