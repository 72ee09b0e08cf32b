"""What was aimed at, and whether it was reached."""

from typing import Any, NamedTuple

from experiments.speed.shapes import SHAPES

Cell = dict[str, Any]
FAMILIES = {
    "PyTorch": ("torch",),
    "Flax": ("flax-linen", "flax-nnx"),
    "Keras": ("keras-jax", "keras-tensorflow", "keras-torch"),
    "Haiku": ("haiku",),
    "Equinox": ("equinox",),
}
_OTHERS = ("Flax", "Keras", "Haiku", "Equinox")
_TORCH_TRAIN = {"tiny": 4.0, "small": 1.5, "mid": 1.6, "charrnn": 1.5, "big": 1.7}


class Verdict(NamedTuple):
    """A target, and the smallest ratio found among the rivals it names."""

    case: str
    shape: str
    against: str
    target: float
    found: float | None
    rival: str | None

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.found is not None and self.found >= self.target


def targets() -> list[tuple[str, str, str, float]]:
    """Every target: case, shape, family, ratio."""
    found = []
    for shape in SHAPES:
        found.append(("train", shape, "PyTorch", _TORCH_TRAIN[shape]))
        found += [("train", shape, family, 2.0) for family in _OTHERS]
        for case in ("evaluate", "layer"):
            found.append((case, shape, "PyTorch", 1.2))
            found += [(case, shape, family, 1.7) for family in _OTHERS]
        for rows, ratios in (("B=1", (15, 2, 20)), ("B=64", (3, 1.5, 3))):
            name = f"{shape}, {rows}"
            torch, flax, others = ratios
            found.append(("generate", name, "PyTorch", torch))
            found.append(("generate", name, "Flax", flax))
            found += [("generate", name, family, others) for family in _OTHERS[1:]]
    return found


def judge(cells: list[Cell]) -> list[Verdict]:
    """The targets of the cases and shapes that were measured."""
    measured = {(cell["case"], cell["shape"]["name"]) for cell in cells}
    ratios = {
        (cell["case"], cell["shape"]["name"], cell["variant"]): cell["ratio"]
        for cell in cells
        if "ratio" in cell
    }
    verdicts = []
    for case, shape, family, target in targets():
        if (case, shape) not in measured:
            continue
        best = (
            min(
                (ratios[case, shape, rival], rival)
                for rival in FAMILIES[family]
                if (case, shape, rival) in ratios
            )
            if any((case, shape, rival) in ratios for rival in FAMILIES[family])
            else None
        )
        found, rival = best if best else (None, None)
        verdicts.append(Verdict(case, shape, family, target, found, rival))
    return verdicts
