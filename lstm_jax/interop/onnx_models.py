"""Whole networks as ONNX graphs: native `LSTM` operators, and what is around them.

The layers are those of `onnx.assemble`, whose graph has the outputs of layer k as
`xs_k` [T, B, P]; a network adds what makes `xs_0` of its inputs, and what it makes of
the outputs. B and T are free. Graphs are checked by ONNX, and run beside the network
where ONNX Runtime is installed.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.files import needed, new_file
from lstm_jax.interop.onnx import ONNX, assemble
from lstm_jax.interop.weights import Stack, Style, check_weights
from lstm_jax.lm.loading import load
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM

_TOLERANCE = 1e-3  # of logits
_ROWS, _STEPS = 3, 6  # of the inputs that a graph is run on

Inputs = dict[str, np.ndarray]


class Graph:
    """A graph that grows: nodes, and constants by the names of their own."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - ONNX is optional
        self.model = model
        self._count = 0

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add a node; returns the name of what it makes."""
        from onnx import helper

        self._count += 1
        out = out or f"{operator.lower()}_{self._count}"
        node = helper.make_node(operator, list(inputs), [out], **attributes)
        self.model.graph.node.append(node)
        return out

    def constant(self, value: Any, dtype: Any = np.float32) -> str:  # noqa: ANN401
        """Add a constant; returns its name."""
        from onnx import numpy_helper

        self._count += 1
        name = f"constant_{self._count}"
        array = np.asarray(value, dtype)
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def write_model(source: Path, target: Path) -> list[str]:
    """Write the network of a run as an ONNX graph.

    Args:
        source: the folder of a run: a text generator, a classifier or a transcriber.
        target: the file to be written; nothing is there yet.

    Returns:
        Lines that say what was written, and the largest error beside ONNX Runtime.

    Raises:
        InputError: it can't be done, and why; nothing is written then.
    """
    onnx = needed("onnx", str(target))
    network = load(source).model
    model, inputs, expected = graph_of(network)
    onnx.checker.check_model(model, full_check=True)
    lines = [
        f"{type(network).__name__}: {_names(model.graph.input)}",
        f"{target}: {_names(model.graph.output)}",
    ]
    with new_file(target) as draft:
        draft.write_bytes(model.SerializeToString())
        if find_spec("onnxruntime") is None:
            return [*lines, "checked by ONNX, not run: there is no onnxruntime here"]
        error = _error(draft, inputs, expected)
        if not error <= _TOLERANCE:
            raise InputError(
                f"expected ONNX Runtime to compute what the network does up to "
                f"{_TOLERANCE}, found an error of {error:.1e}"
            )
    return [*lines, f"largest error {error:.1e} of an output beside ONNX Runtime"]


def graph_of(network: object) -> tuple[Any, Inputs, list[np.ndarray]]:
    """A network as a graph, inputs to try it on, and what the network makes of them.

    Raises:
        InputError: a network, or a cell, that has no such graph.
    """
    for kind, make in _NETWORKS.items():
        if isinstance(network, kind):
            model, inputs, expected = make(network)
            _put_in_order(model.graph)
            return model, inputs, expected
    known = ", ".join(kind.__name__ for kind in _NETWORKS)
    raise InputError(f"expected one of {known}, found a {type(network).__name__}")


def _language(network: LanguageModel) -> tuple[Any, Inputs, list[np.ndarray]]:
    """Ids [B, T] and the states to logits [B, T, V] and the states: for streaming."""
    graph = _stacked([[layer] for layer in network.layers])
    _without(graph, "sequence_lens")
    symbols = len(network.b_out[...])
    _add_input(graph, "ids", ["B", "T"], "INT64")
    turned = graph.add("Transpose", "ids", perm=[1, 0])
    if network.embedding is None:  # a table of the first layer, row by row
        count = graph.constant(symbols, np.int64)
        graph.add("OneHot", turned, count, graph.constant([0, 1]), out="xs_0")
    else:
        graph.add("Gather", graph.constant(network.embedding[...]), turned, out="xs_0")
    outputs = [f"xs_{k + 1}" for k in range(len(network.layers))]
    hs = graph.add("Concat", *outputs, axis=-1)
    if len(network.w_out[...]) == network.layers[-1].out_features:  # the top alone
        hs = outputs[-1]
    logits = _affine(graph, hs, network.w_out[...], network.b_out[...])
    graph.add("Transpose", logits, out="logits", perm=[1, 0, 2])
    _add_output(graph, "logits", ["B", "T", symbols])
    rng = np.random.default_rng(0)
    ids = rng.integers(0, symbols, (_ROWS, _STEPS))
    states = network.initial_state(_ROWS)
    inputs: Inputs = {"ids": ids}
    for k, state in enumerate(states):
        inputs[f"initial_h_{k}"] = np.asarray(state.h)[None]
        inputs[f"initial_c_{k}"] = np.asarray(state.c)[None]
    expected, last = network(jnp.asarray(ids, jnp.int32), states)
    after = [np.asarray(a)[None] for state in last for a in (state.h, state.c)]
    return graph.model, inputs, [*after, np.asarray(expected)]


def _classifier(network: SequenceClassifier) -> tuple[Any, Inputs, list[np.ndarray]]:
    """Ids [B, T] or inputs [B, T, D], and lengths of at least 1, to logits [B, C]."""
    graph = _reader(network.stack)
    rng = np.random.default_rng(0)
    if network.table is None:
        features = _features(network.stack)
        _add_input(graph, "inputs", ["B", "T", features], "FLOAT")
        graph.add("Transpose", "inputs", out="xs_0", perm=[1, 0, 2])
        given = rng.normal(size=(_ROWS, _STEPS, features)).astype(np.float32)
        inputs: Inputs = {"inputs": given}
        fed = jnp.asarray(given)
    else:
        table = np.asarray(network.table[...])
        _add_input(graph, "ids", ["B", "T"], "INT64")
        turned = graph.add("Transpose", "ids", perm=[1, 0])
        graph.add("Gather", graph.constant(table), turned, out="xs_0")
        inputs = {"ids": rng.integers(0, len(table), (_ROWS, _STEPS))}
        fed = jnp.asarray(inputs["ids"], jnp.int32)
    pooled = [_pooled(graph, network, kind) for kind in network.pooling]
    vector = graph.add("Concat", *pooled, axis=-1)
    logits = _affine(graph, vector, network.w_out[...], network.b_out[...])
    graph.add("Identity", logits, out="logits")
    _add_output(graph, "logits", ["B", len(network.b_out[...])])
    lengths = np.array([_STEPS, 2, 1], np.int32)
    inputs["sequence_lens"] = lengths
    return graph.model, inputs, [np.asarray(network(fed, jnp.asarray(lengths)))]


def _transcriber(network: CTCModel) -> tuple[Any, Inputs, list[np.ndarray]]:
    """Frames [B, T, D] and lengths of at least 1 to logits [B, T, V]; blank is 0."""
    graph = _reader(network.reader)
    features = _features(network.reader)
    _add_input(graph, "frames", ["B", "T", features], "FLOAT")
    graph.add("Transpose", "frames", out="xs_0", perm=[1, 0, 2])
    top = f"xs_{len(network.reader.layers)}"
    logits = _affine(graph, top, network.w_out[...], network.b_out[...])
    graph.add("Transpose", logits, out="logits", perm=[1, 0, 2])
    _add_output(graph, "logits", ["B", "T", len(network.b_out[...])])
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(_ROWS, _STEPS, features)).astype(np.float32)
    lengths = np.array([_STEPS, 2, 1], np.int32)
    expected = network(jnp.asarray(frames), jnp.asarray(lengths))
    inputs: Inputs = {"frames": frames, "sequence_lens": lengths}
    return graph.model, inputs, [np.asarray(expected)]


_NETWORKS: dict[type, Callable[[Any], tuple[Any, Inputs, list[np.ndarray]]]] = {
    LanguageModel: _language,
    SequenceClassifier: _classifier,
    CTCModel: _transcriber,
}


def _stacked(rows: Sequence[Sequence[LSTM]]) -> Graph:
    """The layers alone, without the nodes and names that take X and give Y."""
    cells = {layer.cell.name for row in rows for layer in row}
    if cells != {"lstm"}:
        raise InputError(
            f"expected cells that ONNX has, lstm, found {' and '.join(sorted(cells))}"
        )
    style = Style("lstm")

    def taken(layer: LSTM) -> Any:  # noqa: ANN401
        params = vars(layer.params)
        there = {
            n: np.asarray(a, np.float32) for n, a in params.items() if a is not None
        }
        return ours.inward(style, there)

    layers = tuple(tuple(map(taken, row)) for row in rows)
    weights = check_weights(Stack(style, layers))
    graph = Graph(assemble(ONNX.write(weights)))
    nodes = graph.model.graph.node
    kept = [n for n in nodes if "X" not in n.input and "Y" not in n.output]
    del nodes[:]
    nodes.extend(kept)
    _without(graph, "X")
    outputs = graph.model.graph.output
    others = [each for each in outputs if each.name != "Y"]
    del outputs[:]
    outputs.extend(others)
    return graph


def _put_in_order(graph: Any) -> None:  # noqa: ANN401
    """Put every node behind those whose outputs it takes, as ONNX demands."""
    made = {each.name for each in [*graph.input, *graph.initializer]} | {""}
    waiting = list(graph.node)
    del graph.node[:]
    while waiting:
        ready = [node for node in waiting if made.issuperset(node.input)]
        assert ready, "a graph without circles, of inputs that are there"
        graph.node.extend(ready)
        made.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not made.issuperset(node.output)]


def _reader(stack: StackedLSTM) -> Graph:
    """A stack of a classifier or transcriber, its states zero and not handed out."""
    rows = [
        (each.forward, each.backward) if isinstance(each, Bidirectional) else (each,)
        for each in stack.layers
    ]
    graph = _stacked(rows)
    for k in range(len(rows)):
        _without(graph, f"initial_h_{k}")
        _without(graph, f"initial_c_{k}")
    del graph.model.graph.output[:]
    return graph


def _features(stack: StackedLSTM) -> int:
    """D, the width of what the first layer reads."""
    first = stack.layers[0]
    return (first.forward if isinstance(first, Bidirectional) else first).w_x.shape[0]


def _pooled(graph: Graph, network: SequenceClassifier, kind: str) -> str:
    """The outputs of real steps as one vector per row, [B, P]."""
    top = len(network.stack.layers)
    hs = f"xs_{top}"
    if kind == "last":
        turned = graph.add("Transpose", f"last_h_{top - 1}", perm=[1, 0, 2])
        return graph.add("Reshape", turned, graph.constant([0, -1], np.int64))
    lengths = graph.add("Cast", "sequence_lens", to=7)  # int64
    zero, one, two = (graph.constant(n, np.int64) for n in (0, 1, 2))
    steps = graph.add("Gather", graph.add("Shape", hs), zero)
    clock = graph.add("Unsqueeze", graph.add("Range", zero, steps, one), one)
    real = graph.add("Unsqueeze", graph.add("Less", clock, lengths), two)
    other = graph.constant(0.0 if kind == "mean" else -np.inf)
    kept = graph.add("Where", real, hs, other)
    if kind == "max":
        return graph.add("ReduceMax", kept, axes=[0], keepdims=0)
    total = graph.add("ReduceSum", kept, graph.constant([0], np.int64), keepdims=0)
    count = graph.add("Unsqueeze", graph.add("Cast", lengths, to=1), one)
    return graph.add("Div", total, count)


def _affine(graph: Graph, x: str, w: Any, b: Any) -> str:  # noqa: ANN401
    product = graph.add("MatMul", x, graph.constant(w))
    return graph.add("Add", product, graph.constant(b))


def _without(graph: Graph, name: str) -> None:
    """Take an input away; operators do without it."""
    inputs = graph.model.graph.input
    others = [each for each in inputs if each.name != name]
    del inputs[:]
    inputs.extend(others)
    for node in graph.model.graph.node:
        for k, given in enumerate(node.input):
            if given == name:
                node.input[k] = ""


def _add_input(graph: Graph, name: str, shape: list[Any], kind: str) -> None:
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)
    graph.model.graph.input.append(info)


def _add_output(graph: Graph, name: str, shape: list[Any]) -> None:
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph.model.graph.output.append(info)


def _names(values: Any) -> str:  # noqa: ANN401
    """The names and shapes of inputs or outputs, for people."""
    return ", ".join(
        f"{value.name} [{', '.join(d.dim_param or str(d.dim_value) for d in dims)}]"
        for value in values
        for dims in [value.type.tensor_type.shape.dim]
    )


def _error(path: Path, inputs: Inputs, expected: list[np.ndarray]) -> float:
    """The largest difference from ONNX Runtime, over all outputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, inputs)
    return max(
        float(np.abs(one - other).max())
        for one, other in zip(found, expected, strict=True)
    )
