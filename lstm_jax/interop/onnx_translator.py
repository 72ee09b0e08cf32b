"""The encoder-decoder as two ONNX graphs: one reads a sentence, one writes.

The encoder's outputs have the names that the decoder's inputs have, so what reads once
can be handed on. The decoder writes symbol after symbol, or reads a known target at
once: the same graph, for any T.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.interop import ours
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.interop.onnx_networks import LENGTHS, ROWS, STEPS, Subject, Trial
from lstm_jax.models.seq2seq import Memory, Seq2Seq

ENCODER, DECODER = "encoder", "decoder"
_NEVER = -1e30  # the score of a step that is padding, as in nn/attention.py


def build_translator(subject: Subject) -> dict[str, Graph]:
    """Both graphs by their names.

    encoder: sources [B, S] and lengths of at least 1 to keys and values [B, S, H] and
    the states to begin with. decoder: ids [B, T], the memory, its lengths and the
    states to logits [B, T, V], the attention [B, T, S] and the states.
    """
    (network,) = subject.members
    return {ENCODER: _encoder(network), DECODER: _decoder(network)}


def _encoder(network: Seq2Seq) -> Graph:
    graph, hidden = Graph(ENCODER), len(network.w_key[...])
    sources = graph.input("sources", ["B", "S"], "INT64")
    lengths = graph.input("sequence_lens", ["B"], "INT32")
    turned = graph.add("Transpose", sources, perm=[1, 0])
    xs = graph.add("Gather", graph.parameter(network, "source_table"), turned)
    read = graph.read(ours.rows_of(network.encoder), xs, lengths=lengths)
    graph.add("Transpose", read.xs, out="values", perm=[1, 0, 2])
    graph.add("MatMul", "values", graph.parameter(network, "w_key"), out="keys")
    # The last outputs of both directions, side by side.
    ends = graph.add("Transpose", read.states[-1][0], perm=[1, 0, 2])
    ends = graph.add("Reshape", ends, graph.constant([0, -1], np.int64))
    product = graph.add("MatMul", ends, graph.parameter(network, "w_start"))
    starts = graph.add("Tanh", product)
    axis, way = graph.constant([1], np.int64), graph.constant([0], np.int64)
    names = [name for names in _states(network) for name in names]
    for name, k in zip(names, range(len(names)), strict=True):
        begin, end = (graph.constant([n * hidden], np.int64) for n in (k, k + 1))
        part = graph.add("Slice", starts, begin, end, axis)
        graph.add("Unsqueeze", part, way, out=name)
    for name in ("keys", "values"):
        graph.output(name, ["B", "S", hidden])
    for name in names:
        graph.output(name, [1, "B", hidden])
    return graph


def _states(network: Seq2Seq) -> list[tuple[str, ...]]:
    """The names of the states of the lower and of the upper layer."""
    state = network.lower.cell.initial_state(jnp.zeros(1))
    kinds = "hc"[: len(jax.tree.leaves(state))]
    return [tuple(f"initial_{kind}_{k}" for kind in kinds) for k in (0, 1)]


def _decoder(network: Seq2Seq) -> Graph:
    graph, hidden = Graph(DECODER), len(network.w_key[...])
    ids = graph.input("ids", ["B", "T"], "INT64")
    keys = graph.input("keys", ["B", "S", hidden])
    values = graph.input("values", ["B", "S", hidden])
    lengths = graph.input("sequence_lens", ["B"], "INT32")
    states = _states(network)
    for name in (name for names in states for name in names):
        graph.input(name, [1, "B", hidden])
    table = graph.parameter(network, "target_table")
    xs = graph.add("Gather", table, graph.add("Transpose", ids, perm=[1, 0]))
    lower = graph.read([[network.lower]], xs, "lower_", states=states[:1])
    below = graph.add("Transpose", lower.xs, perm=[1, 0, 2])
    contexts = _attend(graph, below, keys, values, lengths)
    both = graph.add("Concat", below, contexts, axis=-1)
    both = graph.add("Transpose", both, perm=[1, 0, 2])
    upper = graph.read([[network.upper]], both, "upper_", states=states[1:])
    above = graph.add("Transpose", upper.xs, perm=[1, 0, 2])
    both = graph.add("Concat", above, contexts, axis=-1)
    product = graph.add("MatMul", both, graph.parameter(network, "w_out"))
    scored = graph.add("Transpose", table, perm=[1, 0])
    scores = graph.add("MatMul", graph.add("Tanh", product), scored)
    bias = graph.parameter(network, "b_out")
    graph.add("Add", scores, bias, out="logits")
    graph.output("logits", ["B", "T", len(network.b_out[...])])
    graph.output("attention", ["B", "T", "S"])
    found = (*lower.states[0], *upper.states[0])
    for name, last in zip((n for names in states for n in names), found, strict=True):
        name = name.replace("initial", "last")
        graph.add("Identity", last, out=name)
        graph.output(name, [1, "B", hidden])
    return graph


def _attend(graph: Graph, queries: str, keys: str, values: str, lengths: str) -> str:
    """The contexts [B, T, H]; see `lstm_jax.nn.attention`."""
    zero, one = (graph.constant(n, np.int64) for n in (0, 1))
    steps = graph.add("Gather", graph.add("Shape", keys), one)
    clock = graph.add("Range", zero, steps, one)
    count = graph.add("Cast", lengths, to=7)  # int64
    count = graph.add("Unsqueeze", count, graph.constant([1, 2], np.int64))
    real = graph.add("Less", clock, count)  # [B, 1, S]
    turned = graph.add("Transpose", keys, perm=[0, 2, 1])
    scores = graph.add("MatMul", queries, turned)
    scores = graph.add("Where", real, scores, graph.constant(_NEVER))
    weights = graph.add("Softmax", scores, axis=-1)
    nothing = graph.constant(0)
    weights = graph.add("Where", real, weights, nothing, out="attention")
    return graph.add("MatMul", weights, values)


def try_translator(subject: Subject) -> dict[str, Trial]:
    """Ragged sentences, and targets of as many symbols."""
    network: Seq2Seq = subject.members[0]
    rng = np.random.default_rng(0)
    sources = rng.integers(0, len(network.source_table[...]), (ROWS, STEPS))
    ids = rng.integers(0, len(network.b_out[...]), (ROWS, STEPS - 2))
    memory, states = network.encode(
        jnp.asarray(sources, jnp.int32), jnp.asarray(LENGTHS)
    )
    read = {"keys": memory.keys, "values": memory.values}
    read |= _named(network, "initial", states)
    read = {name: np.asarray(array) for name, array in read.items()}
    logits, attention, last = network.decode(
        jnp.asarray(ids, jnp.int32), states, Memory(*memory)
    )
    written = {"logits": np.asarray(logits), "attention": np.asarray(attention)}
    written |= _named(network, "last", last)
    lengths = {"sequence_lens": LENGTHS}
    return {
        ENCODER: Trial({"sources": sources, **lengths}, read),
        DECODER: Trial({"ids": ids, **lengths, **read}, written),
    }


def _named(network: Seq2Seq, what: str, states: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    """The states of both layers as the graphs have them, [1, B, H] by name."""
    return {
        name.replace("initial", what): np.asarray(array)[None]
        for names, state in zip(_states(network), states, strict=True)
        for name, array in zip(names, vars(state).values(), strict=True)
    }
