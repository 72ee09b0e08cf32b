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
        valid: of `real_steps`; if None, the recurrence is run as it is.

    Returns:
        The outputs [T, B, H], zero in the padding, and the last state.
    """
    if valid is None:
        return read(inputs, state)
    some = valid[0]  # the first step is real if any is
    blank = jax.tree.map(lambda a: only_real(a, some), state)
    hs, last = read(only_real(inputs, valid), blank)
    handed = jax.tree.map(
        lambda after, before: jnp.where(some[:, None], after, before), last, state
    )
    return only_real(hs, valid), handed
