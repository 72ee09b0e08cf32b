"""Which engine was the fastest one measured, by kind of card, type and sizes.

A line holds for the cards named and the sizes between those that were measured; what
has no line was not measured. `auto` follows the table, and is `fused` elsewhere.
"""

from typing import NamedTuple

from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.ops.matmul import ROUNDED

# Of `jax_default_matmul_precision`: what was measured. Full float32 was not.
_PRECISIONS = (None, "default", ROUNDED)


class Measured(NamedTuple):
    """A line of the table.

    Attributes:
        engine: the fastest one, forward and backward.
        cards: how JAX's names of the devices begin.
        factors: types in which matrices are multiplied.
        hidden: H, units, from and to.
        rows: B, likewise.
        source: where and when it was measured.
    """

    engine: str
    cards: tuple[str, ...]
    factors: tuple[str, ...]
    hidden: tuple[int, int]
    rows: tuple[int, int]
    source: str


_H200 = "one H200, jax 0.11.2, T 256, forward and backward: docs/accelerators.md"
_H100 = "one H100, jax 0.11.2, T 256, forward and backward: docs/accelerators.md"
_HOPPER = ("NVIDIA H100", "NVIDIA H200")  # with the same multiprocessors
MEASURED = (
    Measured("pallas_gpu", _HOPPER, ("bfloat16", "float16"), (64, 1024), (8, 256), _H100),
    Measured("pallas_gpu", _HOPPER, ("float32",), (64, 512), (8, 256), _H100),
    Measured(
        "fused", ("NVIDIA H200",), ("float32", "bfloat16"), (128, 1024), (64, 64), _H200
    ),
)


def fastest(spec: RecurrenceSpec) -> Measured | None:
    """The line for a request, the first one if there are several; None if none is."""
    if spec.symbolic or spec.precision not in _PRECISIONS:
        return None
    for line in MEASURED:
        (least, most), (few, many) = line.hidden, line.rows
        if (
            spec.device_kind.startswith(line.cards)
            and spec.factors in line.factors
            and least <= spec.hidden <= most
            and few <= spec.rows <= many
        ):
            return line
    return None
