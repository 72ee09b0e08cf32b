"""PyTorch: `nn.LSTM`, `nn.GRU` and their cells, as state dicts.

Gates in the order i, f, g, o on the rows of `weight_ih_l0` [4H, D] and `weight_hh_l0`
[4H, P], a GRU's as r, z, n; two biases, of which an LSTM sees the sum; `weight_hr_l0`
[P, H] is a projection (https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.system import Feed, Outcome, State, System, grouped, sigmoid
from lstm_jax.interop.weights import (
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
)

_NAME = re.compile(
    r"(?P<above>(?:.*\.)?)(?P<which>(?:weight_[ih]h)|(?:bias_[ih]h)|weight_hr)"
    r"(?:_l(?P<depth>\d{1,4})(?P<back>_reverse)?)?$"
)


def inward(style: Style, arrays: Arrays) -> Direction:
    """Read transposed matrices and two biases, which are kept apart."""
    b, b_h = arrays.get("bias_ih"), arrays.get("bias_hh")
    proj = arrays.get("weight_hr")
    return Direction(
        arrays["weight_ih"].T,
        arrays["weight_hh"].T,
        b,
        b_h,
        proj=None if proj is None else proj.T,
    )


def outward(style: Style, one: Direction) -> Arrays:
    """Write transposed matrices and two biases, the second zero if there is one."""
    arrays = {"weight_ih": one.w_x.T, "weight_hh": one.w_h.T}
    if one.b is not None or one.b_h is not None:
        arrays |= {"bias_ih": bias_of(one), "bias_hh": hidden_bias_of(one)}
    if one.proj is not None:
        arrays["weight_hr"] = one.proj.T
    return arrays


def step(style: Style, arrays: Arrays, x: Array, state: State) -> State:
    """The equations of PyTorch's documentation."""
    z_x = x @ arrays["weight_ih"].T + arrays.get("bias_ih", 0)
    z_h = state[0] @ arrays["weight_hh"].T + arrays.get("bias_hh", 0)
    if style.kind == "gru":
        x_r, x_z, x_n = np.split(z_x, 3, axis=-1)
        h_r, h_z, h_n = np.split(z_h, 3, axis=-1)
        n = np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
        z = sigmoid(x_z + h_z)
        return ((1 - z) * n + z * state[0],)
    i, f, g, o = np.split(z_x + z_h, 4, axis=-1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h @ arrays["weight_hr"].T if "weight_hr" in arrays else h), c


def find(arrays: Mapping[str, Any]) -> dict[str, Stack[Arrays]]:
    """Find LSTMs and GRUs in a state dict, by their prefixes; cells as stacks of one.

    Raises:
        InputError: a recurrent network of another kind, or a part of one.
    """
    cells: dict[str, Arrays] = {}
    depths: dict[str, set[int]] = {}
    for name, array in flattened(arrays).items():
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        if match["depth"] is None and f"{match['above']}bias" in arrays:
            continue  # a cell of Equinox, which has one bias
        depth, above = match["depth"], match["above"].removesuffix(".")
        # Said also of the forward one: a module above may be called reverse.
        way = "backward" if match["back"] else "forward"
        place = above if depth is None else f"{above}.{depth}.{way}".removeprefix(".")
        depths.setdefault(above, set()).add(int(depth or 0))
        cells.setdefault(place, {})[match["which"]] = array
    for above, there in depths.items():
        if there != set(range(len(there))):
            raise InputError(
                f"{above or 'layers'}: expected layers 0 to {len(there) - 1}, found "
                f"{', '.join(map(str, sorted(there)))}"
            )
    for path, cell in cells.items():
        _check_whole(path, cell)
    return grouped(cells, _style_of)


def _check_whole(path: str, arrays: Arrays) -> None:
    """Refuse a direction of which arrays are missing.

    Raises:
        InputError: naming them.
    """
    names = {"weight_ih", "weight_hh"}
    if {"bias_ih", "bias_hh"} & set(arrays):
        names |= {"bias_ih", "bias_hh"}
    if missing := sorted(names - set(arrays)):
        found = ", ".join(sorted(arrays))
        raise InputError(
            f"{path or 'layer'}: expected {' and '.join(missing)} too, found {found}"
        )


def _style_of(arrays: Arrays) -> Style:
    """An LSTM or a GRU, by the blocks of its matrices."""
    hh = arrays["weight_hh"]
    for name in ("weight_hh", "weight_hr"):
        shape = arrays.get(name, hh).shape
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"{name}: expected a matrix, found {list(shape)}")
    hidden = arrays.get("weight_hr", hh).shape[1]
    for kind, blocks in BLOCKS.items():
        if len(hh) == len(blocks) * hidden:
            return Style(kind)
    what = "nn.RNN, which we do not have" if len(hh) == hidden else "other sizes"
    raise InputError(
        f"weight_hh: expected {4 * hidden} rows, an LSTM, or {3 * hidden}, a GRU, for "
        f"{hidden} units, found {len(hh)}: {what}"
    )


def assemble(stack: Stack[Arrays]) -> Arrays:
    """Name the arrays as in the state dict of `nn.LSTM` or `nn.GRU`."""
    return {
        f"{name}_l{depth}{'_reverse' * way}": array
        for depth, layer in enumerate(stack.layers)
        for way, arrays in enumerate(layer)
        for name, array in arrays.items()
    }


def module_of(stack: Stack[Arrays]) -> Any:  # noqa: ANN401 - PyTorch is optional
    """Make an `nn.LSTM` or `nn.GRU` of a stack's sizes, in float32, batch first."""
    from torch import nn

    first = stack.layers[0][0]
    proj = first.get("weight_hr")
    columns = len(first["weight_hh"]) // len(BLOCKS[stack.style.kind])
    extra = {} if proj is None else {"proj_size": len(proj)}
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[stack.style.kind]
    return kind(
        first["weight_ih"].shape[1],
        columns,
        len(stack.layers),
        bias="bias_ih" in first,
        batch_first=True,
        bidirectional=len(stack.layers[0]) == 2,
        **extra,
    )


def run(stack: Stack[Arrays], feed: Feed) -> Outcome:
    """`nn.LSTM` or `nn.GRU`, over a packed sequence."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    module = module_of(stack)
    tensors = {name: torch.tensor(array) for name, array in assemble(stack).items()}
    module.load_state_dict(tensors)
    lengths = torch.tensor(feed.lengths.astype(np.int64))
    packed = pack_padded_sequence(
        torch.tensor(feed.xs), lengths, batch_first=True, enforce_sorted=False
    )
    flat = [state for layer in feed.states for state in layer]
    start = [torch.tensor(np.stack(each)) for each in zip(*flat, strict=True)]
    with torch.no_grad():
        ys, last = module(packed, start[0] if len(start) == 1 else tuple(start))
    ys, _ = pad_packed_sequence(ys, batch_first=True, total_length=feed.xs.shape[1])
    last = (last,) if len(start) == 1 else last
    ways = len(stack.layers[0])
    states = list(zip(*(each.numpy() for each in last), strict=True))
    rows = [tuple(states[k : k + ways]) for k in range(0, len(states), ways)]
    return Outcome(ys.numpy(), tuple(rows))


TORCH = System(
    name="torch",
    title="PyTorch",
    library="torch",
    holds=GRU | {"a projection", "two directions"},
    inward=inward,
    outward=outward,
    step=step,
    find=find,
    assemble=assemble,
    run=run,
)
