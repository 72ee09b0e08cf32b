"""Language models, classifiers and transcribers as ONNX graphs.

Each has a function that makes the graph, and one that makes inputs to try it on and
says what the network itself makes of them. B and T are free.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop import ours
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.layers import Bidirectional, StackedLSTM
from lstm_jax.storage.files import Fields
from lstm_jax.training.ensemble import average_members, members_of

ROWS, STEPS = 3, 6  # of the inputs that a graph is tried on
LENGTHS = np.array([STEPS, 2, 1], np.int32)

Inputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network to be made a graph of, or one to be filled from a graph.

    Attributes:
        network: as `lstm_jax.load` gives it.
        members: each network of an ensemble; itself alone if it is none.
        settings: what the run keeps beside it.
    """

    network: Any
    members: tuple[Any, ...]
    settings: Fields

    @property
    def ensemble(self) -> bool:
        """Whether the arrays of members are stacked in the network."""
        return self.members[0] is not self.network

    def prefix(self, k: int) -> str:
        """What the names of a member's weights begin with."""
        return f"member_{k}_" if self.ensemble else ""


class Trial(NamedTuple):
    """Inputs of a graph by name, and its outputs by name as the network has them."""

    inputs: Inputs
    expected: dict[str, np.ndarray]


def subject_of(network: Any, members: int | None, settings: Fields) -> Subject:  # noqa: ANN401
    """Take an ensemble apart."""
    each = (network,) if members is None else tuple(members_of(network))
    return Subject(network, each, settings)


def build_language(subject: Subject) -> Graph:
    """Ids [B, T] and the states to logits [B, T, V] and the states: for streaming.

    Raises:
        InputError: arithmetic in another type than float32.
    """
    network: LanguageModel = subject.members[0]
    if network.dtype != jnp.float32:
        raise InputError(
            f"expected a network that computes in float32, found {network.dtype}"
        )
    graph = Graph("language")
    turned = graph.add(
        "Transpose", graph.input("ids", ["B", "T"], "INT64"), perm=[1, 0]
    )
    symbols = len(network.b_out[...])
    logits = [
        _scores(graph, member, turned, symbols, subject.prefix(k))
        for k, member in enumerate(subject.members)
    ]
    _averaged(graph, logits, subject)
    graph.output("logits", ["B", "T", symbols])
    return graph


def _scores(
    graph: Graph, network: LanguageModel, ids: str, symbols: int, prefix: str
) -> str:
    """The logits of one network [B, T, V] of ids [T, B]; its states are handed out."""
    if network.embedding is None:  # a table of the first layer, row by row
        count = graph.constant(symbols, np.int64)
        xs = graph.add("OneHot", ids, count, graph.constant([0, 1]))
    else:
        xs = graph.add("Gather", graph.parameter(network, "embedding", prefix), ids)
    rows = [[layer] for layer in network.layers]
    read = graph.read(rows, xs, prefix, states=_state_inputs(graph, network, prefix))
    for names, layer in zip(read.states, network.layers, strict=True):
        for name, size in zip(names, _state_sizes(layer), strict=True):
            graph.output(name, [1, "B", size])
    if network.w_out is None:  # the embedding is the softmax' matrix too
        matrix = graph.parameter(network, "embedding", prefix)
        turned = graph.add("Transpose", matrix, perm=[1, 0])
        product = graph.add("MatMul", read.xs, turned)
        scores = graph.add("Add", product, graph.parameter(network, "b_out", prefix))
    else:
        hs = read.xs
        if len(network.w_out[...]) != network.layers[-1].out_features:
            outputs = [f"{prefix}xs_{n + 1}" for n in range(len(rows))]
            hs = graph.add("Concat", *outputs, axis=-1)
        scores = graph.affine(hs, network, prefix)
    return graph.add("Transpose", scores, perm=[1, 0, 2])


def _state_inputs(graph: Graph, network: LanguageModel, prefix: str) -> list[Any]:
    """The states of every layer as inputs, h and c [1, B, H]."""
    return [
        tuple(
            graph.input(f"{prefix}initial_{name}_{depth}", [1, "B", size])
            for name, size in zip("hc", _state_sizes(layer), strict=False)
        )
        for depth, layer in enumerate(network.layers)
    ]


def _state_sizes(layer: Any) -> list[int]:  # noqa: ANN401
    """The widths of h and c."""
    state = layer.cell.initial_state(jnp.zeros(layer.hidden_features))
    return [array.shape[-1] for array in jax.tree.leaves(state)]


def try_language(subject: Subject) -> Trial:
    """Ids from the zero state."""
    rng = np.random.default_rng(0)
    symbols = len(subject.members[0].b_out[...])
    ids = rng.integers(0, symbols, (ROWS, STEPS))
    inputs, expected, logits = {"ids": ids}, {}, []
    for k, member in enumerate(subject.members):
        states = member.initial_state(ROWS)
        found, last = member(jnp.asarray(ids, jnp.int32), states)
        logits.append(found)
        prefix = subject.prefix(k)
        inputs |= _named_states(f"{prefix}initial", states)
        expected |= _named_states(f"{prefix}last", last)
    return Trial(inputs, {**expected, "logits": _average(logits, subject)})


