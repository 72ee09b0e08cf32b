"""Flax linen: `LSTMCell`, `OptimizedLSTMCell` and `GRUCell`, as trees of parameters.

A kernel [D, H] or [H, H] per gate: `ii`, `if`, `ig`, `io` on the inputs, `hi`, `hf`,
`hg`, `ho` on h, where an LSTM's bias is. A GRU has `ir`, `iz`, `in` with a bias each,
and of `hr`, `hz`, `hn` the last has one, within the reset. The carry is (c, h).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.errors import InputError
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
    ANY_LAYERS,
    BLOCKS,
    GRU,
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    bias_of,
    flattened,
    hidden_bias_of,
    nested,
    one_bias,
)

_CELL = re.compile(r"((?:.*/)?)([ih][ifgorzn]|if_)/(kernel|bias)$")


def inward(style: Style, arrays: Arrays) -> Direction:
    """Join the gates' matrices."""
    gates = BLOCKS[style.kind]

    def joined(side: str, name: str) -> Array:
        return np.concatenate([arrays[f"{side}{gate}/{name}"] for gate in gates], -1)

    w_x, w_h = joined("i", "kernel"), joined("h", "kernel")
    if style.kind == "lstm":
        return Direction(w_x, w_h, joined("h", "bias"))
    inside = arrays["hn/bias"]
    b_h = np.concatenate([np.zeros(2 * len(inside), inside.dtype), inside])
    return Direction(w_x, w_h, joined("i", "bias"), b_h)


def outward(style: Style, one: Direction) -> Arrays:
    """Cut our matrices into one for each gate."""
    one = one_bias(style.kind, one)
    gates = BLOCKS[style.kind]
    side = "h" if style.kind == "lstm" else "i"
    named = {"i": one.w_x, "h": one.w_h}
    arrays = {
        f"{which}{gate}/kernel": block
        for which, w in named.items()
        for gate, block in zip(gates, np.split(w, len(gates), -1), strict=True)
    }
    for gate, block in zip(gates, np.split(bias_of(one), len(gates)), strict=True):
        arrays[f"{side}{gate}/bias"] = block
    if style.kind == "gru":
        arrays["hn/bias"] = hidden_bias_of(one)[-one.sizes[1] :]
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of Flax's documentation."""

    def dense(name: str, value: Array) -> Array:
        return value @ arrays[f"{name}/kernel"] + arrays.get(f"{name}/bias", 0)

    h = state[0]
    if style.kind == "gru":
        r = sigmoid(dense("ir", x) + dense("hr", h))
        z = sigmoid(dense("iz", x) + dense("hz", h))
        n = np.tanh(dense("in", x) + r * dense("hn", h))
        return ((1 - z) * n + z * h,)
    i, f, o = (sigmoid(dense(f"i{gate}", x) + dense(f"h{gate}", h)) for gate in "ifo")
    c = f * state[1] + i * np.tanh(dense("ig", x) + dense("hg", h))
    return o * np.tanh(c), c


def find(tree: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find the cells in a tree of parameters, wherever they are in it.

    Raises:
        InputError: cells that Flax has numbered itself, and that may be layers or
            directions.
    """
    cells: dict[str, Arrays] = {}
    for path, array in flattened(tree).items():
        if match := _CELL.fullmatch(path):
            place = match[1].strip("/")
            cells.setdefault(place, {})[f"{match[2]}/{match[3]}"] = array
    found = {path: cell for path, cell in cells.items() if _is_cell(path, cell)}
    stacks = grouped(found, _style_of)
    for name, stack in stacks.items():
        _refuse_unclear(name, stack)
    return stacks


def _is_cell(path: str, arrays: Arrays) -> bool:
    """Whether there are all the kernels of a cell.

    Raises:
        InputError: there are most of them.
    """
    if "if_/kernel" in arrays:  # a cell of Flax NNX, which is asked next
        return False
    for blocks in BLOCKS.values():
        kernels = {f"{side}{gate}/kernel" for side in "ih" for gate in blocks}
        missing = kernels - set(arrays)
        if not missing:
            return True
        if len(missing) < len(kernels) / 2:
            raise InputError(
                f"{path}: expected {' and '.join(sorted(missing))} too, found "
                f"{', '.join(sorted(arrays))}"
            )
    return False


def _style_of(arrays: Arrays) -> Style:
    return Style("gru" if "ir/kernel" in arrays else "lstm")


def _refuse_unclear(name: str, stack: Stack[Arrays]) -> None:
    """Refuse LSTMCell_0 and LSTMCell_1 where they may be two directions of a layer."""
    if not name.rpartition("/")[2].endswith("Cell") or len(stack.layers) < 2:
        return
    gate = BLOCKS[stack.style.kind][0]
    sizes = {layer[0][f"i{gate}/kernel"].shape[:1] for layer in stack.layers[:2]}
    if len(sizes) == 1:
        raise InputError(
            f"{name}_0 and {name}_1: expected cells whose names say which is a layer "
            "and which a direction, found ones that Flax has numbered: rename them to "
            "layers_0 and layers_1, or to forward and backward"
        )


def assemble(stack: Stack[Arrays]) -> dict[str, Any]:
    """Nest the arrays, layers_0/cell or layers_0/forward/cell above them."""
    return nested(
        {
            f"params/{place.replace('/', '_', 1)}/cell/{name}": array
            for place, arrays in places(stack)
            for name, array in arrays.items()
        }
    )


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """`nn.RNN` over the cells, with `seq_lengths`."""
    from flax import linen

    kind = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell}[stack.style.kind]
    xs, after = feed.xs, []
    for layer, before in zip(stack.layers, feed.states, strict=True):
        read = []
        for way, (arrays, state) in enumerate(zip(layer, before, strict=True)):
            rnn = linen.RNN(
                kind(state[0].shape[-1]),
                return_carry=True,
                reverse=bool(way) or stack.style.backward,
                keep_order=True,
            )
            last, ys = bounded_jit(rnn.apply)(
                {"params": {"cell": nested(arrays)}},
                xs,
                initial_carry=state[0] if len(state) == 1 else (state[1], state[0]),
                seq_lengths=feed.lengths,
            )
            last = (last,) if len(state) == 1 else (last[1], last[0])
            read.append((np.asarray(ys), tuple(map(np.asarray, last))))
        xs = np.concatenate([ys for ys, _ in read], axis=-1)
        after.append(tuple(state for _, state in read))
    return Outcome(xs, tuple(after))


HOLDS = ANY_LAYERS | GRU
LINEN = System(
    name="linen",
    title="Flax linen",
    library="flax",
    holds=HOLDS,
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
