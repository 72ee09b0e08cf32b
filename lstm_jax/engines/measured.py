"""Which engine was the fastest one measured, by kind of card, type and sizes.

A line holds for the cards named and the sizes between those that were measured, or says
that it is extrapolated from them. `auto` follows the table, and is `fused` elsewhere.
"""

from math import inf
from typing import NamedTuple

from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.ops.matmul import ROUNDED

# Of `jax_default_matmul_precision`: with these float32 was measured.
_PRECISIONS = (None, "default", ROUNDED)


_H100 = ("NVIDIA H100 80GB HBM3",)
_HOPPER = ("NVIDIA H100", "NVIDIA H200")  # with the same kind of multiprocessors
_HALF = ("bfloat16", "float16")
_ON_H100 = "an H100, T 64 to 1024, B 16 to 256, 128 to"


class Measured(NamedTuple):
    """A line of the table.

    Attributes:
        engine: the fastest one, forward and backward.
        cards: how JAX's names of the devices begin.
        factors: types in which matrices are multiplied.
        steps: T, from and to.
        rows: B, likewise.
        hidden: H, units, likewise.
        source: what was measured.
        extrapolated: whether it was outside of these cards, types and sizes.
    """

    engine: str
    cards: tuple[str, ...]
    factors: tuple[str, ...]
    steps: tuple[int, float]
    rows: tuple[int, float]
    hidden: tuple[int, float]
    source: str
    extrapolated: bool = False

    def covers(self, spec: RecurrenceSpec) -> bool:
        """Whether a request is within the line."""
        sizes = zip((self.steps, self.rows, self.hidden), _sizes(spec), strict=True)
        return (
            spec.device_kind.startswith(self.cards)
            and spec.factors in self.factors
            and all(least <= size <= most for (least, most), size in sizes)
        )


# T, B and H were varied one at a time, from T 256, B 64 and H 256 or 512; in float16 H
# alone. `fused`, which takes 2.3 to 7.6 times as long, was measured on an H200, which
# has as many multiprocessors. In float32 512 units were timed, too, but their values
# were not compared on the card: only who asks for the engine by name gets it there.
MEASURED = (
    Measured(
        "pallas_gpu",
        _H100,
        _HALF,
        (64, 1024),
        (16, 256),
        (128, 1024),
        f"{_ON_H100} 1024 units; docs/accelerators.md",
    ),
    Measured(
        "pallas_gpu",
        _H100,
        ("float32",),
        (64, 1024),
        (16, 256),
        (128, 256),
        f"{_ON_H100} 256 units; docs/accelerators.md",
    ),
    Measured(
        "pallas_gpu",
        _HOPPER,
        _HALF,
        (16, inf),
        (1, 256),
        (1, 1024),
        f"{_ON_H100} 1024 units; docs/accelerators.md",
        extrapolated=True,
    ),
    Measured(
        "pallas_gpu",
        _HOPPER,
        ("float32",),
        (16, inf),
        (1, 256),
        (1, 256),
        f"{_ON_H100} 256 units; docs/accelerators.md",
        extrapolated=True,
    ),
)


def fastest(spec: RecurrenceSpec) -> Measured | None:
    """The first line that covers a request; None if none does."""
    exact = spec.factors == "float32" and spec.precision not in _PRECISIONS
    if spec.symbolic or exact:
        return None
    return next((line for line in MEASURED if line.covers(spec)), None)


def _sizes(spec: RecurrenceSpec) -> tuple[int, int, int]:
    return spec.steps, spec.rows, spec.hidden
