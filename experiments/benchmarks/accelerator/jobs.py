"""What is measured: jobs of a library, each a program at a shape."""

import dataclasses
from typing import Any

from experiments.benchmarks.speed.shapes import Shape

LIBRARIES = {
    "lstm_jax": "experiments.benchmarks.speed.libraries.lstm_jax",
    "torch": "experiments.benchmarks.speed.libraries.torch",
    "flax": "experiments.benchmarks.speed.libraries.flax_linen",
}
_UNITS = (128, 256, 512, 1024)
_LAYERS = (  # T, B, H
    *((256, 64, units) for units in _UNITS),
    (256, 16, 512),
    (256, 256, 512),
    (64, 64, 256),
    (1024, 64, 256),
)
_STEPS = (Shape("1x256", 1, 256, 64, 64), Shape("2x512", 2, 512, 64, 64))
_DRY_LAYER, _DRY_STEP = Shape("layer", 1, 8, 4, 5), Shape("1x8", 1, 8, 4, 5)


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
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    precision: str | None = None

    def __str__(self) -> str:
        """What distinguishes it from other jobs of its case and shape."""
        words = [
            value if isinstance(value, str) else name
            for name, value in self.options.items()
            if value is not False and name != "gradient"
        ]
        return " ".join([*words, *([self.precision] if self.precision else [])])


def jobs(stage: str, library: str, dry: bool) -> list[Job]:
    """The jobs of a stage, in the order in which they are measured."""
    return _STAGES[stage](library, dry)


def _ceilings(library: str, dry: bool) -> list[Job]:
    size = 64 if dry else 8192
    shape = Shape("product", 1, size, 1, 1)
    kinds = (("bfloat16", None), ("float16", None), ("float32", None))
    products = [
        Job("product", shape, {"dtype": dtype}, precision)
        for dtype, precision in (*kinds, ("float32", "highest"))
    ]
    return [Job("copy", dataclasses.replace(shape, name="copy")), *products]


def _layers(library: str, dry: bool) -> list[Job]:
    shapes = [Shape(f"T {t}, B {b}, H {h}", 1, h, b, t) for t, b, h in _LAYERS]
    kinds: dict[str, list[tuple[dict[str, Any], str | None]]] = {
        "lstm_jax": [
            ({"engine": "fused", "dtype": "bfloat16"}, None),
            ({"engine": "fused", "dtype": "float32"}, None),
            ({"engine": "fused", "dtype": "float32"}, "highest"),
            ({"engine": "cudnn", "dtype": "float32"}, None),
            ({"engine": "pallas_tpu", "dtype": "float32"}, None),
        ],
        "torch": [
            ({"dtype": "bfloat16"}, None),
            ({"dtype": "float16"}, None),
            ({"dtype": "float32", "tf32": True}, None),
            ({"dtype": "float32"}, None),
        ],
        "flax": [({}, None)],
    }
    return [
        Job("layer", shape, options | {"gradient": gradient}, precision)
        for shape in ([_DRY_LAYER] if dry else shapes)
        for options, precision in kinds[library]
        for gradient in (False, True)
    ]


def _train(library: str, dry: bool) -> list[Job]:
    kinds: dict[str, list[dict[str, Any]]] = {
        "lstm_jax": [{}, {"mixed": True}],
        "torch": [{"tf32": True}, {"autocast": True}],
        "flax": [{}],
    }
    return [
        Job("train", shape, options)
        for shape in ([_DRY_STEP] if dry else _STEPS)
        for options in kinds[library]
    ]


def _generate(library: str, dry: bool) -> list[Job]:
    shapes = [dataclasses.replace(_STEPS[1], name=f"B {b}", batch=b) for b in (1, 64)]
    return [Job("generate", shape) for shape in ([_DRY_STEP] if dry else shapes)]


_STAGES = {
    "ceilings": _ceilings,
    "check": _layers,
    "layer": _layers,
    "train": _train,
    "generate": _generate,
}
