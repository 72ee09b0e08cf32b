"""Refuse ids that a model does not have, before they are clamped to some it has."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from lstm_jax.errors import InputError


def checked_ids(ids: ArrayLike, vocab_size: int, what: str) -> np.ndarray:
    """Make int32 of ids [N], none included.

    Args:
        ids: anything NumPy makes an array of.
        vocab_size: V of the model.
        what: their name in a message.

    Raises:
        InputError: they are no whole numbers from 0 to V - 1, or no flat sequence.
    """
    try:
        found = np.asarray(ids)
    except ValueError:  # rows of several lengths
        raise InputError(f"{what}: expected ids [N], found {ids!r:.60}") from None
    if found.ndim != 1:
        raise InputError(f"{what}: expected ids [N], found {list(found.shape)}")
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"{what}: expected whole numbers, found {found.dtype}")
    wrong = found[(found < 0) | (found >= vocab_size)] if found.size else found
    if wrong.size:
        raise InputError(
            f"{what}: expected ids from 0 to {vocab_size - 1}, found {wrong[0]}"
        )
    return found.astype(np.int32)


def checked_allowed(allowed: ArrayLike | None, vocab_size: int) -> np.ndarray:
    """Say which symbols may appear, [V]: all if None.

    Raises:
        InputError: it is of another shape or type, or allows none.
    """
    if allowed is None:
        return np.ones(vocab_size, bool)
    found = np.asarray(allowed)
    if found.shape != (vocab_size,) or found.dtype != bool:
        raise InputError(
            f"allowed: expected bool [{vocab_size}], "
            f"found {found.dtype} {list(found.shape)}"
        )
    if not found.any():
        raise InputError("allowed: expected at least one symbol, found none")
    return found


def check_count(what: str, count: int, least: int) -> None:
    """Refuse a number of something that is none, or too small.

    Raises:
        InputError: saying so.
    """
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
    if not whole or count < least:
        raise InputError(f"{what}: expected {least} or more, found {count!r}")


def checked_stops(
    stops: Sequence[ArrayLike], vocab_size: int
) -> tuple[tuple[int, ...], ...]:
    """Make tuples of the stops of a search, each of them ids.

    Raises:
        InputError: one of them is none.
    """
    each = (checked_ids(stop, vocab_size, "stops") for stop in stops)
    return tuple(tuple(stop.tolist()) for stop in each)
