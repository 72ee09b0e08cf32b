"""Less memory for training: chunks of time, computed again for their gradient.

The gradient of T steps needs what each step computed, some 15 numbers per unit. Cut
into chunks of about √T steps, only the states between chunks are kept; walking back,
a chunk is run once more and then differentiated, one at a time. So √T states and √T
steps are held instead of T steps, for one more forward pass (Chen et al. 2016).
The sequences that go in and come out still have T steps.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import LoopWeights, State
from lstm_jax.typing import Flags, Hidden

Run = Callable[..., tuple[Hidden, State]]
Sequences = tuple[Any, ...]  # inputs, resets, valid and maybe masks: [T, ...] or None


def in_chunks(run: Run) -> Run:
    """An engine that keeps √T states for the gradient; see `lstm_jax.engines`."""

    def run_in_chunks(
        inputs: Array,
        weights: LoopWeights,
        state: State,
        resets: Flags | None,
        valid: Flags | None,
        reverse: bool,
        *masks: LoopMasks,
    ) -> tuple[Hidden, State]:
        def step(state: State, chunk: Sequences) -> tuple[State, Hidden]:
            inputs, resets, valid, *masks = chunk
            hs, state = run(inputs, weights, state, resets, valid, reverse, *masks)
            return state, hs

        return _walk(step, state, (inputs, resets, valid, *masks), reverse)

    return run_in_chunks


def _walk(
    step: Callable[[State, Sequences], tuple[State, Hidden]],
    state: State,
    sequences: Sequences,
    reverse: bool,
) -> tuple[Hidden, State]:
    """Chunk after chunk; the steps that fill no chunk are a shorter one at the end."""
    steps = sequences[0].shape[0]
    if not isinstance(steps, int):
        raise ValueError(f"remat: expected a number of time steps, found {steps}")
    length = math.isqrt(steps)
    whole = steps - steps % length
    chunks = jax.tree.map(lambda a: _cut(a[:whole], length), sequences)
    # A loop is barrier enough against undoing the second computation.
    body = jax.checkpoint(step, prevent_cse=False)
    loop = functools.partial(jax.lax.scan, body, xs=chunks, reverse=reverse)
    if whole == steps:
        state, hs = loop(state)
        return _join(hs), state
    rest = jax.tree.map(lambda a: a[whole:], sequences)
    if reverse:
        state, hs_rest = jax.checkpoint(step)(state, rest)
        state, hs = loop(state)
    else:
        state, hs = loop(state)
        state, hs_rest = jax.checkpoint(step)(state, rest)
    return jnp.concatenate([_join(hs), hs_rest]), state


def _cut(array: Array, length: int) -> Array:
    """[N * length, ...] to [N, length, ...]."""
    return array.reshape(-1, length, *array.shape[1:])


def _join(array: Array) -> Array:
    """[N, length, ...] to [N * length, ...]."""
    return array.reshape(-1, *array.shape[2:])
