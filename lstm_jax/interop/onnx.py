"""ONNX: the operators `LSTM` and `GRU`.

Rows in the order i, o, f, c (a GRU's z, r, h): W [4H, D], R [4H, H], B [8H] with a bias
for x and one for h, peepholes P [3H] for i, o, f, all with an axis of directions in
front (https://onnx.ai/onnx/operators/onnx__LSTM.html). What a graph does besides is
not looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.activations import (
    PLAIN,
    Activation,
    as_attributes,
    read_activations,
)
from lstm_jax.interop.system import Feed, Outcome, State, System, cut, sigmoid
from lstm_jax.interop.weights import (
    ANOTHER,
    ANY_LAYERS,
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

_ORDER = {"lstm": ("iofg", "ifgo"), "gru": ("zrn", "rzn")}
_GATES = {"lstm": 4, "gru": 3}
# Operators that hand on the outputs of a layer, arranged otherwise.
_ARRANGE = ("Transpose", "Reshape", "Squeeze", "Identity", "Dropout", "Cast", "Concat")
_REPEAT = ("Expand", "Tile", "Slice", "Unsqueeze", "Gather")
_IR_VERSION, _OPSET = 8, 17  # read by every runtime of the last years
PRODUCER = "lstm_jax"
JOINED, JOINED_SHAPE = "joined", np.array([0, 0, -1])  # directions side by side


def inward(style: Style, arrays: Arrays) -> Direction:
    """Reorder and transpose; the two biases are kept apart."""
    theirs, our = _ORDER[style.kind]
    w_x, w_h = (reordered(arrays[name], 0, theirs, our).T for name in "WR")
    b = b_h = None
    if "B" in arrays:
        b, b_h = (reordered(a, 0, theirs, our) for a in np.split(arrays["B"], 2))
    p = reordered(arrays["P"], 0, "iof", "ifo") if "P" in arrays else None
    one = Direction(w_x, w_h, b, b_h, p)
    if not style.reset_after:
        one = one_bias(style.kind, one, reset_after=False)
    return one


def outward(style: Style, one: Direction) -> Arrays:
    """The way back."""
    theirs, our = _ORDER[style.kind]
    arrays = {
        "W": reordered(one.w_x.T, 0, our, theirs),
        "R": reordered(one.w_h.T, 0, our, theirs),
    }
    if one.b is not None or one.b_h is not None or one.p is not None:
        both = bias_of(one), hidden_bias_of(one)
        halves = [reordered(array, 0, our, theirs) for array in both]
        arrays["B"] = np.concatenate(halves)
    if one.p is not None:
        arrays["P"] = reordered(one.p, 0, "ifo", "iof")
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of the operators' documentation."""
    w, r = arrays["W"], arrays["R"]
    b_w, b_r = np.split(arrays.get("B", np.zeros(2 * len(w), w.dtype)), 2)
    h = state[0]
    if style.kind == "gru":
        return _gru_step(style, x @ w.T + b_w, h, r, b_r)
    c = state[1]
    i, o, f, g = np.split(x @ w.T + h @ r.T + b_w + b_r, 4, axis=-1)
    p_i, p_o, p_f = np.split(arrays.get("P", np.zeros(3 * c.shape[-1], w.dtype)), 3)
    i = style.opened(i + p_i * c)
    f = 1 - i if style.coupled else style.opened(f + p_f * c)
    c = f * c + i * style.offered(g)
    return style.opened(o + p_o * c) * style.shown(c), c


def _gru_step(style: Style, x_gates: Array, h: Array, r: Array, b_r: Array) -> State:
    x_z, x_r, x_h = np.split(x_gates, 3, axis=-1)
    (r_z, r_r, r_h), (b_z, b_rr, b_h) = np.split(r, 3), np.split(b_r, 3)
    z = sigmoid(x_z + h @ r_z.T + b_z)
    reset = sigmoid(x_r + h @ r_r.T + b_rr)
    if style.reset_after:
        new = np.tanh(x_h + reset * (h @ r_h.T + b_h))
    else:
        new = np.tanh(x_h + (reset * h) @ r_h.T + b_h)
    return ((1 - z) * new + z * h,)


