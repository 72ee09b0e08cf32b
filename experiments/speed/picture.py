"""The results as a picture: ratios as bars, times against T, H and B on log axes."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.speed.targets import FAMILIES, ratios_of
from experiments.speed.variants import REFERENCE

Cell = dict[str, Any]
AXES = {"T": "steps", "H": "hidden", "B": "batch"}
LABELS = {
    "T": "T, time steps (H = 128, B = 32)",
    "H": "H, units (B = 32, T = 64)",
    "B": "B, rows (H = 128, T = 64)",
}


def draw(cells: list[Cell], path: Path) -> None:
    """Write the picture: a panel per case, and one per sweep."""
    cells = [cell for cell in cells if "techniques" not in cell["shape"]["name"]]
    cases = list(dict.fromkeys(cell["case"] for cell in cells if not swept(cell)))
    letters = [letter for letter in AXES if any(swept(c) == letter for c in cells)]
    columns = max(2, len(letters))
    rows = -(-len(cases) // columns) + bool(letters)
    figure = Figure(figsize=(6 * columns, 4 * rows), layout="constrained")
    for place, case in enumerate(cases, 1):
        bars(figure.add_subplot(rows, columns, place), case, cells)
    for place, letter in enumerate(letters, (rows - 1) * columns + 1):
        lines(figure.add_subplot(rows, columns, place), letter, cells)
    figure.savefig(path, dpi=110)


def swept(cell: Cell) -> str | None:
    """The letter that a sweep changes, or None."""
    letter, equals, _ = cell["shape"]["name"].partition("=")
    return letter if equals and letter in AXES else None


def bars(axes: Axes, case: str, cells: list[Cell]) -> None:
    """Time over ours, for the best rival of every family, by shape."""
    group = [cell for cell in cells if cell["case"] == case and not swept(cell)]
    shapes = list(dict.fromkeys(cell["shape"]["name"] for cell in group))
    ratios = ratios_of(group)
    width = 0.8 / len(FAMILIES)
    colors = matplotlib.colormaps["tab10"]
    for n, (family, rivals) in enumerate(FAMILIES.items()):
        found = [
            (place + n * width, min(known))
            for place, shape in enumerate(shapes)
            if (known := [r for v in rivals if (r := ratios.get((case, shape, v)))])
        ]
        if found:
            places, heights = zip(*found, strict=True)
            axes.bar(places, heights, width, label=family, color=colors(n))
    axes.axhline(1, color="black", linewidth=1)
    axes.set_yscale("log")
    axes.set_xticks([n + 0.4 for n in range(len(shapes))], shapes, fontsize=8)
    axes.set_title(case)
    axes.set_ylabel("time / ours")
    if axes.patches:
        axes.legend(fontsize=8)


def lines(axes: Axes, letter: str, cells: list[Cell]) -> None:
    """Time per symbol of a training step."""
    group = [cell for cell in cells if swept(cell) == letter and "median_s" in cell]
    for name in dict.fromkeys(cell["variant"] for cell in group):
        points = [
            (
                shape[AXES[letter]],
                1e6 * cell["median_s"] / shape["steps"] / shape["batch"],
            )
            for cell in group
            if cell["variant"] == name and (shape := cell["shape"])
        ]
        bold = 2.5 if name == REFERENCE else 1.2
        axes.plot(*zip(*points, strict=True), marker="o", linewidth=bold, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(LABELS[letter])
    axes.set_ylabel("training, µs per symbol")
    axes.legend(fontsize=8)
