"""What is measured together: a case, a shape, and everybody who takes turns there."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from experiments.benchmarks.speed.shapes import SHAPES, Shape
from experiments.benchmarks.speed.variants import (
    BEST,
    OURS,
    RIVALS,
    SWEEP_RIVALS,
    Variant,
    ceiling,
    cores,
    our_options,
    rounded,
)

TECHNIQUES = "experiments.benchmarks.speed.techniques"
STEPS = (64, 256, 1024, 4096)
WIDTHS = (64, 128, 256, 512, 1024)
ROWS = (1, 4, 16, 64, 256)


class Group(NamedTuple):
    """The unit of a run."""

    case: str
    shape: Shape
    variants: list[Variant]


def table(
    cases: Sequence[str], shapes: Sequence[str], rivals: Sequence[str], options: bool
) -> Iterator[Group]:
    """Every case at every shape; our options too, if wanted."""
    others = [RIVALS[name] for name in rivals]
    for case in cases:
        extra = [*rounded(case, others), *(ceiling() if case == "train" else [])]
        for shape in (SHAPES[name] for name in shapes):
            sizes = [shape]
            if case == "generate":
                named = [(f"{shape.name}, B={rows}", rows) for rows in (1, 64)]
                sizes = [replace(shape, name=name, batch=rows) for name, rows in named]
            for size in sizes:
                own = [BEST, *(our_options(case, size) if options else [])]
                yield Group(case, size, [*own, *others, *extra])


def sweeps(rivals: Sequence[str]) -> Iterator[Group]:
    """The train step of the small shape with one of T, H, B changed."""
    small = SHAPES["small"]
    others = [RIVALS[name] for name in rivals if name in SWEEP_RIVALS]
    shapes = [replace(small, name=f"T={n}", steps=n) for n in STEPS]
    shapes += [replace(small, name=f"H={n}", hidden=n) for n in WIDTHS]
    shapes += [replace(small, name=f"B={n}", batch=n) for n in ROWS]
    for shape in shapes:
        yield Group("train", shape, [BEST, *others])


def techniques() -> Iterator[Group]:
    """What every idea is worth at the mid shape: the layer's ladder, the train step."""
    shape = replace(SHAPES["mid"], name="mid, techniques")
    names = ("eager", "unrolled", "scan", "scan, unroll 4", "hoisted", "one tanh")
    ladder = [Variant(name, TECHNIQUES, {"technique": name}, 1) for name in names]
    fused = Variant("hand-written gradient", OURS, {"engine": "fused"}, 1)
    yield Group("layer", shape, [BEST, *ladder, fused])

    yield Group(
        "train",
        shape,
        [
            BEST,
            Variant("a device per core", OURS, devices=cores()),
            Variant("scan engine", OURS, {"engine": "scan"}, 1),
            Variant("1 step per call", OURS, {"steps": 1}, 1),
            Variant("... and no table", TECHNIQUES, {}, 1),
        ],
    )
