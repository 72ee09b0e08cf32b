"""What regularizers change inside a step: masks of what is written, and zoneout."""

import dataclasses

import jax
from jax import Array

from lstm_jax.cells.lstm import LSTMState


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LoopMasks:
    """What is done inside the loop, over all its steps; None for what is not.

    Attributes:
        candidate: factors of what a step writes into the cell state, [T, B, H].
        zoneout_h: the share of the old h that a step keeps, [T, B, H] or [T, 1, 1].
        zoneout_c: the same of c.
    """

    candidate: Array | None = None
    zoneout_h: Array | None = None
    zoneout_c: Array | None = None


def zoneout(
    before: LSTMState,
    after: LSTMState,
    zoneout_h: Array | float | None,
    zoneout_c: Array | float | None,
) -> LSTMState:
    """The state of a step with zoneout: the old one where it is held."""

    def mix(old: Array, new: Array, held: Array | float | None) -> Array:
        if held is None:
            return new
        return (held * old + (1 - held) * new).astype(new.dtype)

    return LSTMState(
        h=mix(before.h, after.h, zoneout_h), c=mix(before.c, after.c, zoneout_c)
    )
