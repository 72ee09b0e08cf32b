"""Keras: `LSTM`, `GRU` and `Bidirectional`, of Keras 3 and 2.

Columns in our order i, f, c, o for an LSTM, as z, r, h for a GRU: `kernel` [D, 4H],
`recurrent_kernel` [H, 4H], one `bias` [4H]. A GRU with `reset_after` has a bias
[2, 3H], one for x and one for h. The forget bias of 1 is stored. The state is [h, c].

A model is here what its configuration says, a list of `Record`s: no configuration is
handed to Keras, which would build and call whatever it names.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.activations import SIGMOID, as_ours, of_ours
from lstm_jax.interop.system import Feed, Outcome, State, System, cut, sigmoid
from lstm_jax.interop.weights import (
    ALL_BACKWARD,
    ANOTHER,
    ANY_LAYERS,
    BLOCKS,
    GRU,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    bias_of,
    hidden_bias_of,
    one_bias,
    reordered,
)

_KINDS = {"LSTM": "lstm", "GRU": "gru", "CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
# Of candidate and output alike, by names that ours have too. What `hard_sigmoid` is has
# changed from Keras 2 to 3.
_ACTIVATIONS = ("tanh", "relu", "sigmoid", "softsign", "softplus", "elu", "linear")
_NAMES = ("kernel", "recurrent_kernel", "bias")
# Layers that change nothing in evaluation, so that a stack goes on behind them.
_TRANSPARENT = {
    "ActivityRegularization",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "InputLayer",
    "Masking",
    "SpatialDropout1D",
}
_MODELS = {"Sequential", "Functional", "Model"}


class Record(NamedTuple):
    """A layer of a model.

    Attributes:
        class_name: of the layer.
        config: as Keras has it, in JSON.
        weights: as `layer.get_weights()` gives them.
        follows: whether its inputs are the outputs of the record before it.
    """

    class_name: str
    config: Mapping[str, Any]
    weights: Sequence[Array]
    follows: bool = True


def records_of(
    model: Mapping[str, Any], weights_of: Callable[[str, str, int], Sequence[Array]]
) -> list[Record]:
    """List the layers of a model from its configuration in JSON.

    Args:
        model: {"class_name": ..., "config": ...}.
        weights_of: the arrays of a layer, by its name, its class, and how many of
            its class came before it.

    Raises:
        InputError: a layer that is code.
    """
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, Mapping) else config
    if not isinstance(layers, list):
        raise InputError(f"expected the layers of a Keras model, found {layers!r:.60}")
    records: list[Record] = []
    counts: dict[str, int] = {}
    last: str | None = None  # the name that `records[-1]` is known by behind it
    same: dict[str, str] = {}  # what is transparent, by what it passes on
    for layer in layers:
        kind, inner = layer["class_name"], layer["config"]
        if kind == "Lambda":
            raise InputError(
                f"expected layers without code, found the Lambda {inner.get('name')!r}"
            )
        if kind in _MODELS:
            raise InputError(
                f"expected a model of layers, found the model {inner.get('name')!r} in "
                "it: save that one by itself"
            )
        name, count = str(inner.get("name", layer.get("name"))), counts.get(kind, 0)
        counts[kind] = count + 1
        sources = list(_sources(layer.get("inbound_nodes", [])))
        source = sources[0] if sources else last
        source = same.get(str(source), source)
        if kind in _TRANSPARENT:
            same[name] = str(source)
            last = name if not sources else last
            continue
        follows = bool(records) and source == _name(records[-1])
        records.append(Record(kind, inner, weights_of(name, kind, count), follows))
        last = name
    return records


def _name(record: Record) -> str:
    return str(record.config.get("name", ""))


def _sources(nodes: object) -> Iterator[str]:
    """Name the layers that nodes come from, in Keras 3's JSON or in Keras 2's."""
    if isinstance(nodes, Mapping):
        history = nodes.get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
        for value in nodes.values():
            yield from _sources(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        for value in nodes:
            yield from _sources(value)


def records_without_configuration(
    arrays: Mapping[str, Sequence[Array]],
) -> list[Record]:
    """List layers of which there are only arrays, by their names, in the file's order.

    What they compute is taken to be what Keras has as defaults.

    Raises:
        InputError: layers whose order neither their names nor their sizes say.
    """
    records = []
    for name, weights in arrays.items():
        kind = _kind_of(weights)
        both = len(weights) in (4, 6)
        config: dict[str, Any] = {"name": name, "use_bias": len(weights) % 3 == 0}
        if kind is not None and both:
            inner = {"class_name": kind, "config": config}
            config = {"name": name, "layer": inner}
        found = "Bidirectional" if kind and both else kind
        records.append(Record(found or "a layer of another kind", config, weights))
    recurrent = [each for each in records if _is_recurrent(each)]
    if len(recurrent) < 2:
        return records
    others = [each for each in records if not _is_recurrent(each)]
    return [*_in_order(recurrent), *others]


def _is_recurrent(record: Record) -> bool:
    return record.class_name in (*_KINDS, "Bidirectional")


def _kind_of(weights: Sequence[Array]) -> str | None:
    """LSTM or GRU, if these are the arrays of one, by their shapes."""
    if len(weights) not in (2, 3, 4, 6):
        return None
    kernel, recurrent = weights[:2]
    if kernel.ndim != 2 or recurrent.ndim != 2 or 0 in recurrent.shape:
        return None
    if kernel.shape[1] != recurrent.shape[1]:
        return None
    ratio = recurrent.shape[1] / recurrent.shape[0]
    return {4.0: "LSTM", 3.0: "GRU"}.get(ratio)


def _in_order(records: list[Record]) -> list[Record]:
    """Layers as one stack, where exactly one order of their classes fits its sizes."""
    classes = sorted({record.class_name for record in records})
    orders = [
        [record for kind in order for record in records if record.class_name == kind]
        for order in (classes, classes[::-1])[: len(classes)]
    ]
    fitting = [order for order in orders if _fits(order)]
    if len(fitting) != 1:
        names = ", ".join(_name(record) for record in records)
        raise InputError(
            f"expected layers whose order their sizes say, found {names}: "
            "save the model as .keras, which has the order"
        )
    return fitting[0]


def _fits(records: Sequence[Record]) -> bool:
    outputs = [
        len(each.weights[1]) * (2 if each.class_name == "Bidirectional" else 1)
        for each in records
    ]
    inputs = [len(each.weights[0]) for each in records]
    return inputs[1:] == outputs[:-1]


def find(records: Sequence[Record]) -> dict[str, Stack[Arrays]]:
    """Find stacks of LSTMs and GRUs, named as their first layer.

    A layer that goes backwards hands its outputs on in that order, so that what lies on
    it reads time the other way round: nothing is joined to it.

    Raises:
        InputError: activations and merges that we haven't.
    """
    stacks: dict[str, Stack[Arrays]] = {}
    before = ""
    for record in records:
        found = _layer_of(record)
        if found is None:
            before = ""
            continue
        style, layer = found
        joins = record.follows and not style.backward
        if before and joins and stacks[before].style == style:
            stack = stacks[before]
            stacks[before] = Stack(style, (*stack.layers, layer))
        else:
            before = _name(record)
            stacks[before] = Stack(style, (layer,))
    return stacks


def _layer_of(record: Record) -> tuple[Style, tuple[Arrays, ...]] | None:
    """The directions of a layer, if it is a recurrent one."""
    if record.class_name in _KINDS:
        style, arrays = _direction(record.class_name, record.config, record.weights)
        return style, (arrays,)
    inner = record.config.get("layer")
    if record.class_name != "Bidirectional" or not isinstance(inner, Mapping):
        return None
    if inner.get("class_name") not in _KINDS:
        return None
    name, kind = _name(record), str(inner["class_name"])
    if (mode := record.config.get("merge_mode", "concat")) != "concat":
        raise InputError(f"{name}: expected merge_mode concat, found {mode!r}")
    half = len(record.weights) // 2
    config = inner["config"]
    back = record.config.get("backward_layer")
    back = back["config"] if isinstance(back, Mapping) else config
    style, ahead = _direction(kind, config, record.weights[:half])
    if style.backward:
        raise InputError(
            f"{name}: expected a forward layer first, found a backward one"
        )
    other, behind = _direction(kind, back, record.weights[half:])
    if dataclasses.replace(other, backward=False) != style:
        raise InputError(f"{name}: expected two directions of one kind, found others")
    return style, (ahead, behind)


def _direction(
    kind: str, config: Mapping[str, Any], weights: Sequence[Array]
) -> tuple[Style, Arrays]:
    """The arrays of one direction, by name."""
    name = config.get("name")
    cudnn = kind.startswith("CuDNN")
    activation = "tanh" if cudnn else config.get("activation", "tanh")
    wanted = {"activation": _ACTIVATIONS if _KINDS[kind] == "lstm" else ("tanh",)}
    wanted["recurrent_activation"] = ("sigmoid",)
    for key, values in wanted.items():
        if not cudnn and (found := config.get(key, values[0])) not in values:
            known = ", ".join(values)
            raise InputError(f"{name}: expected {key} {known}, found {found!r}")
    count = 3 if config.get("use_bias", True) else 2
    if len(weights) != count:
        raise InputError(
            f"{name}: expected {count} arrays, found {len(weights)}"
            f"{'' if weights else ': build the model first'}"
        )
    arrays = dict(zip(_NAMES, weights, strict=False))
    if arrays.get("bias", weights[0]).shape == (2 * weights[1].shape[-1],):
        arrays, cudnn = _from_cudnn(arrays, _KINDS[kind]), True
    reset_after = bool(config.get("reset_after", np.ndim(weights[-1]) == 2)) or cudnn
    style = Style(
        _KINDS[kind],
        reset_after=reset_after or _KINDS[kind] == "lstm",
        backward=bool(config.get("go_backwards", False)),
        activations=(SIGMOID, of_ours(activation), of_ours(activation)),
    )
    return style, arrays


def _from_cudnn(arrays: Arrays, kind: str) -> Arrays:
    """Read what Keras 2 kept of `CuDNNLSTM` and `CuDNNGRU`: each gate as cuDNN has it.

    A gate's matrix lies as [H, D] row by row, whatever shape it is given, and the two
    biases behind each other (`_convert_rnn_weights` in Keras 2).
    """
    count = len(BLOCKS[kind])

    def turned(kernel: Array) -> Array:
        gates = np.split(kernel, count, axis=-1)
        return np.hstack([gate.reshape(gate.shape[::-1]).T for gate in gates])

    kernel, recurrent, bias = (arrays[name] for name in _NAMES)
    matrices = {"kernel": turned(kernel), "recurrent_kernel": turned(recurrent)}
    return {**matrices, "bias": bias.reshape(2, -1)}


def inward(style: Style, arrays: Arrays) -> Direction:
    """Read our own layout; a GRU's gates reordered, the two biases of CuDNN's apart."""
    w_x, w_h, b = (arrays.get(name) for name in _NAMES)
    assert w_x is not None and w_h is not None, "`find` has made sure"
    columns = w_h.shape[-1]
    b_h = None
    if b is not None and b.size == 2 * columns:
        b, b_h = b.reshape(2, columns)
    if style.kind == "lstm":
        return Direction(w_x, w_h, b, b_h)
    turned: list[Any] = [
        None if a is None else reordered(a, -1, "zrn", "rzn")
        for a in (w_x, w_h, b, b_h)
    ]
    return Direction(*turned)


def outward(style: Style, one: Direction) -> Arrays:
    """The way back; a GRU with `reset_after` has two biases."""
    two = style.kind == "gru" and style.reset_after
    one = one if two else one_bias(style.kind, one, style.reset_after)
    arrays = {"kernel": one.w_x, "recurrent_kernel": one.w_h}
    if one.b is not None or one.b_h is not None:
        biases = [bias_of(one), hidden_bias_of(one)]
        arrays["bias"] = np.stack(biases) if two else biases[0]
    if style.kind == "lstm":
        return arrays
    return {name: reordered(a, -1, "rzn", "zrn") for name, a in arrays.items()}


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of Keras' source."""
    h, kernel, recurrent = state[0], arrays["kernel"], arrays["recurrent_kernel"]
    columns = kernel.shape[1]
    bias = arrays.get("bias", np.zeros(columns, kernel.dtype)).reshape(-1, columns)
    if style.kind == "lstm":
        z = x @ kernel + h @ recurrent + bias.sum(0)
        i, f, g, o = np.split(z, 4, axis=-1)
        c = sigmoid(f) * state[1] + sigmoid(i) * style.offered(g)
        return sigmoid(o) * style.shown(c), c
    x_z, x_r, x_h = np.split(x @ kernel + bias[0], 3, axis=-1)
    inner = h @ recurrent + (bias[1] if len(bias) == 2 else 0)
    h_z, h_r, h_h = np.split(inner, 3, axis=-1)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    hidden = h.shape[-1]
    inside = r * h_h if style.reset_after else (r * h) @ recurrent[:, -hidden:]
    return (z * h + (1 - z) * np.tanh(x_h + inside),)


