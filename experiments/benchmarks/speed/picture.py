"""The results as a picture: ratios as bars, times against T, H and B on log axes."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from experiments.benchmarks.speed.targets import FAMILIES, ratios_of
from experiments.benchmarks.speed.variants import REFERENCE

Cell = dict[str, Any]
AXES = {"T": "steps", "H": "hidden", "B": "batch"}
LABELS = {
    "T": "T, time steps (H = 128, B = 32)",
    "H": "H, units (B = 32, T = 64)",
    "B": "B, rows (H = 128, T = 64)",
}


def draw(cells: list[Cell], path: Path) -> None:
    """Write the picture: a panel per case and number of rows, and one per sweep."""
    cells = [cell for cell in cells if "techniques" not in cell["shape"]["name"]]
    panels: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if not swept(cell):
            rows_of = cell["shape"]["name"].partition(", ")[2]
            panels.setdefault((cell["case"], rows_of), []).append(cell)
    letters = [letter for letter in AXES if any(swept(c) == letter for c in cells)]
    columns = max(2, len(letters))
    rows = -(-len(panels) // columns) + bool(letters)
    figure = Figure(figsize=(6 * columns, 4 * rows), layout="constrained")
    for place, (title, group) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(", ".join(filter(None, title)))
        bars(axes, group)
    for place, letter in enumerate(letters, (rows - 1) * columns + 1):
        lines(figure.add_subplot(rows, columns, place), letter, cells)
    figure.savefig(path, dpi=110)


def swept(cell: Cell) -> str | None:
    """The letter that a sweep changes, or None."""
    letter, equals, _ = cell["shape"]["name"].partition("=")
    return letter if equals and letter in AXES else None


def bars(axes: Axes, group: list[Cell]) -> None:
    """Time over ours, for the best rival of every family, by shape."""
    case = group[0]["case"]
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
    names = [shape.partition(", ")[0] for shape in shapes]
    axes.set_xticks([n + 0.4 for n in range(len(names))], names)
    plain_numbers(axes)
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
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_yscale("log")
    plain_numbers(axes)
    axes.set_xlabel(LABELS[letter])
    axes.set_ylabel("training, µs per symbol")
    axes.legend(fontsize=8)


def plain_numbers(axes: Axes) -> None:
    """Numbers beside a logarithmic axis as one writes them."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