def find(model: Any) -> dict[str, Stack[Arrays]]:  # noqa: ANN401 - ONNX is optional
    """Find the recurrent operators of a graph; those in a row are one stack.

    Args:
        model: an `onnx.ModelProto`.

    Raises:
        InputError: attributes that nothing else has, or weights that are no constants.
    """
    constants = _constants(model.graph)
    made_by = {name: node for node in model.graph.node for name in node.output}
    stacks: dict[str, Stack[Arrays]] = {}
    ends: dict[str, str] = {}  # by its outputs, the stack that a node is the top of
    for number, node in enumerate(model.graph.node):
        if node.op_type not in ("LSTM", "GRU"):
            continue
        name = node.name or f"{node.op_type}_{number}"
        style, layer = _layer_of(node, name, constants, made_by)
        below = ends.pop(_source(node.input[0], made_by), None)
        if below is not None and _fits(stacks[below], style, layer):
            stacks[below] = Stack(style, (*stacks[below].layers, layer))
            name = below
        else:
            stacks[name] = Stack(style, (layer,))
        ends[node.output[0]] = name
    return stacks


def _fits(below: Stack[Arrays], style: Style, layer: Sequence[Arrays]) -> bool:
    """Whether a layer reads just what comes out of those below it."""
    width = sum(one["R"].shape[-1] for one in below.layers[-1])
    return below.style == style and layer[0]["W"].shape[-1] == width


def _constants(graph: Any) -> dict[str, Array]:  # noqa: ANN401
    """The arrays that a graph has in it."""
    from onnx import numpy_helper

    found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            found[node.output[0]] = numpy_helper.to_array(values[0])
    return found


def _source(name: str, made_by: Mapping[str, Any]) -> str:
    """The output that this one is another arrangement of."""
    while name in made_by and made_by[name].op_type in _ARRANGE:
        name = made_by[name].input[0]
    return name


def _layer_of(
    node: Any,  # noqa: ANN401
    name: str,
    constants: Mapping[str, Array],
    made_by: Mapping[str, Any],
) -> tuple[Style, tuple[Arrays, ...]]:
    """What an operator computes, and the arrays of its directions."""
    from onnx import helper

    kind = node.op_type.lower()
    attributes = {
        each.name: helper.get_attribute_value(each) for each in node.attribute
    }
    direction = attributes.get("direction", b"forward").decode()
    ways = 2 if direction == "bidirectional" else 1
    clip, activations = _settings_of(kind, ways, attributes, name)
    style = Style(
        kind,
        reset_after=kind == "lstm" or bool(attributes.get("linear_before_reset", 0)),
        coupled=bool(attributes.get("input_forget", 0)),
        backward=direction == "reverse",
        clip=clip,
        activations=activations,
    )
    inputs = [*node.input, *[""] * 8][:8]
    named = dict(zip(("W", "R", "B"), inputs[1:4], strict=True)) | {"P": inputs[7]}
    arrays = {
        key: _constant(given, f"{name}: {key}", constants)
        for key, given in named.items()
        if given
    }
    for key, given in zip(("initial_h", "initial_c"), inputs[5:7], strict=True):
        if any(array.any() for array in _behind(given, constants, made_by)):
            raise InputError(
                f"{name}: expected {key} to be zero or an input of the graph, found "
                "other constants, which are no weights"
            )
    if inputs[4] in constants:
        raise InputError(
            f"{name}: expected sequence_lens to be an input of the graph, found "
            "constants, which are no weights"
        )
    shapes = {key: list(array.shape) for key, array in arrays.items()}
    if {shape[0] if shape else 0 for shape in shapes.values()} != {ways}:
        raise InputError(f"{name}: expected {ways} directions, found shapes {shapes}")
    return style, tuple({k: a[way] for k, a in arrays.items()} for way in range(ways))


