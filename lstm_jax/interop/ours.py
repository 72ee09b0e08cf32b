"""Our own layers: `LSTM`, `Bidirectional` and `StackedLSTM`, and their arrays."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax.cells.gru import GRUCell, GRUState
from lstm_jax.cells.lstm import LSTM_CELL, LSTMCell, LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.named import check_kind
from lstm_jax.cells.peephole import PeepholeCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell
from lstm_jax.errors import InputError, warn
from lstm_jax.interop.activations import (
    PLAIN,
    Activation,
    as_ours,
    is_symmetric,
    of_ours,
)
from lstm_jax.interop.system import (
    Feed,
    Outcome,
    State,
    System,
    grouped,
    parents,
    places,
    sigmoid,
)
from lstm_jax.interop.weights import (
    ALL_BACKWARD,
    ANOTHER,
    ANY_LAYERS,
    GRU,
    WIDE,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    Weights,
    check_held,
    check_weights,
    dtype_of,
    flattened,
    hidden_bias_of,
    one_bias,
)
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM

Layer = LSTM | Bidirectional | StackedLSTM
_ARRAYS = {"w_x", "w_h", "b", "b_ih", "b_hh", "b_hn", "p", "w_hr"}
# Of a cell that has them, beside its arrays: a number, and what `_as_text` reads.
_CLIP, _ACTIVATIONS = "clip", "activations"
SETTINGS = {_CLIP, _ACTIVATIONS}
# What is called `layers` in our files is an LSTM, or a GRU with a bias b_hn. Of others
# the arrays alone do not say what they are.
_MARKS = {
    "coupled": Style(coupled=True),
    "gru": Style("gru"),
    "gru_reset_first": Style("gru", reset_after=False),
}


def inward(style: Style, arrays: Arrays) -> Direction:
    """Read our arrays; a bias that was kept in two parts stays so."""
    if style.coupled:
        weights = {n: a for n, a in arrays.items() if n not in SETTINGS}
        arrays = {name: _with_input_gate(name, a) for name, a in weights.items()}
    w_x, w_h = arrays["w_x"], arrays["w_h"]
    b, b_h = arrays.get("b", arrays.get("b_ih")), arrays.get("b_hh")
    if "b_hn" in arrays:
        inside = arrays["b_hn"]
        b_h = np.concatenate([np.zeros(2 * len(inside), inside.dtype), inside])
    return Direction(w_x, w_h, b, b_h, arrays.get("p"), arrays.get("w_hr"))


def outward(style: Style, one: Direction) -> Arrays:
    """Write our arrays, with one bias."""
    one = one_bias(style.kind, one, style.reset_after)
    found = {"w_x": one.w_x, "w_h": one.w_h, "b": one.b, "p": one.p, "w_hr": one.proj}
    arrays = {name: array for name, array in found.items() if array is not None}
    if style.coupled:
        arrays = {name: _without_input_gate(name, a) for name, a in arrays.items()}
    if style.kind == "gru" and style.reset_after and one.b is not None:
        arrays["b_hn"] = hidden_bias_of(one)[-one.sizes[1] :]
    return arrays | _settings_of(style)


def _settings_of(style: Style) -> Arrays:
    """What a file has to say of a cell that is not plain."""
    if style.plain:
        return {}
    text = json.dumps([dataclasses.astuple(each) for each in style.activations])
    letters = np.frombuffer(text.encode(), np.uint8)
    return {_CLIP: np.array([style.clip], np.float32), _ACTIVATIONS: letters}


def _with_settings(style: Style, arrays: Arrays) -> Style:
    """The inverse of `_settings_of`.

    Raises:
        ValueError: they are damaged.
    """
    if not SETTINGS <= set(arrays):
        return style
    text = arrays[_ACTIVATIONS].astype(np.uint8).tobytes()
    names, alphas, betas = zip(*json.loads(text), strict=True)
    found = tuple(map(Activation, names, alphas, betas))
    clip = float(arrays[_CLIP].item())
    if len(found) != len(PLAIN) or not 0 <= clip < np.inf:
        raise ValueError(
            f"expected a bound and 3 activations, found {clip} and {names}"
        )
    for each in found:
        each.check()
    return dataclasses.replace(style, clip=clip, activations=found)


def _with_input_gate(name: str, array: Array) -> Array:
    """The block i = 1 - f of coupled gates: σ(-z) = 1 - σ(z)."""
    if name == "w_hr":
        return array
    f, *rest = np.split(array, 2 if name == "p" else 3, axis=-1)
    return np.concatenate([-f, np.zeros_like(f), *rest], axis=-1)


def _without_input_gate(name: str, array: Array) -> Array:
    """The inverse of `_with_input_gate`."""
    if name == "w_hr":
        return array
    i, _, *rest = np.split(array, 3 if name == "p" else 4, axis=-1)
    return np.concatenate([-i, *rest], axis=-1)


def outward_apart(style: Style, one: Direction) -> Arrays:
    """Write our arrays, with the two biases of an LSTM as they are."""
    arrays = outward(style, one)
    plain = style.kind == "lstm" and not style.coupled
    if plain and one.b is not None and one.b_h is not None:
        del arrays["b"]
        arrays |= {"b_ih": one.b, "b_hh": one.b_h}
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of `cells/lstm.py`, `cells/variant.py` and `cells/gru.py`."""
    b = arrays.get("b", 0)
    if "b_ih" in arrays:
        b = arrays["b_ih"] + arrays["b_hh"]
    z = x @ arrays["w_x"] + b
    if style.kind == "gru":
        return _gru_step(style, arrays, z, state[0])
    h, c = state
    blocks = np.split(z + h @ arrays["w_h"], 3 if style.coupled else 4, axis=-1)
    *gates, g, o = blocks
    p = arrays.get("p", np.zeros((len(blocks) - 1) * c.shape[-1], c.dtype))
    *seen, p_o = np.split(p, len(blocks) - 1)
    opened = [style.opened(z + p * c) for z, p in zip(gates, seen, strict=True)]
    i, f = (1 - opened[0], opened[0]) if style.coupled else opened
    c = f * c + i * style.offered(g)
    h = style.opened(o + p_o * c) * style.shown(c)
    return (h @ arrays["w_hr"] if "w_hr" in arrays else h), c


