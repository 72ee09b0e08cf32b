"""What was aimed at, and whether it was reached."""

from typing import Any, NamedTuple

from experiments.benchmarks.speed.shapes import SHAPES
from experiments.benchmarks.speed.variants import CEILING, REFERENCE

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
    """A target, and the smallest ratio found among those it names.

    `needs` is the share of the speed of products alone that our products would run at
    if the target was just met: what is above 1 nobody can reach with these products.
    """

    case: str
    shape: str
    against: str
    target: float
    found: float | None
    rival: str | None
    needs: float | None = None

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
    ratios, shares = ratios_of(cells), shares_of(cells)
    verdicts = []
    for case, shape, family, target in targets():
        if (case, shape) in measured:
            known = [
                (ratios[case, shape, rival], rival)
                for rival in FAMILIES[family]
                if (case, shape, rival) in ratios
            ]
            found, rival = min(known, default=(None, None))
            share = shares.get((case, shape))
            needs = None if share is None or not found else share * target / found
            verdicts.append(Verdict(case, shape, family, target, found, rival, needs))
    return [*verdicts, *near_ceiling(cells), *compilation(cells), *flatness(cells)]


def ratios_of(cells: list[Cell]) -> dict[tuple[str, str, str], float]:
    """Time over ours, by case, shape and variant."""
    return {
        (cell["case"], cell["shape"]["name"], cell["variant"]): cell["ratio"]
        for cell in cells
        if "ratio" in cell
    }


def shares_of(cells: list[Cell]) -> dict[tuple[str, str], float]:
    """The rate of our products over that of products alone, by case and shape."""
    peaks = {
        name: peak
        for name in SHAPES
        if (peak := ceiling([c for c in cells if c["shape"]["name"] == name]))
    }
    shares = {}
    for cell in cells:
        case, name = cell["case"], cell["shape"]["name"]
        if cell["variant"] != REFERENCE or "median_s" not in cell or name not in peaks:
            continue
        flops = {
            "train": SHAPES[name].executed_flops,
            "evaluate": SHAPES[name].forward_flops,
            "layer": SHAPES[name].layer_flops,
        }
        if case in flops:
            shares[case, name] = flops[case] / 1e9 / cell["median_s"] / peaks[name]
    return shares


def ceiling(cells: list[Cell]) -> float | None:
    """GF/s of the best matrix product among these cells."""
    rates = [
        1 / cell["median_s"]
        for cell in cells
        if cell["variant"].startswith(CEILING) and "median_s" in cell
    ]
    return max(rates, default=None)


def near_ceiling(cells: list[Cell]) -> list[Verdict]:
    """The train step's rate over that of matrix products alone, where H >= 512."""
    return [
        Verdict("train", name, "products alone", 0.85, share, CEILING)
        for (case, name), share in shares_of(cells).items()
        if case == "train" and SHAPES[name].hidden >= 512
    ]


def compilation(cells: list[Cell]) -> list[Verdict]:
    """Flax's time of compilation over ours."""
    times = {
        (cell["case"], cell["shape"]["name"], cell["variant"]): cell["compile_s"]
        for cell in cells
        if "compile_s" in cell and cell["shape"]["name"] in SHAPES
    }
    verdicts = []
    for (case, shape, variant), seconds in times.items():
        if variant != REFERENCE or seconds <= 0:
            continue
        known = [
            (times[case, shape, rival] / seconds, rival)
            for rival in FAMILIES["Flax"]
            if (case, shape, rival) in times
        ]
        found, rival = min(known, default=(None, None))
        verdicts.append(Verdict("compile " + case, shape, "Flax", 1.0, found, rival))
    return verdicts


def flatness(cells: list[Cell]) -> list[Verdict]:
    """Time per symbol at T = 64 over that at T = 4096."""
    per_symbol = {
        cell["shape"]["name"]: cell["median_s"] / cell["shape"]["steps"]
        for cell in cells
        if cell["variant"] == REFERENCE and "median_s" in cell
    }
    if not per_symbol.keys() >= {"T=64", "T=4096"}:
        return []
    found = per_symbol["T=64"] / per_symbol["T=4096"]
    return [Verdict("train", "T=4096", "T=64", round(1 / 1.15, 2), found, REFERENCE)]
