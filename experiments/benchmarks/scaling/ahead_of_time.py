"""What a training step exchanges on accelerators that nobody has here.

Compiled ahead of time for four H100 or four TPU v5e, and read; nothing is run. The
compilers are those of `experiments.benchmarks.speed.aot`, whose page says what to
install.
"""

import os

from experiments.benchmarks.scaling.hlo import Collective, collectives
from experiments.benchmarks.scaling.program import lower
from experiments.benchmarks.speed import aot
from experiments.benchmarks.speed.shapes import Shape
from lstm_jax.engines import as_if_on


def exchanged(target: aot.Target, shape: Shape) -> list[Collective]:
    """The collectives of a training step on four devices.

    Raises:
        Exception: whatever a compiler that is not there, or does not fit, raises.
    """
    os.environ |= aot.SETTINGS
    devices = target.describe()
    with as_if_on(devices):
        lowered = lower(shape, devices, target.platform)
    return collectives(lowered.compile().as_text() or "")
