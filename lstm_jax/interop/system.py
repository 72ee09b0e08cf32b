"""What there is to say of a system: its arrays, its equations, and how it is run.

Each file beside this one describes one. Its equations, `step`, are those of its own
documentation, on its own arrays, in NumPy: they know nothing of the common form, so
that what is wrong with a conversion shows.
"""

import dataclasses
import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_jax.errors import InputError
from lstm_jax.interop.weights import (
    Array,
    Arrays,
    Direction,
    Stack,
    Style,
    Weights,
    check_held,
    check_weights,
)

State = tuple[Array, ...]  # h [B, P], and of an LSTM c [B, H]
Step = Callable[[Style, Arrays, Array, State], State]
# The last one: a module may be called so, too.
_WAY = re.compile(r"(.*)(?<![^/._])(forward|backward|reverse)(?![^/._])(.*)")
_STEPS, _ROWS = 7, 4


@dataclasses.dataclass(frozen=True)
class Feed:
    """What both sides of a comparison are given, in float32.

    Attributes:
        xs: [B, T, D]; numbers also in the padding.
        lengths: [B], the real steps of each row.
        states: of every layer and direction, what it starts from.
    """

    xs: Array
    lengths: Array
    states: tuple[tuple[State, ...], ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a stack makes of a `Feed`.

    Attributes:
        ys: [B, T, P], or 2P wide, zeros in the padding.
        states: after the last real step of every row, as in the feed.
    """

    ys: Array
    states: tuple[tuple[State, ...], ...]


@dataclasses.dataclass(frozen=True)
class System:
    """A system that weights come from or go to.

    Attributes:
        name: what flags call it.
        title: what people call it.
        library: the module that runs it.
        holds: of the `features` of weights those that it has.
        inward: its arrays of one direction to the common form.
        outward: the way back.
        step: its equations, in NumPy.
        find: the stacks in what its files hold, by their names.
        assemble: a stack as its files hold it.
        run: a stack in the library itself; it may leave numbers in the padding.
    """

    name: str
    title: str
    library: str
    holds: frozenset[str]
    inward: Callable[[Style, Arrays], Direction]
    outward: Callable[[Style, Direction], Arrays]
    step: Step
    find: Callable[[Any], dict[str, Stack[Arrays]]]
    assemble: Callable[[Stack[Arrays]], Any]
    run: Callable[[Stack[Arrays], Feed], Outcome]

    @property
    def installed(self) -> bool:
        """Whether the library is there to be asked."""
        return importlib.util.find_spec(self.library) is not None

    def read(self, stack: Stack[Arrays], name: str) -> Weights:
        """Put arrays of this system into the common form, checked.

        Args:
            stack: of this system.
            name: of it, for messages.

        Raises:
            InputError: sizes that do not fit together.
        """
        try:
            weights = stack.map(lambda arrays: self.inward(stack.style, arrays))
        except (ValueError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{name}: expected the arrays of {self.title}, found: {error}"
            ) from None
        return check_weights(weights, name)

    def write(self, weights: Weights) -> Stack[Arrays]:
        """Put weights into the arrays of this system.

        Raises:
            InputError: it can't hold them.
        """
        check_held(weights, self.title, self.holds)
        return weights.map(lambda one: self.outward(weights.style, one))


def draw(weights: Weights) -> Feed:
    """Draw inputs for a comparison: ragged rows, and states to start from."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    def start(one: Direction) -> State:
        _, hidden, outputs = one.sizes
        h = normal(_ROWS, outputs)
        return (h,) if weights.style.kind == "gru" else (h, normal(_ROWS, hidden))

    xs = normal(_ROWS, _STEPS, len(weights.layers[0][0].w_x))
    lengths = np.array([_STEPS, 1, 4, _STEPS - 1], np.int32)
    return Feed(xs, lengths, weights.map(start).layers)


def unrolled(step: Step, stack: Stack[Arrays], feed: Feed) -> Outcome:
    """Run one step after the other, layer by layer: what a ragged batch means."""
    xs, after = feed.xs, []
    for layer, before in zip(stack.layers, feed.states, strict=True):
        read = [
            _walk(step, stack.style, arrays, xs, feed.lengths, state, way)
            for way, (arrays, state) in enumerate(zip(layer, before, strict=True))
        ]
        xs = np.concatenate([ys for ys, _ in read], axis=-1)
        after.append(tuple(state for _, state in read))
    return Outcome(xs, tuple(after))


def _walk(
    step: Step,
    style: Style,
    arrays: Arrays,
    xs: Array,
    lengths: Array,
    state: State,
    way: int,
) -> tuple[Array, State]:
    """One direction over time; a row beyond its length keeps its state."""
    ys = np.zeros((*xs.shape[:2], state[0].shape[-1]), state[0].dtype)
    steps = range(xs.shape[1])
    for t in reversed(steps) if way or style.backward else steps:
        real = (t < lengths)[:, None]
        new = step(style, arrays, xs[:, t], state)
        state = tuple(np.where(real, *each) for each in zip(new, state, strict=True))
        ys[:, t] = np.where(real, state[0], 0)
    return ys, state


def cut(outcome: Outcome, lengths: Array) -> Outcome:
    """Zero the outputs in the padding, which every library leaves as it likes."""
    real = np.arange(outcome.ys.shape[1]) < lengths[:, None]
    return Outcome(np.where(real[..., None], outcome.ys, 0), outcome.states)


def largest_error(one: Outcome, other: Outcome) -> float:
    """Of outputs and states, the largest difference over max(1, its value)."""
    pairs = [(one.ys, other.ys)]
    for left, right in zip(one.states, other.states, strict=True):
        for mine, theirs in zip(left, right, strict=True):
            pairs += zip(mine, theirs, strict=True)
    errors = [
        np.max(np.abs(a.astype(np.float64) - b) / np.maximum(1, np.abs(a)))
        for a, b in pairs
    ]
    return float(np.max(errors))


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def grouped(
    cells: Mapping[str, Arrays], style_of: Callable[[Arrays], Style]
) -> dict[str, Stack[Arrays]]:
    """Put cells that lie at paths into stacks.

    A number in a path says which layer, the last "forward" or "backward" (or "reverse")
    which direction; paths that are otherwise the same are one stack, by that name.

    Args:
        cells: the arrays of each, by its path.
        style_of: what its arrays say of a cell.

    Raises:
        InputError: cells of several kinds in one stack, or two in one place.
    """
    stacks: dict[str, dict[str, dict[int, Arrays]]] = {}
    for path in sorted(cells, key=natural):
        way = _WAY.fullmatch(path)
        rest = path if way is None else way[1] + way[3]
        layer = re.sub("[/.]+", "/", rest).strip("/")
        parts = [re.sub(r"\d+", "", part).strip("_") for part in layer.split("/")]
        name = "/".join(filter(None, parts))
        backward = way is not None and way[2] != "forward"
        ways = stacks.setdefault(name, {}).setdefault(layer, {})
        if backward in ways:
            raise InputError(
                f"{path}: expected one cell for each layer and direction, found two"
            )
        ways[int(backward)] = cells[path]
    return {name: _stack(name, layers, style_of) for name, layers in stacks.items()}


def _stack(
    name: str,
    layers: dict[str, dict[int, Arrays]],
    style_of: Callable[[Arrays], Style],
) -> Stack[Arrays]:
    """Layers of the same style, forward before backward."""
    rows = [tuple(ways[way] for way in sorted(ways)) for ways in layers.values()]
    styles = {style_of(arrays) for row in rows for arrays in row}
    if len(styles) > 1:
        kinds = " and ".join(sorted({style.kind.upper() for style in styles}))
        raise InputError(
            f"{name or 'layers'}: expected layers of one kind, found {kinds}: "
            "choose with --name"
        )
    only_back = all(set(ways) == {1} for ways in layers.values())
    if not only_back and any(set(ways) == {1} for ways in layers.values()):
        raise InputError(f"{name or 'layers'}: expected a forward layer, found none")
    return Stack(dataclasses.replace(styles.pop(), backward=only_back), tuple(rows))


def natural(path: str) -> list[tuple[int, str]]:
    """Sort layer_10 behind layer_9."""
    parts = re.split(r"(\d+)", path)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def places(stack: Stack[Any], layer: str = "layers") -> list[tuple[str, Any]]:
    """Name every direction of a stack: layers/0, or layers/0/forward and /backward."""
    found = []
    for depth, row in enumerate(stack.layers):
        ways = ("forward", "backward") if len(row) == 2 else ("",)
        ways = ("backward",) if stack.style.backward else ways
        for way, one in zip(ways, row, strict=True):
            found.append((f"{layer}/{depth}/{way}".rstrip("/"), one))
    return found


def parents(arrays: Mapping[str, Array], separator: str = "/") -> dict[str, Arrays]:
    """Arrays by the path above them, and there by their own names."""
    found: dict[str, Arrays] = {}
    for path, array in arrays.items():
        above, _, last = path.rpartition(separator)
        found.setdefault(above, {})[last] = array
    return found
