"""The reference engine: the cell under `jax.lax.scan`, differentiated by JAX.

Nothing is hidden here, so everything JAX offers works: reverse and forward mode,
second derivatives, `vmap`. The other engines are held to its results.
"""

import jax
import jax.numpy as jnp

from lstm_jax.cells.lstm import LSTMState, apply_gates
from lstm_jax.cells.noise import LoopMasks, zoneout
from lstm_jax.typing import Flags, Gates, Hidden, RecurrentWeights


def run_scan(
    z: Gates,
    w_h: RecurrentWeights,
    state: LSTMState,
    resets: Flags | None,
    valid: Flags | None,
    reverse: bool,
    masks: LoopMasks | None = None,
) -> tuple[Hidden, LSTMState]:
    """Run the recurrence step by step; see `lstm_jax.engines` for the arguments.

    This engine alone has `masks`: regularizers that act inside the loop.
    """

    def step(before: LSTMState, inputs: tuple) -> tuple[LSTMState, jax.Array]:
        z_t, resets_t, valid_t, masks_t = inputs
        fresh = before if resets_t is None else _zero_where(resets_t, before)
        candidate = None if masks_t is None else masks_t.candidate
        after = apply_gates(z_t + fresh.h @ w_h, fresh.c, candidate)
        if masks_t is not None:
            after = zoneout(fresh, after, masks_t.zoneout_h, masks_t.zoneout_c)
        if valid_t is not None:
            after = _choose(valid_t, after, before)
        return after, after.h

    state, hs = jax.lax.scan(step, state, (z, resets, valid, masks), reverse=reverse)
    return hs, state


def _zero_where(flags: jax.Array, state: LSTMState) -> LSTMState:
    return _choose(flags, jax.tree.map(jnp.zeros_like, state), state)


def _choose(flags: jax.Array, chosen: LSTMState, other: LSTMState) -> LSTMState:
    return jax.tree.map(lambda a, b: jnp.where(flags[:, None], a, b), chosen, other)
