"""The loop over time of the engines that XLA compiles."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from lstm_jax.engines.devices import on_gpu

Carry = TypeVar("Carry")
_STEPS_PER_TURN = 4  # on a GPU


def over_time(
    step: Callable[[Carry, Any], tuple[Carry, Any]],
    start: Carry,
    inputs: tuple,
    reverse: bool,
    unrolled: bool = True,
) -> tuple[Carry, Any]:
    """`jax.lax.scan` along time, several steps a turn on a GPU.

    There every kernel of a loop is launched by the host, and a small step is done
    sooner than its kernels are launched. XLA keeps what all steps of a turn leave
    behind by one kernel and counts once, so that fewer are left per step.

    Args:
        step: from a carry and the inputs of a time step to the carry after it and what
            is to be kept.
        start: the first carry.
        inputs: arrays [T, ...], trees of them, or None.
        reverse: walk from the last step to the first.
        unrolled: False for one step a turn everywhere.

    Returns:
        The last carry; what was kept, arrays [T, ...].
    """
    steps = jax.tree.leaves(inputs)[0].shape[0]
    # An int, or a symbol of jax.export, which can't be divided into turns.
    several = unrolled and isinstance(steps, int) and on_gpu()
    turn = _STEPS_PER_TURN if several else 1
    return jax.lax.scan(step, start, inputs, reverse=reverse, unroll=turn)