def _gru_step(style: Style, arrays: Arrays, z: Array, h: Array) -> State:
    x_r, x_z, x_n = np.split(z, 3, axis=-1)
    w_r, w_z, w_n = np.split(arrays["w_h"], 3, axis=-1)
    r, kept = sigmoid(x_r + h @ w_r), sigmoid(x_z + h @ w_z)
    inside = (r * h) @ w_n
    if style.reset_after:
        inside = r * (h @ w_n + arrays.get("b_hn", 0))
    return ((1 - kept) * np.tanh(x_n + inside) + kept * h,)


def find(arrays: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find our layers among named arrays: those of a checkpoint, for one.

    Raises:
        InputError: a cell that has more arrays, below its own.
    """
    there = parents(flattened(arrays))
    cells = {
        path: cell
        for path, cell in there.items()
        if {"w_x", "w_h"} <= set(cell) <= _ARRAYS | SETTINGS
    }
    for path in cells:
        if more := [each for each in there if each.startswith(f"{path}/".lstrip("/"))]:
            if path or more == ["rounds"]:
                raise InputError(
                    f"{path or 'layer'}: expected an LSTM or a GRU, found a cell with "
                    f"{more[-1].rpartition('/')[2]}, which no other system has"
                )
    styles = {
        id(cell): _with_settings(_style_of(path, cell), cell)
        for path, cell in cells.items()
    }
    return grouped(cells, lambda cell: styles[id(cell)])


def _style_of(path: str, arrays: Arrays) -> Style:
    """What a cell computes, by its arrays and by where they lie.

    Raises:
        InputError: it may be a coupled LSTM or a GRU.
    """
    if "b_hn" in arrays:
        return Style("gru")
    for mark in set(path.split("/")) & set(_MARKS):
        return _MARKS[mark]
    shape = arrays["w_h"].shape
    hidden = len(arrays.get("w_hr", arrays["w_h"]))
    if len(shape) == 2 and shape[1] == 3 * hidden:
        raise InputError(
            f"{path}: expected 4 blocks of columns, or b_hn, found 3 blocks: what has "
            "them is told apart in files of convert alone, where it lies under "
            f"{' or '.join(_MARKS)}"
        )
    return Style()


def assemble(stack: Stack[Arrays]) -> Arrays:
    """Name the arrays as `StackedLSTM` does: layers/0/forward/w_x."""
    style = dataclasses.replace(
        stack.style, backward=False, clip=0.0, activations=PLAIN
    )
    above = next((mark for mark, each in _MARKS.items() if each == style), "layers")
    if any("b_hn" in arrays for layer in stack.layers for arrays in layer):
        above = "layers"
    return {
        f"{place}/{name}": array
        for place, arrays in places(stack, above)
        for name, array in arrays.items()
    }


def to_weights(layer: Layer) -> Weights:
    """The weights of a layer of ours in the common form.

    Raises:
        InputError: a cell or an option that no other system has.
    """
    return weights_of(rows_of(layer))


def rows_of(layer: Layer) -> list[tuple[LSTM, ...]]:
    """The layers of one on top of each other, each in its one or two directions.

    Raises:
        InputError: an option that no other system has.
    """
    if isinstance(layer, StackedLSTM) and layer.residual:
        raise InputError(
            "residual: expected layers without, found residual connections"
        )
    stack = layer.layers if isinstance(layer, StackedLSTM) else [layer]
    rows: list[tuple[LSTM, ...]] = []
    for each in stack:
        if not isinstance(each, Bidirectional):
            rows.append((each,))
            continue
        if each.merge != "concat":
            raise InputError(f"merge: expected concat, found {each.merge}")
        rows.append((each.forward, each.backward))
    return rows


def weights_of(rows: Sequence[Sequence[LSTM]]) -> Weights:
    """The weights of layers on top of each other, see `rows_of`.

    Raises:
        InputError: a cell or an option that no other system has.
    """
    styles = {_style_of_layer(one) for row in rows for one in row}
    if len(styles) > 1:
        raise InputError("cell: expected one in all layers, found several")
    style = styles.pop()
    layers = tuple(
        tuple(inward(style, _arrays_of_layer(one)) for one in row) for row in rows
    )
    return check_weights(Stack(style, layers))


def _arrays_of_layer(layer: LSTM) -> Arrays:
    held = vars(layer.params).items()
    return {name: np.asarray(array) for name, array in held if array is not None}


def _style_of_layer(layer: LSTM) -> Style:
    """What a layer computes.

    Raises:
        InputError: what `Style` has no word for.
    """
    rates = layer.regularizer
    if rates.zoneout_hidden or rates.zoneout_cell:
        raise InputError(
            "zoneout: expected none, found some, which acts in evaluation too"
        )
    return _style_of_cell(layer.cell)


def _style_of_cell(cell: Cell) -> Style:
    """What a cell computes.

    Raises:
        InputError: what `Style` has no word for.
    """
    check_kind(cell)
    if isinstance(cell, GRUCell):
        return Style("gru", reset_after=cell.reset_after)
    if isinstance(cell, LSTMCell):
        return Style()
    refuse_hidden_settings(cell)
    if not isinstance(cell, VariantCell):
        raise InputError(
            "cell: expected an LSTM, with peepholes, a projection, coupled gates, clip "
            f"or activations at most, or a GRU, found {cell.name}"
        )
    style = Style(
        coupled=isinstance(cell, CoupledCell),
        clip=float(np.float32(cell.clip)),
        activations=(
            of_ours(cell.gate_activation),
            of_ours(cell.candidate_activation),
            of_ours(cell.output_activation),
        ),
    )
    if style.coupled and not is_symmetric(style.activations[0]):
        raise InputError(
            "cell: expected an activation of coupled gates with f(-z) = 1 - f(z), "
            f"found {style.activations[0]}"
        )
    return style


def refuse_hidden_settings(cell: Cell) -> None:
    """Refuse a cell that does what no other system does, and its arrays do not tell.

    Raises:
        InputError: naming the settings.
    """
    changed = ""
    if isinstance(cell, VariantCell) and cell.cell_clip:
        changed = "cell_clip"
    elif isinstance(cell, MogrifierCell) and cell.capped:
        changed = "capped gates"
    if changed:
        raise InputError(
            "cell: expected an LSTM, with peepholes, a projection, coupled gates, clip "
            f"or activations at most, or a GRU, found a {cell.name} with {changed}"
        )


def marked(arrays: Mapping[str, Any], cell: Cell) -> Mapping[str, Any]:
    """Put the arrays of a run's cells under what tells them from others.

    Args:
        arrays: of a whole network.
        cell: of its layers.

    Raises:
        InputError: it has what no other system has.
    """
    if not isinstance(cell, GRUCell | VariantCell):
        return arrays
    style = _style_of_cell(cell)
    settings = _settings_of(style)
    plain = dataclasses.replace(style, clip=0.0, activations=PLAIN)
    mark = next((f"{name}/" for name, each in _MARKS.items() if each == plain), "")
    mark = "" if style == Style("gru") else mark  # told by its bias b_hn
    found: dict[str, Any] = {}
    flat = flattened(arrays)
    cells = {path for path, own in parents(flat).items() if {"w_x", "w_h"} <= set(own)}
    for name, array in flat.items():
        path, _, last = name.rpartition("/")
        found[f"{mark}{name}" if path in cells else name] = array
        if path in cells and last == "w_x":
            place = f"{mark}{path}/".removeprefix("/")
            found |= {f"{place}{key}": value for key, value in settings.items()}
    return found


def cell_of(style: Style, arrays: Arrays) -> Cell:
    """The cell of ours that computes with these arrays."""
    if style.kind == "gru":
        return GRUCell(style.reset_after)
    proj = arrays["w_hr"].shape[-1] if "w_hr" in arrays else 0
    if not style.coupled and not proj and style.plain:
        return PeepholeCell() if "p" in arrays else LSTM_CELL
    gate, offer, show = map(as_ours, style.activations)
    kind = CoupledCell if style.coupled else VariantCell
    return kind(
        peepholes="p" in arrays,
        proj_size=proj,
        clip=style.clip,
        gate_activation=gate,
        candidate_activation=offer,
        output_activation=show,
    )


def to_layer(weights: Weights) -> Layer:
    """A layer of ours with these weights, ready to be called.

    Args:
        weights: in the common form.

    Returns:
        `LSTM` for one layer, `Bidirectional` for one in two directions, `StackedLSTM`
        for several.

    Raises:
        InputError: weights that no layer of ours can hold.
    """
    theirs = OURS.write(weights)
    check_held(weights, "StackedLSTM", OURS.holds - {ALL_BACKWARD})
    if dtype_of(weights) == np.float64 and not jax.config.read("jax_enable_x64"):
        raise InputError(
            "weights: expected float32 or less, found float64: enable jax_enable_x64, "
            "or pass dtype=jnp.float32"
        )
    if weights.style.backward:
        warn("this layer reads backwards: call it with reverse=True")
    rows = [[_one(weights.style, arrays) for arrays in row] for row in theirs.layers]
    layers = [row[0] if len(row) == 1 else _both(*row) for row in rows]
    if len(layers) == 1:
        return layers[0]
    stack: StackedLSTM = jax.eval_shape(
        lambda: StackedLSTM(1, 1, len(layers), rngs=nnx.Rngs(0))
    )
    stack.layers = nnx.List(layers)
    stack.out_features = layers[-1].out_features
    return stack


def _one(style: Style, arrays: Arrays) -> LSTM:
    """One direction of one layer."""
    cell = cell_of(style, arrays)
    sizes = len(arrays["w_x"]), arrays["w_h"].shape[-1] // len(cell.blocks)
    layer: LSTM = jax.eval_shape(
        lambda: LSTM(*sizes, cell=cell, use_bias="b" in arrays, rngs=nnx.Rngs(0))
    )
    for name in arrays.keys() - SETTINGS:
        setattr(layer, name, nnx.Param(jnp.asarray(arrays[name])))
    return layer


def _both(forward: LSTM, backward: LSTM) -> Bidirectional:
    layer: Bidirectional = jax.eval_shape(lambda: Bidirectional(1, 1, rngs=nnx.Rngs(0)))
    layer.forward, layer.backward = forward, backward
    layer.out_features = 2 * forward.out_features
    return layer


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """Our layers themselves, with products in full precision."""
    xs, after = feed.xs, []
    with jax.default_matmul_precision("highest"):
        for layer, before in zip(stack.layers, feed.states, strict=True):
            read = [
                _read(stack.style, arrays, xs, feed.lengths, state, way)
                for way, (arrays, state) in enumerate(zip(layer, before, strict=True))
            ]
            xs = np.concatenate([ys for ys, _ in read], axis=-1)
            after.append(tuple(state for _, state in read))
    return Outcome(xs, tuple(after))


def _read(
    style: Style, arrays: Arrays, xs: Array, lengths: Array, state: State, way: int
) -> tuple[Array, State]:
    """One direction of one layer."""
    if "b_ih" in arrays:
        arrays = outward(style, inward(style, arrays))
    begin = [jnp.asarray(array) for array in state]
    start = GRUState(*begin) if style.kind == "gru" else LSTMState(*begin)
    ys, last = _one(style, arrays)(
        jnp.asarray(xs),
        start,
        lengths=jnp.asarray(lengths),
        reverse=bool(way) or style.backward,
    )
    last = [np.asarray(getattr(last, each.name)) for each in dataclasses.fields(last)]
    return np.asarray(ys), tuple(last)


OURS = System(
    name="lstm_jax",
    title="lstm_jax",
    library="lstm_jax",
    holds=ANY_LAYERS
    | GRU
    | {
        "peepholes",
        "a projection",
        WIDE,
        "coupled gates (f = 1 - i)",
        "a reset before the product",
        "clipped activations",
        "other activations",
        ANOTHER,
    },
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