def _settings_of(
    kind: str, ways: int, attributes: Mapping[str, Any], name: str
) -> tuple[float, tuple[Activation, ...]]:
    """The bound and the activations of an operator, the same in all directions.

    Raises:
        InputError: it is a GRU that has others than all have, or they are damaged.
    """
    clip = attributes.get("clip", 0.0)
    if not 0 <= clip < np.inf:
        raise InputError(f"{name}: expected a clip of 0 or more, found {clip:g}")
    plain = PLAIN[: 3 if kind == "lstm" else 2]
    found = plain * ways
    if names := [each.decode() for each in attributes.get("activations", [])]:
        numbers = (
            list(attributes.get(f"activation_{n}", [])) for n in ("alpha", "beta")
        )
        try:
            found = read_activations(names, *numbers)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
    one = found[: len(plain)]
    if len(found) != len(plain) * ways or found != one * ways:
        words = ", ".join(map(str, found))
        raise InputError(
            f"{name}: expected {len(plain)} activations, the same in each direction, "
            f"found {words}"
        )
    if kind == "gru" and (clip or one != plain):
        what = f"a clip of {clip:g}" if clip else ", ".join(map(str, one))
        raise InputError(
            f"{name}: expected a GRU with sigmoid and tanh and no clip, found {what}"
        )
    return clip, one if kind == "lstm" else PLAIN


def _behind(
    name: str, constants: Mapping[str, Array], made_by: Mapping[str, Any]
) -> list[Array]:
    """The constants whose numbers a value consists of: those expanded, for one."""
    from onnx import helper, numpy_helper

    if name in constants:
        return [constants[name]]
    if name not in made_by:
        return []
    node = made_by[name]
    if node.op_type == "ConstantOfShape":
        given = [helper.get_attribute_value(each) for each in node.attribute]
        return [numpy_helper.to_array(value) for value in given]
    if node.op_type not in (*_ARRANGE, *_REPEAT):
        return []
    inputs = node.input if node.op_type == "Concat" else node.input[:1]
    return [array for each in inputs for array in _behind(each, constants, made_by)]


def _constant(name: str, what: str, constants: Mapping[str, Array]) -> Array:
    if name not in constants:
        raise InputError(
            f"{what}: expected weights in the file, found the value {name}"
        )
    return constants[name]


