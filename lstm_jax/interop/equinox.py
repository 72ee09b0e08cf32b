"""Equinox: `eqx.nn.LSTMCell` and `eqx.nn.GRUCell`.

`weight_ih` [4H, D] and `weight_hh` [4H, H] as in PyTorch, but one `bias` [4H]; a GRU
has `bias` [3H], and `bias_n` [H] within the reset. The state is (h, c).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lstm_jax.distributed.bounded import bounded_jit
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
    GRU,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    flattened,
    hidden_bias_of,
    one_bias,
)

_NAMES = {
    "lstm": ("weight_ih", "weight_hh", "bias"),
    "gru": ("weight_ih", "weight_hh", "bias", "bias_n"),
}


def inward(style: Style, arrays: Arrays) -> Direction:
    """Transpose."""
    inside = arrays.get("bias_n")
    b_h = None
    if inside is not None:
        b_h = np.concatenate([np.zeros(2 * len(inside), inside.dtype), inside])
    return Direction(
        arrays["weight_ih"].T, arrays["weight_hh"].T, arrays.get("bias"), b_h
    )


def outward(style: Style, one: Direction) -> Arrays:
    """Transpose back; a bias only where there is one."""
    one = one_bias(style.kind, one)
    arrays = {"weight_ih": one.w_x.T, "weight_hh": one.w_h.T}
    if one.b is not None:
        arrays["bias"] = one.b
        if style.kind == "gru":
            arrays["bias_n"] = hidden_bias_of(one)[-one.sizes[1] :]
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of Equinox's source."""
    h, bias = state[0], arrays.get("bias", 0)
    if style.kind == "gru":
        x_r, x_z, x_n = np.split(x @ arrays["weight_ih"].T + bias, 3, axis=-1)
        h_r, h_z, h_n = np.split(h @ arrays["weight_hh"].T, 3, axis=-1)
        new = np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + arrays.get("bias_n", 0)))
        return (new + sigmoid(x_z + h_z) * (h - new),)
    gates = x @ arrays["weight_ih"].T + h @ arrays["weight_hh"].T + bias
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def find(tree: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find cells by the names of their fields."""
    known = [set(names) for names in _NAMES.values()]
    known.append({"weight_ih", "weight_hh"})
    found = {p: c for p, c in parents(flattened(tree)).items() if set(c) in known}
    return grouped(found, _style_of)


def _style_of(arrays: Arrays) -> Style:
    shape = arrays["weight_hh"].shape
    gru = len(shape) == 2 and shape[0] == 3 * shape[1]
    return Style("gru" if gru else "lstm")


def assemble(stack: Stack[Arrays]) -> dict[str, Any]:
    """Name the cells layers/0, or layers/0/forward and layers/0/backward.

    Each has its arrays in the order of its fields, in which Equinox writes them.
    """
    names = _NAMES[stack.style.kind]
    return {
        f"{place}/{name}": arrays[name]
        for place, arrays in places(stack)
        for name in names
        if name in arrays
    }


def cell_of(style: Style, arrays: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Make a cell of Equinox's with these arrays."""
    import equinox as eqx

    kind = eqx.nn.GRUCell if style.kind == "gru" else eqx.nn.LSTMCell
    width, hidden = arrays["weight_ih"].shape[1], arrays["weight_hh"].shape[1]
    key = jax.random.key(0)
    cell = kind(width, hidden, use_bias="bias" in arrays, key=key)
    values = tuple(jax.numpy.asarray(arrays[name]) for name in arrays)
    return eqx.tree_at(lambda c: tuple(getattr(c, n) for n in arrays), cell, values)


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """The cells themselves, a step at a time; Equinox knows of no lengths."""
    return unrolled(_library_step, stack, feed)


def _library_step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    after = _compiled(style)(arrays, x, state)
    return tuple(map(np.asarray, after))


@functools.cache
def _compiled(style: Style) -> Callable[..., tuple[jax.Array, ...]]:
    """One step of a batch."""
    import equinox as eqx

    def one(
        arrays: dict[str, jax.Array], x: jax.Array, state: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, ...]:
        cell: Any = eqx.filter_vmap(cell_of(style, arrays))
        return (cell(x, state[0]),) if style.kind == "gru" else cell(x, state)

    return bounded_jit(one)


EQUINOX = System(
    name="equinox",
    title="Equinox",
    library="equinox",
    holds=ANY_LAYERS | GRU,
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
