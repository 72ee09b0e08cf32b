"""What all systems have in common: layers, directions, and the arrays of each.

Everything here is NumPy. A system's own arrays are put into this form on their way in
and out of it on their way out, so that n systems need 2n conversions. Blocks of columns
come in our order, i, f, g, o for an LSTM and r, z, n for a GRU.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.activations import (
    PLAIN,
    SIGMOID,
    TANH,
    Activation,
    as_ours,
    is_symmetric,
)

Array = np.ndarray
Arrays = dict[str, Array]  # of one layer and direction, by a system's own names
One = TypeVar("One")
Other = TypeVar("Other")
BLOCKS = {"lstm": "ifgo", "gru": "rzn"}
MOST_LAYERS = 1000  # more is a damaged file


@dataclasses.dataclass(frozen=True)
class Style:
    """What a cell computes with its arrays.

    Attributes:
        kind: "lstm" or "gru".
        reset_after: of a GRU: the reset gate scales U_n · h + b_hn, not h itself.
        coupled: of an LSTM: f = 1 - i, and what is stored for f is not used.
        backward: the layers read from the last step to the first, and only so.
        clip: of an LSTM: the largest absolute value that goes into the activations of
            its gates and of its candidate; 0 for no bound.
        activations: of an LSTM: those of its gates, its candidate and its output.
    """

    kind: str = "lstm"
    reset_after: bool = True
    coupled: bool = False
    backward: bool = False
    clip: float = 0.0
    activations: tuple[Activation, ...] = PLAIN

    @property
    def plain(self) -> bool:
        """Whether an LSTM has the activations that all have, and no clip."""
        return not self.clip and self.activations == PLAIN

    def opened(self, z: Array) -> Array:
        """A gate, of what goes into it."""
        return self.activations[0].of(self._clipped(z))

    def offered(self, z: Array) -> Array:
        """The candidate, of what goes into it."""
        return self.activations[1].of(self._clipped(z))

    def shown(self, c: Array) -> Array:
        """What the output gate lets out of the cell state."""
        return self.activations[2].of(c)

    def _clipped(self, z: Array) -> Array:
        return np.clip(z, -self.clip, self.clip) if self.clip else z


@dataclasses.dataclass(frozen=True)
class Direction:
    """The arrays of one layer in one direction, N blocks of H columns.

    Attributes:
        w_x: [D, NH], multiplies the inputs.
        w_h: [P, NH], multiplies the outputs; P = H without a projection.
        b: [NH], or None where there is none.
        b_h: [NH], a second bias on the side of h. In an LSTM it is added to the first;
            in a GRU its block n is within the reset.
        p: [3H], peepholes of i, f and o.
        proj: [H, P], makes the outputs of h.
    """

    w_x: Array
    w_h: Array
    b: Array | None = None
    b_h: Array | None = None
    p: Array | None = None
    proj: Array | None = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """D, H and P."""
        inputs, outputs = len(self.w_x), len(self.w_h)
        return inputs, outputs if self.proj is None else len(self.proj), outputs


@dataclasses.dataclass(frozen=True)
class Stack(Generic[One]):
    """Layers on top of each other, each in one direction or two, forward first."""

    style: Style
    layers: tuple[tuple[One, ...], ...]

    def map(self, function: Callable[[One], Other]) -> "Stack[Other]":
        """Apply a function to every direction of every layer."""
        return Stack(
            self.style, tuple(tuple(map(function, layer)) for layer in self.layers)
        )


Weights = Stack[Direction]


def blocks_of(array: Array, axis: int, names: str) -> dict[str, Array]:
    """Cut an array into equal blocks along an axis, by name."""
    return dict(zip(names, np.split(array, len(names), axis), strict=True))


def reordered(array: Array, axis: int, order: str, wanted: str) -> Array:
    """Put blocks that lie in one order along an axis into another."""
    blocks = blocks_of(array, axis, order)
    return np.concatenate([blocks[name] for name in wanted], axis)


def one_bias(kind: str, one: Direction, reset_after: bool = True) -> Direction:
    """Add the two biases, but for what a GRU has within the reset."""
    if one.b_h is None:
        return one
    b = bias_of(one)
    if kind == "lstm" or not reset_after:
        return dataclasses.replace(one, b=b + one.b_h, b_h=None)
    inside = np.zeros_like(one.b_h)
    hidden = len(inside) // 3
    inside[-hidden:] = one.b_h[-hidden:]
    return dataclasses.replace(one, b=b + (one.b_h - inside), b_h=inside)


def bias_of(one: Direction) -> Array:
    """The first bias, of zeros where there is none."""
    return np.zeros_like(one.w_h[0]) if one.b is None else one.b


def hidden_bias_of(one: Direction) -> Array:
    """The second bias, of zeros where there is none."""
    return np.zeros_like(one.w_h[0]) if one.b_h is None else one.b_h


ALL_BACKWARD = "layers on top of each other that only read backwards"
# Of what not every system can hold: what those have that are made of single cells.
ANY_LAYERS = frozenset(
    (
        "two directions",
        "layers of one and of two directions",
        "layers of different widths",
        "a layer that only reads backwards",
        ALL_BACKWARD,
    )
)
ANOTHER = "an activation other than tanh"  # of candidate and output alike
WIDE = "a projection as wide as the memory"  # or wider
# A GRU as cuDNN has it.
GRU = frozenset(("GRU", "a reset after the product", "a bias within the reset"))


def features(weights: Weights) -> set[str]:
    """Name what of these weights not every system can hold."""
    ones = [one for layer in weights.layers for one in layer]
    sizes = {one.sizes[1:] for one in ones}
    width = {len(layer) for layer in weights.layers}
    wide = {one.sizes[2] >= one.sizes[1] for one in ones if one.proj is not None}
    style, several = weights.style, len(weights.layers) > 1
    found = {
        "GRU": style.kind == "gru",
        "peepholes": any(one.p is not None for one in ones),
        "a projection": False in wide,
        WIDE: True in wide,
        "coupled gates (f = 1 - i)": style.coupled,
        "coupled gates of such an activation": style.coupled
        and not is_symmetric(style.activations[0]),
        "clipped activations": bool(style.clip),
        ANOTHER: _has_another(style),
        "other activations": style.activations != PLAIN and not _has_another(style),
        "a reset before the product": not style.reset_after,
        "a reset after the product": style.kind == "gru" and style.reset_after,
        "a bias within the reset": style.reset_after and _inner_bias(style, ones),
        "a layer that only reads backwards": style.backward and not several,
        ALL_BACKWARD: style.backward and several,
        "two directions": max(width) == 2,
        "layers of one and of two directions": len(width) > 1,
        "layers of different widths": len(sizes) > 1,
    }
    return {name for name, there in found.items() if there}


def _has_another(style: Style) -> bool:
    """Whether it is as in Keras: another function in the place of both tanh."""
    gate, offer, show = style.activations
    named = isinstance(as_ours(offer), str)
    return gate == SIGMOID and offer == show != TANH and named


def _inner_bias(style: Style, ones: Iterable[Direction]) -> bool:
    """Whether a GRU has a bias that is scaled by its reset gate."""
    if style.kind != "gru":
        return False
    return any(
        one.b_h is not None and bool(one.b_h[-len(one.b_h) // 3 :].any())
        for one in ones
    )


def check_held(weights: Weights, title: str, holds: Iterable[str]) -> None:
    """Refuse what a system can't hold.

    Raises:
        InputError: naming it.
    """
    if missing := sorted(features(weights) - set(holds)):
        raise InputError(
            f"expected weights that {title} can hold, found {' and '.join(missing)}, "
            "which it does not have"
        )


def check_weights(weights: Weights, name: str = "weights") -> Weights:
    """Hold the arrays to each other: their sizes, one type, numbers.

    Args:
        weights: from anywhere.
        name: of them, for messages.

    Raises:
        InputError: naming what was expected and found.
    """
    if not 0 < len(weights.layers) <= MOST_LAYERS:
        raise InputError(f"{name}: expected layers, found {len(weights.layers)}")
    below = 0
    for depth, layer in enumerate(weights.layers):
        for one in layer:
            _check_direction(one, weights.style, f"{name}, layer {depth}")
            if below and len(one.w_x) != below:
                raise InputError(
                    f"{name}, layer {depth}: expected {below} inputs, the outputs of "
                    f"the layer below, found {len(one.w_x)}"
                )
            if one.sizes != layer[0].sizes:
                raise InputError(
                    f"{name}, layer {depth}: expected two directions of the same "
                    f"sizes, found {list(layer[0].sizes)} and {list(one.sizes)}"
                )
        below = sum(one.sizes[2] for one in layer)
    types = sorted({a.dtype.name for a in _arrays(weights)})
    if len(types) > 1 or types[0] not in ("float64", "float32", "float16", "bfloat16"):
        raise InputError(
            f"{name}: expected one type of floating-point numbers, found "
            f"{' and '.join(types)}"
        )
    with np.errstate(invalid="ignore"):  # a NaN of another kind is one, too
        wide = [array.astype(np.float64) for array in _arrays(weights)]
    if not all(np.isfinite(array).all() for array in wide):
        raise InputError(f"{name}: expected finite numbers, found others")
    return weights


def _check_direction(one: Direction, style: Style, where: str) -> None:
    """Hold the arrays of a direction to H, which w_h or the projection says."""
    _, hidden, outputs = one.sizes
    if outputs > hidden:
        raise InputError(
            f"{where}: expected a projection to {hidden} numbers or fewer, the hidden "
            f"units, found one to {outputs}"
        )
    columns = len(BLOCKS[style.kind]) * hidden
    wanted = {
        "w_x": (len(one.w_x), columns),
        "w_h": (outputs, columns),
        "b": (columns,),
        "b_h": (columns,),
        "p": (3 * hidden,),
        "proj": (hidden, outputs),
    }
    for name, shape in wanted.items():
        array = getattr(one, name)
        if array is not None and (array.shape != shape or 0 in shape):
            raise InputError(
                f"{where}: expected {name} of shape {list(shape)} for H = {hidden}, "
                f"found {list(array.shape)}"
            )


def _arrays(weights: Weights) -> list[Array]:
    return [
        array
        for layer in weights.layers
        for one in layer
        for array in vars(one).values()
        if array is not None
    ]


def dtype_of(weights: Weights) -> np.dtype:
    """The type of the numbers."""
    return weights.layers[0][0].w_h.dtype


def cast(weights: Weights, dtype: np.dtype) -> Weights:
    """The same numbers in another type."""

    def one(direction: Direction) -> Direction:
        there = {
            n: a.astype(dtype) for n, a in vars(direction).items() if a is not None
        }
        return Direction(**there)

    return weights.map(one)


def flattened(tree: Mapping[Any, Any], above: str = "") -> dict[str, Array]:
    """The arrays of nested dictionaries by their paths, joined by "/".

    What is no array of numbers is left out, a generator of NNX for one, and so is the
    `value` that the paths of NNX' variables may end in.
    """
    found: dict[str, Array] = {}
    for key, value in tree.items():
        name = f"{above}/{key}" if above else str(key)
        if isinstance(value, Mapping):
            found |= flattened(value, name)
        elif isinstance(getattr(value, "dtype", None), np.dtype):
            found[name.removesuffix("/value")] = np.asarray(value)
    return found


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flattened`."""
    tree: dict = {}
    for path, array in arrays.items():
        *above, last = path.split("/")
        inner = tree
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = array
    return tree


def describe(weights: Weights) -> str:
    """Say in a few words what there is: kind, layers, directions, sizes."""
    first, style = weights.layers[0], weights.style
    depth, inputs = len(weights.layers), len(first[0].w_x)
    hidden = "/".join(dict.fromkeys(str(layer[0].sizes[1]) for layer in weights.layers))
    ways = {1: "backward" if style.backward else "one direction", 2: "two directions"}
    read = " and ".join(ways[n] for n in sorted({len(each) for each in weights.layers}))
    layers = f"{depth} layer{'s' * (depth > 1)}"
    extra = features(weights) - GRU - {"two directions", "layers of different widths"}
    if others := {"other activations", ANOTHER} & extra:
        names = ", ".join(map(str, style.activations))
        extra = extra - others | {f"activations {names}"}
    more = f", with {' and '.join(sorted(extra))}" if extra else ""
    return (
        f"{style.kind.upper()}, {layers}, {read}, {inputs} inputs, {hidden} units, "
        f"{dtype_of(weights).name}{more}"
    )
