"""What a training step costs on many devices: arithmetic on a few measured numbers.

Every device has its own rows. They compute, then add up their gradients:

    step(N) = max(compute, input) + all_reduce(N)
    all_reduce(N) = 2 (N - 1) / N * bytes / bandwidth + 2 ceil(log2 N) * latency

The first term is what any all-reduce has to carry through the wire of each device
(Patarasuk & Yuan 2009); the second counts the rounds of a tree. The next batches are
prepared while the devices work, so the longer of both counts. The exchange overlaps
with nothing: the one sum over devices needs the whole gradient.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Costs:
    """Of one step: seconds, bytes, bytes per second.

    Attributes:
        compute: seconds of a step without exchange, at the rows of one device.
        input: seconds to prepare the rows of one device.
        gradient_bytes: what is added up over devices.
        bandwidth: bytes per second that a device can send.
        latency: seconds of a round.
    """

    compute: float
    input: float
    gradient_bytes: int
    bandwidth: float
    latency: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A step on `devices` devices: seconds, and the share of them that computes."""

    devices: int
    exchange: float
    step: float
    efficiency: float


def all_reduce_seconds(costs: Costs, devices: int) -> float:
    """How long the gradients take to be added up."""
    if devices == 1:
        return 0.0
    carried = 2 * (devices - 1) / devices * costs.gradient_bytes
    rounds = 2 * math.ceil(math.log2(devices))
    return carried / costs.bandwidth + rounds * costs.latency


def estimate(costs: Costs, devices: int) -> Estimate:
    """Weak scaling: every device keeps its number of rows, whatever their number."""
    exchange = all_reduce_seconds(costs, devices)
    step = max(costs.compute, costs.input) + exchange
    return Estimate(devices, exchange, step, costs.compute / step)


def fit_line(few: tuple[int, float], many: tuple[int, float]) -> tuple[float, float]:
    """Bandwidth and latency of an all-reduce between two, from two sizes.

    Args:
        few: bytes and seconds of a small one.
        many: of a large one.

    Returns:
        Bytes per second, and seconds of a round, of which there are two.
    """
    per_byte = (many[1] - few[1]) / (many[0] - few[0])
    latency = max(few[1] - few[0] * per_byte, 0.0) / 2
    return 1 / per_byte, latency
