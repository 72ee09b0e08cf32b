"""What callers give a recurrence, as the core takes it, or a line on what is wrong.

Functions have time first, [T, *batch, ...], layers last, [*batch, T, ...]; the core has
[T, B, ...]. Lengths and flags may be lists or NumPy arrays, states tuples (h, c).
Messages name shapes as the caller has them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell, Params, State

Shape = tuple[int, ...]


class Sequences(NamedTuple):
    """Sequences as the core takes them, and how to give back what it returns.

    Attributes:
        inputs: [T, B, N].
        lengths: [B] or None.
        resets: [T, B] or None, bool.
        mask: [T, B] or None, bool.
        who: what messages call the caller.
        batch: the axes that were made one, B.
        time_last: whether time comes after them.
    """

    inputs: Array
    lengths: Array | None
    resets: Array | None
    mask: Array | None
    who: str
    batch: Shape
    time_last: bool

    def outputs(self, hs: Array) -> Array:
        """Give outputs [T, B, H] the caller's axes."""
        hs = jnp.swapaxes(hs, 0, 1) if self.time_last else hs
        if len(self.batch) == 1:
            return hs
        steps = len(self.inputs)
        shape = (*self.batch, steps) if self.time_last else (steps, *self.batch)
        return hs.reshape(*shape, hs.shape[-1])

    def last(self, state: State) -> State:
        """Give a state of arrays [B, H] the caller's axes."""
        if len(self.batch) == 1:
            return state
        return jax.tree.map(lambda a: a.reshape(*self.batch, a.shape[-1]), state)

    def loop_masks(self, masks: LoopMasks | None) -> LoopMasks | None:
        """Give masks of a function's [T, *batch, H] the axes of the core."""
        if len(self.batch) == 1:
            return masks

        def joined(mask: Array) -> Array:
            if mask.shape[1:-1] != self.batch:
                return mask
            return mask.reshape(len(mask), -1, mask.shape[-1])

        return jax.tree.map(joined, masks)


def read_sequences(
    who: str,
    xs: ArrayLike,
    width: int,
    *,
    lengths: object = None,
    resets: object = None,
    mask: object = None,
    time_last: bool = False,
) -> Sequences:
    """Bring sequences, and what is known of their steps, into the core's form.

    Args:
        who: what messages call the caller.
        xs: [T, *batch, D], or [*batch, T, D] if `time_last`.
        width: D.
        lengths: [*batch], whole numbers from 0 to T, or None.
        resets: of xs' shape without D, bool or whole numbers, or None.
        mask: likewise.
        time_last: whether time comes after the batch.

    Raises:
        ValueError: anything of another shape or type.
    """
    xs = jnp.asarray(xs)
    if xs.ndim < 3 or xs.shape[-1] != width:
        axes, order = ("B, T", "batch") if time_last else ("T, B", "time")
        raise ValueError(
            f"{who}: expected inputs [{axes}, {width}], {order} first, "
            f"found {list(xs.shape)}"
        )
    if jnp.issubdtype(xs.dtype, jnp.complexfloating):
        raise ValueError(f"{who}: expected real inputs, found {xs.dtype}")
    steps = xs.shape[-2 if time_last else 0]
    batch = xs.shape[:-2] if time_last else xs.shape[1:-1]
    for found, what in ((steps, "time step"), (math.prod(batch), "row")):
        if found == 0:
            raise ValueError(f"{who}: expected at least one {what}, found 0")

    def flags(name: str, given: object) -> Array | None:
        if given is None:
            return None
        found = _whole(who, name, given)
        _check_shape(who, name, found, xs.shape[:-1], batch, time_last)
        found = found if found.dtype == bool else found != 0
        return _joined(found[..., None], batch, time_last)[..., 0]

    return Sequences(
        _joined(xs, batch, time_last),
        None if lengths is None else _read_lengths(who, lengths, batch, steps),
        flags("resets", resets),
        flags("mask", mask),
        who,
        batch,
        time_last,
    )


def read_state(cell: Cell, given: object, blank: State, sequences: Sequences) -> State:
    """Bring a state into the core's form.

    Args:
        cell: whose state it is.
        given: a state of the cell, arrays [*batch, H]; or a tuple of them in the order
            of its fields, h and then c, or anything that has them by name.
        blank: the cell's state of zeros [B, H].
        sequences: what the state precedes.

    Raises:
        ValueError: it is none, or has another shape.
    """
    who, batch = sequences.who, sequences.batch
    names = [field.name for field in dataclasses.fields(blank)]
    found = {name: jnp.asarray(a) for name, a in _fields(who, given, blank).items()}
    zeros = vars(blank)
    expected = {name: (*batch, zeros[name].shape[-1]) for name in names}
    if {name: array.shape for name, array in found.items()} != expected:
        shapes = (
            " and ".join(f"{name} {list(each[name])}" for name in names)
            for each in (expected, {name: found[name].shape for name in names})
        )
        raise ValueError("{}: expected a state {}, found {}".format(who, *shapes))
    flat = {
        name: array if len(batch) == 1 else array.reshape(-1, array.shape[-1])
        for name, array in found.items()
    }
    return type(blank)(**{n: a.astype(zeros[n].dtype) for n, a in flat.items()})


