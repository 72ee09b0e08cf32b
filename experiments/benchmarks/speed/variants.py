"""Who takes part: our ways to run, and the rivals."""

import dataclasses
import json
import os
from collections.abc import Sequence
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


BEST = Variant(REFERENCE, OURS, devices=1)  # as our commands run it


def _ours(name: str, tolerance: float = 1e-3, **options: object) -> Variant:
    return dataclasses.replace(
        BEST, name=f"ours, {name}", options=options, tolerance=tolerance
    )


def our_options(case: str, shape: Shape) -> list[Variant]:
    """Other ways to run ours, each option by itself."""
    found = [_ours("scan engine", engine="scan"), _ours("fused engine", engine="fused")]
    found.append(_ours("bfloat16", 1.0, dtype="bfloat16"))
    if shape.batch > 1:
        found.append(dataclasses.replace(_ours("a device per core"), devices=cores()))
    if case == "train":
        found.append(_ours("1 step per call", steps=1))
    return found


def rounded(case: str, rivals: Sequence[Variant]) -> list[Variant]:
    """Factors of products in bfloat16: our mixed precision and PyTorch's autocast."""
    if case == "generate":
        return []
    found = [_ours("mixed precision", 1.0, mixed=True)]
    for rival in rivals:
        if rival.name == "torch":
            name, options = "torch, autocast", {"autocast": True}
            found.append(
                dataclasses.replace(rival, name=name, options=options, tolerance=1.0)
            )
    return found


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
