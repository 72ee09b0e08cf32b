"""Our own layers: `LSTM`, `Bidirectional` and `StackedLSTM`, and their arrays."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lstm_jax.cells.gru import GRUState
from lstm_jax.cells.lstm import LSTMState
from lstm_jax.errors import InputError, warn
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
    ANY_LAYERS,
    GRU,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    Weights,
    bias_of,
    check_weights,
    dtype_of,
    flattened,
    hidden_bias_of,
    one_bias,
)
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM

Layer = LSTM | Bidirectional | StackedLSTM
_KINDS = {frozenset(("w_x", "w_h", "b")): "lstm"}
_KINDS |= {frozenset(("w_x", "w_h", "b", "p")): "lstm"}
_KINDS |= {frozenset(("w_x", "w_h", "b", "b_hn")): "gru"}
_KINDS |= {frozenset(("w_x", "w_h", "b_ih", "b_hh")): "lstm"}
_KINDS |= {frozenset(("w_x", "w_h", "b_ih", "b_hh", "p")): "lstm"}


def inward(style: Style, arrays: Arrays) -> Direction:
    """Read our arrays; a bias that was kept in two parts stays so."""
    b, b_h = arrays.get("b"), arrays.get("b_hh")
    if b is None:
        b = arrays["b_ih"]
    if style.kind == "gru":
        hidden = len(arrays["b_hn"])
        b_h = np.concatenate([np.zeros(2 * hidden, b.dtype), arrays["b_hn"]])
    return Direction(arrays["w_x"], arrays["w_h"], b, b_h, arrays.get("p"))


def outward(style: Style, one: Direction) -> Arrays:
    """Write our arrays, with one bias."""
    one = one_bias(style.kind, one)
    arrays = {"w_x": one.w_x, "w_h": one.w_h, "b": bias_of(one)}
    if one.p is not None:
        arrays["p"] = one.p
    if style.kind == "gru":
        arrays["b_hn"] = hidden_bias_of(one)[-one.sizes[1] :]
    return arrays


def outward_apart(style: Style, one: Direction) -> Arrays:
    """Write our arrays, with the two biases of an LSTM as they are."""
    arrays = outward(style, one)
    if style.kind == "lstm" and one.b is not None and one.b_h is not None:
        del arrays["b"]
        arrays |= {"b_ih": one.b, "b_hh": one.b_h}
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of `cells/lstm.py`, `cells/peephole.py` and `cells/gru.py`."""
    b = arrays["b"] if "b" in arrays else arrays["b_ih"] + arrays["b_hh"]
    z = x @ arrays["w_x"] + b
    if style.kind == "gru":
        return _gru_step(arrays, z, state[0])
    h, c = state
    i, f, g, o = np.split(z + h @ arrays["w_h"], 4, axis=-1)
    p_i, p_f, p_o = np.split(arrays.get("p", np.zeros(3, c.dtype)), 3)
    c_new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    return sigmoid(o + p_o * c_new) * np.tanh(c_new), c_new


def _gru_step(arrays: Arrays, z: Array, h: Array) -> State:
    x_r, x_z, x_n = np.split(z, 3, axis=-1)
    h_r, h_z, h_n = np.split(h @ arrays["w_h"], 3, axis=-1)
    n = np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + arrays["b_hn"]))
    kept = sigmoid(x_z + h_z)
    return ((1 - kept) * n + kept * h,)


def find(arrays: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find our layers among named arrays: those of a checkpoint, for one."""
    cells = {
        path: cell
        for path, cell in parents(flattened(arrays)).items()
        if frozenset(cell) in _KINDS
    }
    return grouped(cells, lambda cell: Style(_KINDS[frozenset(cell)]))


def assemble(stack: Stack[Arrays]) -> Arrays:
    """Name the arrays as `StackedLSTM` does: layers/0/forward/w_x."""
    return {
        f"{place}/{name}": array
        for place, arrays in places(stack)
        for name, array in arrays.items()
    }


def to_weights(layer: Layer) -> Weights:
    """The weights of a layer of ours in the common form.

    Raises:
        InputError: a cell that no other system has.
    """
    stack = layer.layers if isinstance(layer, StackedLSTM) else [layer]
    rows = [
        (each.forward, each.backward) if isinstance(each, Bidirectional) else (each,)
        for each in stack
    ]
    cells = {one.cell.name for row in rows for one in row}
    if len(cells) > 1 or not cells <= {"lstm", "peephole", "gru"}:
        raise InputError(
            f"cell: expected one of lstm, peephole, gru, found {' and '.join(cells)}"
        )
    style = Style("gru" if cells == {"gru"} else "lstm")
    weights = Stack(
        style,
        tuple(
            tuple(
                inward(style, {n: np.asarray(a) for n, a in vars(one.params).items()})
                for one in row
            )
            for row in rows
        ),
    )
    return check_weights(weights)


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
    if dtype_of(weights) == np.float64 and not jax.config.read("jax_enable_x64"):
        raise InputError(
            "weights: expected float32 or less, found float64: enable jax_enable_x64, "
            "or pass dtype=jnp.float32"
        )
    if weights.style.backward:
        warn("these layers read backwards: call them with reverse=True")
    rows = [[_one(weights.style, arrays) for arrays in row] for row in theirs.layers]
    layers = [row[0] if len(row) == 1 else _both(*row) for row in rows]
    if len(layers) == 1:
        return layers[0]
    stack: StackedLSTM = jax.eval_shape(
        lambda: StackedLSTM(1, 1, len(layers), rngs=nnx.Rngs(0))
    )
    stack.layers = nnx.List(layers)
    return stack


def _one(style: Style, arrays: Arrays) -> LSTM:
    """One direction of one layer."""
    cell = "gru" if style.kind == "gru" else "peephole" if "p" in arrays else "lstm"
    sizes = len(arrays["w_x"]), len(arrays["w_h"])
    layer: LSTM = jax.eval_shape(lambda: LSTM(*sizes, cell=cell, rngs=nnx.Rngs(0)))
    for name, array in arrays.items():
        setattr(layer, name, nnx.Param(jnp.asarray(array)))
    return layer


def _both(forward: LSTM, backward: LSTM) -> Bidirectional:
    layer: Bidirectional = jax.eval_shape(lambda: Bidirectional(1, 1, rngs=nnx.Rngs(0)))
    layer.forward, layer.backward = forward, backward
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
    holds=ANY_LAYERS | GRU | {"peepholes"},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
