"""What is measured: jobs of a library, each a program at a shape."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.benchmarks.speed.shapes import Shape

LIBRARIES = {
    "lstm_jax": "experiments.benchmarks.speed.libraries.lstm_jax",
    "torch": "experiments.benchmarks.speed.libraries.torch",
    "flax": "experiments.benchmarks.speed.libraries.flax_linen",
}
_UNITS = (128, 256, 512, 1024)
_OTHERS = (  # T, B, H
    (256, 16, 512),
    (256, 256, 512),
    (64, 64, 256),
    (1024, 64, 256),
)
_CHECKED = ((64, 64, 128), (64, 64, 256), (32, 16, 512), (16, 64, 1024))
_STEPS = (Shape("2x512", 2, 512, 64, 64), Shape("1x256", 1, 256, 64, 64))
_DRY_LAYER, _DRY_STEP = Shape("layer", 1, 8, 4, 5), Shape("1x8", 1, 8, 4, 5)
_TYPES = ("bfloat16", "float32", "float16")
_LARGE, _SMALL = 8192, 64  # of a square product
Options = dict[str, Any]
Kind = tuple[Options, str | None]  # options and the precision of float32 products


@dataclasses.dataclass(frozen=True)
class Job:
    """A program of a library: a function of its file, a shape, and options.

    Attributes:
        case: "layer", "train" or "generate", or a ceiling: "copy" or "product".
        shape: its sizes.
        options: arguments of the function.
        precision: of float32 products in JAX, "highest" or None for its default.
    """

    case: str
    shape: Shape
    options: Options = dataclasses.field(default_factory=dict)
    precision: str | None = None

    def __str__(self) -> str:
        """What distinguishes it from other jobs of its case and shape."""
        words = [
            value if isinstance(value, str) else name
            for name, value in self.options.items()
            if value is not False and name != "gradient"
        ]
        return " ".join([*words, *([self.precision] if self.precision else [])])


def jobs(
    stage: str, library: str, dry: bool, engines: Sequence[str] = ()
) -> list[list[Job]]:
    """The jobs of a stage in groups, most telling first.

    A group is compiled as a whole before any of it is timed.

    Args:
        stage: its name.
        library: whose.
        dry: tiny sizes.
        engines: those of `lstm_jax` to measure, by name.
    """
    found = _STAGES[stage](library, dry, engines)
    return [group for group in found if group]


def _ceilings(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    size = _SMALL if dry else _LARGE
    whole: Kind = ({"dtype": "float32"}, "highest")
    if library == "torch":
        whole = ({"dtype": "float32", "tf32": True}, None)
    kinds = [*(({"dtype": dtype}, None) for dtype in _TYPES), whole]
    shape = Shape("product", 1, size, 1, 1)
    products = [Job("product", shape, *kind) for kind in kinds]
    return [[Job("copy", dataclasses.replace(shape, name="copy")), *products]]


def _checks(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    """Each engine in each type, and where it is XLA's in full precision too."""
    kinds: list[Kind] = [
        ({"engine": engine, "dtype": dtype}, None)
        for engine in engines
        for dtype in _TYPES
    ]
    kinds += [
        ({"engine": engine, "dtype": "float32"}, "highest")
        for engine in engines
        if engine in ("fused", "scan")
    ]
    shapes = [_DRY_LAYER] if dry else [_layer(*sizes) for sizes in _CHECKED]
    return [_layer_jobs(shapes, kinds, (True,))]


def _layers(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    """The units first, then other rows and steps; rare types last."""
    usual, rare = _layer_kinds(library, engines)
    if dry:
        return [_layer_jobs([_DRY_LAYER], [*usual, *rare])]
    swept = [_layer(256, 64, units) for units in _UNITS]
    others = [_layer(*sizes) for sizes in _OTHERS]
    parts = ((swept, usual), (swept, rare), (others, usual))
    return [_layer_jobs(shapes, kinds) for shapes, kinds in parts]


def _layer_kinds(library: str, engines: Sequence[str]) -> tuple[list[Kind], list[Kind]]:
    """In which ways a library runs a layer: those most people want, and the others."""
    if library == "flax":
        return [({}, None)], []
    if library == "torch":
        usual: list[Kind] = [({"dtype": dtype}, None) for dtype in _TYPES]
        return [*usual, ({"dtype": "float32", "tf32": True}, None)], []
    named = [name for name in engines if name != "scan"]  # `fused` is ahead of it
    usual = [
        ({"engine": name, "dtype": dtype}, None)
        for dtype in ("bfloat16", "float32")
        for name in named
    ]
    rare: list[Kind] = [
        ({"engine": name, "dtype": "float16"}, None)
        for name in named
        if name.startswith("pallas")
    ]
    if "fused" in named:
        rare.append(({"engine": "fused", "dtype": "float32"}, "highest"))
    return usual, rare


def _layer_jobs(
    shapes: Sequence[Shape],
    kinds: Sequence[Kind],
    gradients: Sequence[bool] = (True, False),
) -> list[Job]:
    return [
        Job("layer", shape, options | {"gradient": gradient}, precision)
        for shape in shapes
        for options, precision in kinds
        for gradient in gradients
    ]


def _layer(steps: int, rows: int, units: int) -> Shape:
    return Shape(f"T {steps}, B {rows}, H {units}", 1, units, rows, steps)


def _train(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    kinds: dict[str, list[Options]] = {
        "lstm_jax": [{}, {"mixed": True}, {"dtype": "bfloat16"}],
        # What may spoil the process comes last.
        "torch": [{"tf32": True}, {"autocast": True}, {"tf32": True, "graph": True}],
        "flax": [{}],
    }
    shapes = [_DRY_STEP] if dry else _STEPS
    return [
        [Job("train", shape, options) for options in kinds[library]] for shape in shapes
    ]


def _generate(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    shapes = [dataclasses.replace(_STEPS[0], name=f"B {b}", batch=b) for b in (1, 64)]
    return [[Job("generate", shape) for shape in ([_DRY_STEP] if dry else shapes)]]


def _memory(library: str, dry: bool, engines: Sequence[str]) -> list[list[Job]]:
    """One program: a process can tell the peak of all that it ran."""
    options = {"tf32": True} if library == "torch" else {}
    return [[Job("train", _DRY_STEP if dry else _STEPS[0], options)]]


_STAGES = {
    "ceilings": _ceilings,
    "check": _checks,
    "layer": _layers,
    "train": _train,
    "generate": _generate,
    "memory": _memory,
}
