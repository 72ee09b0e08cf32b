"""What a training step exchanges on accelerators that nobody has here.

Compiled ahead of time for four H100 or four TPU v5e, and read; nothing is run. The
compilers are those of `experiments.speed.aot`, whose page says what to install.
"""

import os
from collections.abc import Callable, Sequence

import jax

from experiments.scaling.hlo import Collective, collectives
from experiments.scaling.program import lower
from experiments.speed.aot import TPU_SETTINGS, h100s, v5es
from experiments.speed.shapes import Shape

TARGETS: dict[str, tuple[str, Callable[[], Sequence[jax.Device]]]] = {
    "4 x H100": ("cuda", h100s),
    "4 x TPU v5e": ("tpu", v5es),
}


def exchanged(target: str, shape: Shape) -> list[Collective]:
    """The collectives of a training step.

    Raises:
        Exception: whatever a compiler that is not there, or does not fit, raises.
    """
    os.environ |= TPU_SETTINGS
    platform, find = TARGETS[target]
    return collectives(lower(shape, find(), platform).compile().as_text() or "")