def assemble(stack: Stack[Arrays]) -> list[Record]:
    """List the layers of a `Sequential` model."""
    return [
        _record(stack.style, layer, depth) for depth, layer in enumerate(stack.layers)
    ]


def _record(style: Style, layer: tuple[Arrays, ...], depth: int) -> Record:
    """One layer as `layer.get_config()` has it, but for what follows from defaults."""
    kind = style.kind.upper()
    weights = [a for arrays in layer for a in arrays.values()]

    def config(name: str, backward: bool) -> dict[str, Any]:
        extra = {} if style.kind == "lstm" else {"reset_after": style.reset_after}
        return {
            "name": name,
            "units": len(layer[0]["recurrent_kernel"]),
            "activation": as_ours(style.activations[1]),
            "recurrent_activation": "sigmoid",
            "use_bias": "bias" in layer[0],
            "return_sequences": True,
            "go_backwards": backward,
            **extra,
        }

    name = f"{style.kind}_{depth}"
    if len(layer) == 1:
        return Record(kind, config(name, style.backward), weights)
    ways = {
        key: {
            "module": "keras.layers",
            "class_name": kind,
            "config": config(f"{way}_{name}", way == "backward"),
            "registered_name": None,
        }
        for key, way in (("layer", "forward"), ("backward_layer", "backward"))
    }
    both = {"name": f"bidirectional_{depth}", "merge_mode": "concat", **ways}
    return Record("Bidirectional", both, weights)