def assemble(stack: Stack[Arrays]) -> Any:  # noqa: ANN401
    """A model whose graph is the stack alone, checked by ONNX.

    Its inputs are X [B, T, D], sequence_lens [B], and for each layer initial_h_0
    [directions, B, H] and initial_c_0; its outputs Y [B, T, P] and each layer's
    last_h_0 and last_c_0. B and T are free.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(stack.layers[0][0]["W"].dtype)
    if kind == TensorProto.BFLOAT16:
        raise InputError("expected float16, float32 or float64, found bfloat16")
    nodes = [helper.make_node("Transpose", ["X"], ["xs_0"], perm=[1, 0, 2])]
    weights, inputs, outputs, hidden = [], [], [], 0
    for depth, layer in enumerate(stack.layers):
        kinds = "hc"[: 2 if stack.style.kind == "lstm" else 1]
        starts = tuple(f"initial_{state}_{depth}" for state in kinds)
        place = Place(depth, f"xs_{depth}", starts, "sequence_lens")
        weights += [
            numpy_helper.from_array(a, n) for n, a in layer_arrays(layer, place).items()
        ]
        nodes += layer_nodes(stack.style, layer, place)
        hidden = layer[0]["R"].shape[-1]
        shape = [len(layer), "B", hidden]
        ends = [place.name(f"last_{state}") for state in kinds]
        for names, those in ((inputs, starts), (outputs, ends)):
            names += [helper.make_tensor_value_info(n, kind, shape) for n in those]
    width = len(stack.layers[-1]) * hidden
    top = f"xs_{len(stack.layers)}"
    nodes.append(helper.make_node("Transpose", [top], ["Y"], perm=[1, 0, 2]))
    weights.append(numpy_helper.from_array(JOINED_SHAPE, JOINED))
    given = stack.layers[0][0]["W"].shape[-1]
    graph = helper.make_graph(
        nodes,
        stack.style.kind,
        [
            helper.make_tensor_value_info("X", kind, ["B", "T", given]),
            helper.make_tensor_value_info("sequence_lens", TensorProto.INT32, ["B"]),
            *inputs,
        ],
        [helper.make_tensor_value_info("Y", kind, ["B", "T", width]), *outputs],
        weights,
    )
    model = as_model(graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def as_model(graph: Any) -> Any:  # noqa: ANN401
    """A model of a graph, in versions that every runtime reads."""
    from onnx import helper

    opset = helper.make_opsetid("", _OPSET)
    return helper.make_model(
        graph, producer_name=PRODUCER, opset_imports=[opset], ir_version=_IR_VERSION
    )


class Place(NamedTuple):
    """Where a layer stands in a graph.

    Attributes:
        depth: how many layers are below it.
        xs: the name of what it reads, [T, B, D].
        states: of what it starts from, h and c [directions, B, H]; "" for zeros.
        lengths: of how many steps of each row are real; "" if all are.
        prefix: what its names begin with.
    """

    depth: int
    xs: str
    states: tuple[str, ...] = ()
    lengths: str = ""
    prefix: str = ""

    def name(self, what: str, above: int = 0) -> str:
        """Name something of this layer, or of one above it."""
        return f"{self.prefix}{what}_{self.depth + above}"


def layer_arrays(layer: Sequence[Arrays], place: Place) -> dict[str, Array]:
    """The weights of a layer, with an axis of directions in front, by their names."""
    return {place.name(n): np.stack([one[n] for one in layer]) for n in layer[0]}


def layer_nodes(style: Style, layer: Sequence[Arrays], place: Place) -> list[Any]:
    """The operator of a layer, and what puts its directions side by side.

    They make its outputs, xs_1 [T, B, P] of layer 0, and its last states, last_h_0 and
    last_c_0 [directions, B, H]; the graph has to have the constant `JOINED`.
    """
    from onnx import helper

    lstm = style.kind == "lstm"
    direction = "bidirectional" if len(layer) == 2 else "forward"
    extra: dict[str, Any] = {"input_forget": 1} if style.coupled else {}
    if style.clip:
        extra["clip"] = style.clip
    if style.activations != PLAIN:
        extra |= as_attributes(style.activations * len(layer))
    if not lstm:
        extra["linear_before_reset"] = int(style.reset_after)
    here = {n: place.name(n) if n in layer[0] else "" for n in "WRBP"}
    states = place.states or ("", "")[: 1 + lstm]
    last = [place.name("last_h"), *[place.name("last_c")] * lstm]
    given = [place.xs, here["W"], here["R"], here["B"], place.lengths, *states]
    given += [here["P"]] * bool(here["P"])
    while not given[-1]:
        given.pop()
    apart, turned = place.name("apart"), place.name("turned")
    return [
        helper.make_node(
            style.kind.upper(),
            given,
            [apart, *last],
            name=place.name("layer"),
            hidden_size=layer[0]["R"].shape[-1],
            direction="reverse" if style.backward else direction,
            **extra,
        ),
        helper.make_node("Transpose", [apart], [turned], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [turned, JOINED], [place.name("xs", 1)]),
    ]


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """The model of `assemble` in ONNX Runtime, on the CPU."""
    import onnxruntime

    given = {"X": feed.xs, "sequence_lens": feed.lengths}
    for depth, layer in enumerate(feed.states):
        for name, values in zip("hc", zip(*layer, strict=True), strict=False):
            given[f"initial_{name}_{depth}"] = np.stack(values)
    session = onnxruntime.InferenceSession(
        assemble(stack).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(names, given), strict=True))
    after = [
        tuple(
            tuple(
                found[f"last_{name}_{depth}"][way]
                for name in "hc"
                if f"last_{name}_{depth}" in found
            )
            for way in range(len(layer))
        )
        for depth, layer in enumerate(stack.layers)
    ]
    return cut(Outcome(found["Y"], tuple(after)), feed.lengths)


ONNX = System(
    name="onnx",
    title="ONNX",
    library="onnxruntime",
    holds=ANY_LAYERS
    | GRU
    | {"peepholes", "coupled gates (f = 1 - i)", "a reset before the product"}
    | {"coupled gates of such an activation"}
    | {"clipped activations", "other activations", ANOTHER},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
