"""What regularizers change inside a step: masks of what is written, and zoneout."""

import dataclasses

from jax import Array

from lstm_jax.cells.protocol import State
from lstm_jax.cells.pytrees import register_arrays


@register_arrays
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
    before: State,
    after: State,
    zoneout_h: Array | float | None,
    zoneout_c: Array | float | None,
) -> State:
    """Make the state of a step with zoneout: the old one where it is held."""
    held = {"h": zoneout_h, "c": zoneout_c}

    def mix(name: str) -> Array:
        old, new, share = getattr(before, name), getattr(after, name), held.get(name)
        if share is None:
            return new
        return (share * old + (1 - share) * new).astype(new.dtype)

    names = [field.name for field in dataclasses.fields(after)]
    return dataclasses.replace(after, **{name: mix(name) for name in names})