def layer_of(record: Record) -> Any:  # noqa: ANN401 - Keras is optional
    """Make the layer of a record of `assemble`, without weights."""
    os.environ.setdefault("KERAS_BACKEND", "jax")  # heeded if Keras is not loaded yet
    import keras

    def single(config: Mapping[str, Any], kind: str) -> Any:  # noqa: ANN401
        return getattr(keras.layers, kind)(return_state=True, **config)

    if record.class_name != "Bidirectional":
        return single(record.config, record.class_name)
    ahead, back = (record.config[key] for key in ("layer", "backward_layer"))
    return keras.layers.Bidirectional(
        single(ahead["config"], ahead["class_name"]),
        backward_layer=single(back["config"], back["class_name"]),
        name=record.config["name"],
    )


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """The layers themselves, with a mask."""
    xs: Any = feed.xs
    after = []
    mask = np.arange(xs.shape[1]) < feed.lengths[:, None]
    for record, states in zip(assemble(stack), feed.states, strict=True):
        layer = layer_of(record)
        layer.build(xs.shape)
        layer.set_weights(list(record.weights))
        start = [array for state in states for array in state]
        ys, *last = layer(xs, mask=mask, initial_state=start)
        ys = np.asarray(ys)
        # A layer that goes backwards returns its outputs as it came to them.
        xs = ys[:, ::-1] if stack.style.backward else ys
        last = [np.asarray(array) for array in last]
        size = len(states[0])
        after.append(
            tuple(tuple(last[k : k + size]) for k in range(0, len(last), size))
        )
    return cut(Outcome(xs, tuple(after)), feed.lengths)


def snake_case(name: str) -> str:
    """Name a class as Keras' files do: LSTM is lstm, CuDNNLSTM is cu_dnnlstm."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


KERAS = System(
    name="keras",
    title="Keras",
    library="keras",
    holds=(ANY_LAYERS - {ALL_BACKWARD}) | GRU | {"a reset before the product", ANOTHER},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
