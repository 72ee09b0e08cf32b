"""A slow, obvious LSTM in NumPy, for the library to be held against.

It follows the equations at the top of `lstm_jax/cells/lstm.py` gate by gate, on one
vector at a time, in float64. Ragged lengths, resets and reversal are done by hand:
every row is cut into its separate sequences and each is run alone. No trick of the
library is repeated here; all they share is that columns come in the order i, f, g, o.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Array = Any  # of NumPy or of JAX: the same operators serve both
Outcome = tuple[Array, Array, Array]  # outputs ys [T, B, H], last h and c [B, H]
Tree = TypeVar("Tree")


class Case(NamedTuple):
    """One LSTM and what it reads; NumPy or JAX arrays, or gradients of such.

    A NamedTuple is a pytree, so a case can be cast, differentiated and mapped whole.
    """

    w_x: Array  # [D, 4H]
    w_h: Array  # [H, 4H]
    b: Array  # [4H]
    xs: Array  # [T, B, D]
    h: Array  # [B, H], or None for zeros
    c: Array


def random_case(seed: int, T: int, B: int, D: int, H: int) -> Case:
    """Random numbers everywhere, no two alike, so that no two gates are either."""
    rng = np.random.default_rng(seed)
    shapes = Case((D, 4 * H), (H, 4 * H), (4 * H,), (T, B, D), (B, H), (B, H))
    return Case(*(rng.normal(size=shape) for shape in shapes))


def step(case: Case, h: Vector, c: Vector, x: Vector) -> tuple[Vector, Vector]:
    """One step of one row: h, c [H] and x [D] give the next h and c."""
    columns = np.split(np.arange(4 * len(h)), 4)

    def gate(cols: NDArray[np.int_]) -> Vector:
        w = np.concatenate([case.w_h[:, cols], case.w_x[:, cols]])
        return np.concatenate([h, x]) @ w + case.b[cols]

    z_i, z_f, z_g, z_o = (gate(cols) for cols in columns)
    c = _sigmoid(z_f) * c + _sigmoid(z_i) * np.tanh(z_g)
    return _sigmoid(z_o) * np.tanh(c), c


def sequence(
    case: Case,
    lengths: NDArray[np.int_] | None = None,
    resets: NDArray[np.bool_] | None = None,
    reverse: bool = False,
) -> Outcome:
    """Outputs [T, B, H] and the last h and c [B, H], row after row."""
    steps, rows, _ = case.xs.shape
    hidden_size = len(case.w_h)
    ys = np.zeros((steps, rows, hidden_size))
    last = np.zeros((2, rows, hidden_size))
    for row in range(rows):
        length = steps if lengths is None else int(lengths[row])
        begins = [] if resets is None else np.flatnonzero(resets[:length, row])
        pieces = list(pairwise([0, *map(int, begins), length]))
        start = np.zeros((2, hidden_size))
        if case.h is not None:
            start = np.stack([case.h[row], case.c[row]])
        ys[:, row], last[:, row] = _row(case, case.xs[:, row], pieces, start, reverse)
    return ys, last[0], last[1]


def loss(weights: Array, outcome: Outcome) -> Array:
    """A number that depends on every output and, not linearly, on the last h and c.

    Written with operators alone, so that it serves NumPy and JAX.
    """
    ys, h, c = outcome
    last = (weights[0] * h**2).sum() + (weights[-1] * (c + h) ** 3).sum()
    return (weights * ys).sum() + last


def slopes(function: Callable[[Tree], float], tree: Tree, nudge: float = 1e-5) -> Tree:
    """The gradient of a function by central differences, one number at a time."""
    leaves, structure = jax.tree.flatten(tree)

    def moved(place: int, index: tuple[int, ...], by: float) -> float:
        array = leaves[place].copy()
        array[index] += by
        changed = [*leaves[:place], array, *leaves[place + 1 :]]
        return function(jax.tree.unflatten(structure, changed))

    def gradient(place: int) -> Vector:
        gradient = np.zeros_like(leaves[place])
        for index in np.ndindex(gradient.shape):
            rise = moved(place, index, nudge) - moved(place, index, -nudge)
            gradient[index] = rise / (2 * nudge)
        return gradient

    return jax.tree.unflatten(structure, [gradient(n) for n in range(len(leaves))])


def cast(tree: Tree, dtype: DTypeLike) -> Tree:
    """The same numbers as JAX arrays of one type."""
    return jax.tree.map(lambda array: jnp.asarray(array, dtype), tree)


def assert_close(actual: object, expected: object, tolerance: float) -> None:
    """Two trees agree, each array to a tolerance relative to its largest element."""

    def compare(path: tuple, a: ArrayLike, b: ArrayLike) -> None:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        allowed = tolerance * np.abs(b).max()
        message = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=0, atol=allowed, err_msg=message)

    jax.tree_util.tree_map_with_path(compare, actual, expected)


def _row(
    case: Case,
    xs: Vector,
    pieces: list[tuple[int, int]],
    start: Vector,
    reverse: bool,
) -> tuple[Vector, Vector]:
    """One row, given where its sequences begin and end; outputs and the last (h, c).

    The first sequence entered continues from `start`, the others from zero. Where a
    flag stands at t = 0, the first one is empty: it takes `start` and does nothing.
    """
    ys = np.zeros((len(xs), start.shape[-1]))
    last = start
    for first, end in pieces[::-1] if reverse else pieces:
        h, c = start
        for t in range(first, end)[:: -1 if reverse else 1]:
            h, c = step(case, h, c, xs[t])
            ys[t], last = h, np.stack([h, c])
        start = np.zeros_like(start)
    return ys, last


def _sigmoid(z: Vector) -> Vector:
    return 1 / (1 + np.exp(-z))
