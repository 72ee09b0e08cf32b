"""Flax NNX: `OptimizedLSTMCell`, `LSTMCell` and `GRUCell`, as trees of parameters.

`dense_i` [D, 4H] and `dense_h` [H, 4H] with the bias, gates i, f, g, o; a GRU's r, z, n
with the bias at `dense_i` and none within the reset. `LSTMCell` has a matrix per gate
as linen has, but calls the second `if_`. The carry is (c, h).
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.interop import flax_linen
from lstm_jax.interop.flax_linen import HOLDS
from lstm_jax.interop.system import (
    Feed,
    Outcome,
    State,
    System,
    grouped,
    places,
    sigmoid,
)
from lstm_jax.interop.weights import (
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    bias_of,
    flattened,
    nested,
    one_bias,
)

_CELL = re.compile(r"((?:.*/)?)(dense_[ih]|[ih][ifgo]|if_)/(kernel|bias)$")


def inward(style: Style, arrays: Arrays) -> Direction:
    """Read either of the two cells."""
    if "dense_i/kernel" not in arrays:
        named = {name.replace("if_/", "if/"): a for name, a in arrays.items()}
        return flax_linen.inward(style, named)
    side = "dense_h" if style.kind == "lstm" else "dense_i"
    b = arrays[f"{side}/bias"]
    return Direction(arrays["dense_i/kernel"], arrays["dense_h/kernel"], b)


def outward(style: Style, one: Direction) -> Arrays:
    """Write an `OptimizedLSTMCell` or a `GRUCell`."""
    one = one_bias(style.kind, one)
    side = "dense_h" if style.kind == "lstm" else "dense_i"
    return {
        "dense_i/kernel": one.w_x,
        "dense_h/kernel": one.w_h,
        f"{side}/bias": bias_of(one),
    }


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of Flax's documentation."""
    if "dense_i/kernel" not in arrays:
        named = {name.replace("if_/", "if/"): a for name, a in arrays.items()}
        return flax_linen.step(style, named, x, state)
    z_x = x @ arrays["dense_i/kernel"] + arrays.get("dense_i/bias", 0)
    z_h = state[0] @ arrays["dense_h/kernel"] + arrays.get("dense_h/bias", 0)
    if style.kind == "gru":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(z_x, 3, -1), np.split(z_h, 3, -1)
        z, n = sigmoid(x_z + h_z), np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
        return ((1 - z) * n + z * state[0],)
    i, f, g, o = np.split(z_x + z_h, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def find(tree: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find the cells in what `nnx.to_pure_dict` makes of a state."""
    cells: dict[str, Arrays] = {}
    for path, array in flattened(tree).items():
        if match := _CELL.fullmatch(path):
            place = match[1].strip("/")
            cells.setdefault(place, {})[f"{match[2]}/{match[3]}"] = array
    signs = ({"dense_i/kernel", "dense_h/kernel"}, {"ii/kernel", "if_/kernel"})
    found = {p: c for p, c in cells.items() if any(sign <= set(c) for sign in signs)}
    return grouped(found, _style_of)


def _style_of(arrays: Arrays) -> Style:
    return Style("gru" if "dense_i/bias" in arrays else "lstm")


def assemble(stack: Stack[Arrays]) -> dict[str, Any]:
    """Nest the arrays as `nnx.to_pure_dict` does, layers/0/cell above them."""
    return nested(
        {
            f"{place}/cell/{name}": array
            for place, arrays in places(stack)
            for name, array in arrays.items()
        }
    )


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """`nnx.RNN` over the cells, with `seq_lengths`."""
    xs, after = feed.xs, []
    for layer, before in zip(stack.layers, feed.states, strict=True):
        read = []
        for way, (arrays, state) in enumerate(zip(layer, before, strict=True)):
            backward = bool(way) or stack.style.backward
            read_all = bounded_jit(functools.partial(_read, backward=backward))
            last, ys = read_all(arrays, xs, state, feed.lengths)
            last = (last,) if len(state) == 1 else (last[1], last[0])
            read.append((np.asarray(ys), tuple(map(np.asarray, last))))
        xs = np.concatenate([ys for ys, _ in read], axis=-1)
        after.append(tuple(state for _, state in read))
    return Outcome(xs, tuple(after))


def _read(
    arrays: dict[str, jax.Array],
    xs: jax.Array,
    state: tuple[jax.Array, ...],
    lengths: jax.Array,
    backward: bool,
) -> Any:  # noqa: ANN401 - a carry is one array or two
    """One direction of one layer: its last carry, and its outputs."""
    kind = nnx.GRUCell if len(state) == 1 else nnx.OptimizedLSTMCell
    kind = nnx.LSTMCell if "if_/kernel" in arrays else kind
    cell: Any = kind(xs.shape[-1], state[0].shape[-1], rngs=nnx.Rngs(0))
    nnx.update(cell, nested(arrays))
    rnn = nnx.RNN(
        cell, return_carry=True, reverse=backward, keep_order=True, rngs=False
    )
    start: Any = state[0] if len(state) == 1 else (state[1], state[0])
    return rnn(xs, initial_carry=start, seq_lengths=lengths)


NNX = System(
    name="nnx",
    title="Flax NNX",
    library="flax",
    holds=HOLDS - {"a bias within the reset"},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
