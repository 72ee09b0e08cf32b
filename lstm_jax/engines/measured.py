"""Which engine was the fastest one measured, by kind of card, type and sizes.

A line names the cards and sizes that it is for, and what was measured of these: the
engines lie far apart there, so that neighbours are taken to be alike. `auto` follows
the table, and is `fused` elsewhere.
"""

from math import inf
from typing import NamedTuple

from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.ops.matmul import ROUNDED

# Of `jax_default_matmul_precision`: with these float32 was measured.
_PRECISIONS = (None, "default", ROUNDED)


_HOPPER = ("NVIDIA H100", "NVIDIA H200")  # with the same multiprocessors


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
    """

    engine: str
    cards: tuple[str, ...]
    factors: tuple[str, ...]
    steps: tuple[int, float]
    rows: tuple[int, float]
    hidden: tuple[int, float]
    source: str

    def covers(self, spec: RecurrenceSpec) -> bool:
        """Whether a request is within the line."""
        sizes = zip((self.steps, self.rows, self.hidden), _sizes(spec), strict=True)
        return (
            spec.device_kind.startswith(self.cards)
            and spec.factors in self.factors
            and all(least <= size <= most for (least, most), size in sizes)
        )


MEASURED = (
    Measured(
        "pallas_gpu",
        _HOPPER,
        ("bfloat16", "float16", "float32"),
        (16, inf),
        (1, 256),
        (1, 1024),
        "an H100, T 256, B 64, 128 to 1024 units; docs/accelerators.md",
    ),
    Measured(
        "fused",
        ("NVIDIA H200",),
        ("bfloat16", "float32"),
        (64, inf),
        (16, 256),
        (128, 1024),
        "an H200, T 256, B 64; docs/accelerators.md",
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