def _named_states(name: str, states: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    """States as a graph has them, [1, B, H] by name."""
    return {
        f"{name}_{field}_{depth}": np.asarray(array)[None]
        for depth, state in enumerate(states)
        for field, array in vars(state).items()
    }


def build_classifier(subject: Subject) -> Graph:
    """Ids [B, T] or inputs [B, T, D], and lengths of at least 1, to logits [B, C].

    Raises:
        InputError: the network reads side features, too.
    """
    network: SequenceClassifier = subject.members[0]
    if network.side_features:
        raise InputError(
            "expected a classifier of symbols or of dense inputs, found one of both"
        )
    graph = Graph("classifier")
    dense = network.table is None
    shape: list[int | str] = ["B", "T"]
    if dense:
        graph.input("inputs", [*shape, features_of(network.stack)])
        turned = graph.add("Transpose", "inputs", perm=[1, 0, 2])
    else:
        turned = graph.add("Transpose", graph.input("ids", shape, "INT64"), perm=[1, 0])
    lengths = graph.input("sequence_lens", ["B"], "INT32")
    logits = []
    for k, member in enumerate(subject.members):
        prefix, xs = subject.prefix(k), turned
        if not dense:
            xs = graph.add("Gather", graph.parameter(member, "table", prefix), turned)
        rows = ours.rows_of(member.stack)
        read = graph.read(rows, xs, prefix, lengths=lengths)
        last = read.states[-1][0]
        pooled = [_pooled(graph, read.xs, last, kind) for kind in member.pooling]
        vector = graph.add("Concat", *pooled, axis=-1)
        logits.append(graph.affine(vector, member, prefix))
    _averaged(graph, logits, subject)
    graph.output("logits", ["B", len(network.b_out[...])])
    return graph


def _pooled(graph: Graph, hs: str, last: str, kind: str) -> str:
    """The outputs of real steps as one vector per row, [B, P]."""
    if kind == "last":
        turned = graph.add("Transpose", last, perm=[1, 0, 2])
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


def try_classifier(subject: Subject) -> Trial:
    """Ragged rows."""
    rng = np.random.default_rng(0)
    network: SequenceClassifier = subject.members[0]
    inputs: Inputs = {"sequence_lens": LENGTHS}
    if network.table is None:
        inputs |= _frames("inputs", network.stack)
        given = jnp.asarray(inputs["inputs"])
    else:
        ids = rng.integers(0, len(network.table[...]), (ROWS, STEPS))
        inputs["ids"], given = ids, jnp.asarray(ids, jnp.int32)
    lengths = jnp.asarray(LENGTHS)
    logits = [member(given, lengths) for member in subject.members]
    return Trial(inputs, {"logits": _average(logits, subject)})


def build_transcriber(subject: Subject) -> Graph:
    """Frames [B, T, D] and lengths of at least 1 to logits [B, T, V]; blank is 0."""
    network: CTCModel = subject.members[0]
    graph = Graph("transcriber")
    graph.input("frames", ["B", "T", features_of(network.reader)])
    lengths = graph.input("sequence_lens", ["B"], "INT32")
    turned = graph.add("Transpose", "frames", perm=[1, 0, 2])
    logits = []
    for k, member in enumerate(subject.members):
        prefix = subject.prefix(k)
        rows = ours.rows_of(member.reader)
        read = graph.read(rows, turned, prefix, lengths=lengths)
        scores = graph.affine(read.xs, member, prefix)
        logits.append(graph.add("Transpose", scores, perm=[1, 0, 2]))
    _averaged(graph, logits, subject)
    graph.output("logits", ["B", "T", len(network.b_out[...])])
    return graph


def try_transcriber(subject: Subject) -> Trial:
    """Ragged rows."""
    inputs = _frames("frames", subject.members[0].reader)
    frames, lengths = jnp.asarray(inputs["frames"]), jnp.asarray(LENGTHS)
    logits = [member(frames, lengths) for member in subject.members]
    inputs["sequence_lens"] = LENGTHS
    return Trial(inputs, {"logits": _average(logits, subject)})


def _frames(name: str, stack: StackedLSTM) -> Inputs:
    rng = np.random.default_rng(0)
    shape = (ROWS, STEPS, features_of(stack))
    return {name: rng.normal(size=shape).astype(np.float32)}


def features_of(stack: StackedLSTM) -> int:
    """D, the width of what the first layer reads."""
    first = stack.layers[0]
    return (first.forward if isinstance(first, Bidirectional) else first).w_x.shape[0]


def _averaged(graph: Graph, logits: list[str], subject: Subject) -> None:
    """Make `logits` of those of the members, as `average_members` does."""
    if not subject.ensemble:
        graph.add("Identity", logits[0], out="logits")
        return
    axis = graph.constant([0], np.int64)
    logs = [graph.add("LogSoftmax", each, axis=-1) for each in logits]
    each = [graph.add("Unsqueeze", one, axis) for one in logs]
    total = graph.add(
        "ReduceLogSumExp", graph.add("Concat", *each, axis=0), axes=[0], keepdims=0
    )
    graph.add("Sub", total, graph.constant(np.log(len(logits))), out="logits")


def _average(logits: list[Any], subject: Subject) -> np.ndarray:
    """What `_averaged` should make of them."""
    found = average_members(jnp.stack(logits)) if subject.ensemble else logits[0]
    return np.asarray(found)