def read_states(who: str, given: object, count: int, part: str) -> Sequence[Any]:
    """A state, or None, for each of several layers or directions.

    Args:
        who: what messages call the caller.
        given: what it was given; None for no state at all.
        count: how many parts it has.
        part: what one of them is called.

    Raises:
        ValueError: it is no sequence of so many.
    """
    if given is None:
        return (None,) * count
    wanted = f"{who}: expected a state for each {part}, a tuple of {count}"
    if not isinstance(given, tuple | list) or hasattr(given, "_fields"):
        raise ValueError(f"{wanted}, found one {type(given).__name__}")
    if len(given) != count:
        raise ValueError(f"{wanted}, found {len(given)}")
    return given


def check_params(who: str, cell: Cell, params: Params) -> None:
    """Refuse what are no parameters of the cell.

    Raises:
        ValueError: they are not of the class `cell.Params`.
    """
    if not isinstance(params, cell.Params):
        kind, found = cell.Params.__name__, type(params).__name__
        hint = f"; make one by {kind}(**params)" if isinstance(params, Mapping) else ""
        raise ValueError(f"{who}: expected parameters {kind}, found a {found}{hint}")


def _fields(who: str, given: Any, blank: State) -> dict[str, Any]:  # noqa: ANN401
    """The arrays of a state by their names."""
    names = [field.name for field in dataclasses.fields(blank)]
    if isinstance(given, Mapping):
        parts = dict(given)
    elif dataclasses.is_dataclass(given):
        parts = {field.name: getattr(given, field.name) for field in _of(given)}
    elif hasattr(given, "_fields") and set(given._fields) == set(names):
        parts = given._asdict()
    elif isinstance(given, tuple | list) and len(given) == len(names):
        parts = dict(zip(names, given, strict=True))
    elif len(names) == 1 and hasattr(given, "shape"):
        parts = {names[0]: given}
    else:
        parts = {}
    shaped = all(isinstance(a, np.ndarray | Array | list) for a in parts.values())
    if set(parts) != set(names) or not shaped:
        kind, found = type(blank).__name__, type(given).__name__
        if isinstance(given, tuple | list):
            found = f"{found} of {len(given)}"
        elif hasattr(given, "shape"):
            found = f"single array {list(given.shape)}"
        raise ValueError(
            f"{who}: expected a state, {kind} or a tuple ({', '.join(names)}) of "
            f"arrays, found a {found}"
        )
    return parts


def _of(given: Any) -> tuple[dataclasses.Field, ...]:  # noqa: ANN401
    return dataclasses.fields(given)


def _read_lengths(who: str, given: object, batch: Shape, steps: int) -> Array:
    """Lengths [B]; those that are known already are between 0 and T."""
    lengths = _whole(who, "lengths", given, flags=False)
    if lengths.shape != batch:
        axes = "B" if len(batch) == 1 else "*batch"
        raise ValueError(
            f"{who}: expected lengths [{axes}] = {list(batch)}, "
            f"found {list(lengths.shape)}"
        )
    if not isinstance(lengths, jax.core.Tracer) and lengths.is_fully_addressable:
        values = np.asarray(lengths)
        wrong = values[(values < 0) | (values > steps)]
        if wrong.size:
            raise ValueError(
                f"{who}: expected lengths from 0 to T = {steps}, found {wrong[0]}"
            )
    return lengths.reshape(-1)


def _whole(who: str, name: str, given: object, flags: bool = True) -> Array:
    """An array of whole numbers, or of truth values for `flags`."""
    array = jnp.asarray(given)
    kinds = (jnp.integer, jnp.bool_) if flags else (jnp.integer,)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds) and array.size:
        wanted = "bool or whole numbers" if flags else "whole numbers"
        raise ValueError(f"{who}: expected {name} of {wanted}, found {array.dtype}")
    return array


def _check_shape(
    who: str, name: str, array: Array, expected: Shape, batch: Shape, time_last: bool
) -> None:
    if array.shape != expected:
        axes = ["B" if len(batch) == 1 else "*batch", "T"]
        letters = ", ".join(axes if time_last else axes[::-1])
        raise ValueError(
            f"{who}: expected {name} [{letters}] = {list(expected)}, "
            f"found {list(array.shape)}"
        )


def _joined(array: Array, batch: Shape, time_last: bool) -> Array:
    """[T, *batch, N] or [*batch, T, N] to [T, B, N]."""
    if len(batch) > 1:
        steps = array.shape[-2] if time_last else len(array)
        shape = (-1, steps) if time_last else (steps, -1)
        array = array.reshape(*shape, array.shape[-1])
    return jnp.swapaxes(array, 0, 1) if time_last else array
