"""The reference engine: any cell under `jax.lax.scan`, differentiated by JAX.

Nothing is hidden here, so everything JAX offers works: reverse and forward mode,
second derivatives, `vmap`. The other engines are held to its results.
"""

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.cells.noise import LoopMasks, zoneout
from lstm_jax.cells.protocol import Cell, LoopWeights, State
from lstm_jax.engines.devices import current_devices
from lstm_jax.engines.loop import over_time
from lstm_jax.engines.spec import inside_shard_map
from lstm_jax.typing import Flags, Hidden


def run_scan(
    cell: Cell,
    inputs: Array,
    weights: LoopWeights,
    state: State,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, State]:
    """Run the recurrence step by step; see `lstm_jax.engines` for the arguments.

    This engine alone has `masks`: regularizers that act inside the loop.
    """

    def step(before: State, inputs: tuple) -> tuple[State, Array]:
        z_t, resets_t, valid_t, masks_t = inputs
        fresh = before if resets_t is None else _zero_where(resets_t, before)
        candidate = None if masks_t is None else masks_t.candidate
        after = cell.advance(weights, fresh, z_t, candidate)
        if masks_t is not None:
            after = zoneout(fresh, after, masks_t.zoneout_h, masks_t.zoneout_c)
        if valid_t is not None:
            after = _choose(valid_t, after, before)
        return after, after.h

    sequences = (inputs, resets, valid, masks)
    # On several devices XLA adds up the weight gradients of a turn inside the loop.
    alone = len(current_devices()) == 1 or inside_shard_map()
    state, hs = over_time(step, state, sequences, reverse, unrolled=alone)
    return hs, state


def _zero_where(flags: Array, state: State) -> State:
    return _choose(flags, jax.tree.map(jnp.zeros_like, state), state)


def _choose(flags: Array, chosen: State, other: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(flags[:, None], a, b), chosen, other)
