"""Haiku: `hk.LSTM` and `hk.GRU`, as dictionaries of parameters by module.

An LSTM has one matrix `linear/w` [D + H, 4H] for [x, h] with gates i, g, f, o, and adds
1 to the forget gate at every step, so that its `b` lacks it. A GRU's blocks are z, r,
a; its reset comes before the product, and its z is our 1 - z.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lstm_jax.interop.system import (
    Feed,
    Outcome,
    State,
    System,
    grouped,
    parents,
    places,
    sigmoid,
    unrolled,
)
from lstm_jax.interop.weights import (
    ANY_LAYERS,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    bias_of,
    flattened,
    one_bias,
    reordered,
)


def inward(style: Style, arrays: Arrays) -> Direction:
    """Reorder, cut [x, h] in two, and store the 1 that is added."""
    if style.kind == "gru":
        named = (
            _gru_blocks(arrays[name], "zrn", "rzn") for name in ("w_i", "w_h", "b")
        )
        return Direction(*named)
    w = reordered(arrays["w"], -1, "igfo", "ifgo")
    hidden = w.shape[-1] // 4
    b = reordered(arrays["b"], -1, "igfo", "ifgo").copy()
    b[hidden : 2 * hidden] += 1
    return Direction(w[:-hidden], w[-hidden:], b)


def outward(style: Style, one: Direction) -> Arrays:
    """The way back."""
    one = one_bias(style.kind, one, style.reset_after)
    if style.kind == "gru":
        named = {"w_i": one.w_x, "w_h": one.w_h, "b": bias_of(one)}
        return {name: _gru_blocks(a, "rzn", "zrn") for name, a in named.items()}
    hidden, b = one.sizes[1], np.array(bias_of(one))
    b[hidden : 2 * hidden] -= 1
    w = np.concatenate([one.w_x, one.w_h])
    return {
        "w": reordered(w, -1, "ifgo", "igfo"),
        "b": reordered(b, -1, "ifgo", "igfo"),
    }


def _gru_blocks(array: Array, order: str, wanted: str) -> Array:
    """Reorder, with z negated: 1 - σ(a) = σ(-a)."""
    turned = reordered(array, -1, order, wanted)
    hidden, k = turned.shape[-1] // 3, wanted.index("z")
    turned[..., k * hidden : (k + 1) * hidden] *= -1
    return turned


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of Haiku's source."""
    h = state[0]
    if style.kind == "gru":
        hidden = h.shape[-1]
        z_x, w_h, b = x @ arrays["w_i"], arrays["w_h"], arrays["b"]
        gates = z_x + b
        z, r = np.split(
            sigmoid(gates[:, : 2 * hidden] + h @ w_h[:, : 2 * hidden]), 2, axis=-1
        )
        a = np.tanh(gates[:, 2 * hidden :] + (r * h) @ w_h[:, 2 * hidden :])
        return ((1 - z) * h + z * a,)
    gates = np.concatenate([x, h], axis=-1) @ arrays["w"] + arrays["b"]
    i, g, f, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f + 1) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def find(tree: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find `hk.LSTM`s and `hk.GRU`s among the parameters of modules."""
    cells = parents(flattened(tree))
    found = {
        path.removesuffix("linear").strip("/"): cell
        for path, cell in cells.items()
        if _is_linear(path, cell) or set(cell) == {"w_i", "w_h", "b"}
    }
    lstms = {path: cell for path, cell in found.items() if "lstm" in path.lower()}
    return grouped(lstms or found, _style_of)


def _is_linear(path: str, cell: Arrays) -> bool:
    """Whether a module is the `linear` in an LSTM: as wide as four times its h."""
    if not path.endswith("/linear") or set(cell) != {"w", "b"}:
        return False
    shape = cell["w"].shape
    return len(shape) == 2 and shape[1] % 4 == 0 and shape[0] > shape[1] // 4


def _style_of(arrays: Arrays) -> Style:
    return Style("lstm") if "w" in arrays else Style("gru", reset_after=False)


def assemble(stack: Stack[Arrays]) -> dict[str, Any]:
    """Name modules lstm_0/linear, lstm_0_backward/linear; or gru_0."""
    kind = stack.style.kind
    inner = "/linear" if kind == "lstm" else ""
    return {
        f"{place.replace('/', '_')}{inner}": arrays
        for place, arrays in places(stack, kind)
    }


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """The cores themselves, a step at a time; Haiku knows of no lengths."""
    return unrolled(_library_step, stack, feed)


def _library_step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    import haiku as hk

    def core(x: Array, state: State) -> tuple[jax.Array, ...]:
        if style.kind == "gru":
            return (hk.GRU(state[0].shape[-1], name="core")(x, state[0])[1],)
        lstm = hk.LSTM(state[0].shape[-1], name="core")
        return tuple(lstm(x, hk.LSTMState(*state))[1])

    name = "core" if style.kind == "gru" else "core/linear"
    apply = hk.without_apply_rng(hk.transform(core)).apply
    return tuple(map(np.asarray, apply({name: arrays}, x, state)))


HAIKU = System(
    name="haiku",
    title="Haiku",
    library="haiku",
    holds=ANY_LAYERS | {"GRU", "a reset before the product"},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
