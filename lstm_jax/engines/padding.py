"""What is padding is zeroed before any arithmetic is done with it.

A mask on the results alone is not enough: their gradient is then zero in the padding,
and zero times something that is not a number is no number either. So whatever stands
in the padding is replaced once, before the recurrence, and never enters it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.protocol import State
from lstm_jax.typing import Flags, Hidden, Lengths, Size


def real_steps(lengths: Lengths | None, steps: Size) -> Flags | None:
    """Tell which of T steps are real in each row, [T, B]; None if all are."""
    return None if lengths is None else jnp.arange(steps)[:, None] < lengths


def sequence_starts(
    resets: Flags, valid: Flags | None, reverse: bool, holes: bool
) -> Flags:
    """Tell before which real steps a walk has to zero the state, [T, B].

    Walking backwards, a sequence is entered at its end: where the next one begins. A
    flag in the padding at the end of a row means nothing; one in a hole, or in padding
    at the beginning, holds for the next real step of the row.

    Args:
        resets: where a sequence begins, [T, B].
        valid: which steps are real, [T, B]; None if all are.
        reverse: whether time is walked backwards.
        holes: whether the real steps of a row may not come first.
    """
    if not holes or valid is None:
        resets = resets if valid is None else resets & valid
        return jnp.roll(resets, -1, axis=0).at[-1].set(False) if reverse else resets
    sequence = jnp.cumsum(resets, axis=0)  # the number of each step's sequence
    before = jax.lax.cummax(jnp.where(valid, sequence, 0))  # and of the last real one's
    before = jnp.concatenate([jnp.zeros_like(before[:1]), before[:-1]])
    starts = (sequence > before) & valid
    if not reverse:
        return starts
    # The next real step that is walked from, seen from each: whether it is a start.
    steps = jnp.arange(len(valid))[:, None]
    next_real = jax.lax.cummin(jnp.where(valid, steps, len(valid)), reverse=True)
    next_real = jnp.roll(next_real, -1, axis=0).at[-1].set(len(valid))
    padded = jnp.concatenate([starts, jnp.zeros_like(starts[:1])])
    return jnp.take_along_axis(padded, next_real, axis=0) & valid


def only_real(values: Array, real: Array) -> Array:
    """Replace by zeros what is not real; so is its gradient.

    Args:
        values: [..., N].
        real: which of the vectors of N numbers are, [...].
    """
    return jnp.where(real[..., None], values, 0)


def read_real(
    read: Callable[[Array, State], tuple[Hidden, State]],
    inputs: Array,
    state: State,
    valid: Flags | None,
) -> tuple[Hidden, State]:
    """Run a recurrence so that it sees nothing but zeros in the padding.

    Args:
        read: the recurrence, of inputs and a state.
        inputs: [T, B, N], whatever it reads.
        state: before the first step. Rows without a real step hand it through.
        valid: which steps are real; if None, the recurrence is run as it is.

    Returns:
        The outputs [T, B, H], zero in the padding, and the last state.
    """
    if valid is None:
        return read(inputs, state)
    some = valid.any(axis=0)
    blank = jax.tree.map(lambda a: only_real(a, some), state)
    hs, last = read(only_real(inputs, valid), blank)
    handed = jax.tree.map(
        lambda after, before: jnp.where(some[:, None], after, before), last, state
    )
    return only_real(hs, valid), handed
