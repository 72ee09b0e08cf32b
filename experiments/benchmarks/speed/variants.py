"""Who takes part: our ways to run, and the rivals."""

import dataclasses
import json
import os
from typing import Any

from experiments.benchmarks.speed.shapes import Shape

OURS = "experiments.benchmarks.speed.libraries.lstm_jax"
REFERENCE = "ours"  # what every ratio is taken to
CEILING = "gemm"


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to compute a case.

    Attributes:
        name: in the tables.
        module: what the worker process imports.
        options: handed to the function of the case.
        devices: virtual devices on a CPU, for ours; None for a rival, which gets what
            its own users get.
        environment: added to the worker's.
        tolerance: largest relative error of its proof.
    """

    name: str
    module: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    devices: int | None = None
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerance: float = 1e-3

    @property
    def process(self) -> str:
        """A name for the process it runs in; variants may share one."""
        parts = [self.module.split(".")[-1], *self.environment.values()]
        if self.devices is not None:
            parts.append(f"{self.devices}dev")
        return "-".join(parts)

    @property
    def settings(self) -> str:
        """What the worker prepares with, as JSON."""
        return json.dumps({} if self.devices is None else {"devices": self.devices})


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ours(case: str, shape: Shape) -> list[Variant]:
    """The reference, as our commands run it, then each option by itself."""
    best = Variant(REFERENCE, OURS, devices=1)

    def other(name: str, tolerance: float = 1e-3, **options: object) -> Variant:
        return dataclasses.replace(
            best, name=f"ours, {name}", options=options, tolerance=tolerance
        )

    found = [best, other("scan engine", engine="scan")]
    found.append(other("fused engine", engine="fused"))
    found.append(other("bfloat16", 1.0, dtype="bfloat16"))
    if shape.batch > 1:
        found.append(dataclasses.replace(other("a device per core"), devices=cores()))
    if case == "train":
        found.append(other("1 step per call", steps=1))
    if case != "generate":
        found.append(other("mixed precision", 1.0, mixed=True))
    return found


def in_bfloat16(case: str, rival: Variant) -> list[Variant]:
    """A rival with factors of products in bfloat16, beside our mixed precision."""
    if rival.name != "torch" or case == "generate":
        return []
    options = {"autocast": True}
    return [
        dataclasses.replace(
            rival, name="torch, autocast", options=options, tolerance=1.0
        )
    ]


def ceiling() -> list[Variant]:
    """Matrix products alone, a device per core or one device over all cores."""
    return [
        Variant(f"{CEILING} {size}, {count} dev", OURS, {"size": size}, count)
        for count in sorted({1, cores()})
        for size in (1024, 2048)
    ]


def _rival(name: str, module: str, backend: str | None = None) -> Variant:
    environment = {"KERAS_BACKEND": backend} if backend else {}
    return Variant(
        name,
        f"experiments.benchmarks.speed.libraries.{module}",
        environment=environment,
    )


RIVALS = {
    variant.name: variant
    for variant in (
        _rival("torch", "torch"),
        _rival("flax-linen", "flax_linen"),
        _rival("flax-nnx", "flax_nnx"),
        _rival("keras-jax", "keras", "jax"),
        _rival("keras-tensorflow", "keras", "tensorflow"),
        _rival("keras-torch", "keras", "torch"),
        _rival("haiku", "haiku"),
        _rival("equinox", "equinox"),
    )
}
SWEEP_RIVALS = QUICK_RIVALS = ("torch", "flax-linen", "flax-nnx")
