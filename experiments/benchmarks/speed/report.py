"""From cells to JSON lines, Markdown tables, and targets met or missed."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from experiments.benchmarks.speed.shapes import SHAPES, Shape
from experiments.benchmarks.speed.targets import Verdict, ceiling, judge
from experiments.benchmarks.speed.variants import CEILING, REFERENCE

Cell = dict[str, Any]
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
TITLES = {
    "train": "Train step of the language model (one Adam step)",
    "evaluate": "Evaluation (forward and loss)",
    "layer": "Bare layer on dense input (forward and backward)",
    "generate": "Greedy generation, per call of 256 symbols, divided by 256",
}


def write(folder: Path, machine: Cell, cells: list[Cell]) -> None:
    """`results.jsonl`, the machine first, and `results.md`."""
    lines = [json.dumps({"machine": machine}), *map(json.dumps, cells)]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = markdown(machine, cells)
    (folder / "results.md").write_text(text, encoding="utf-8")


def read(path: Path) -> tuple[Cell, list[Cell]]:
    """What `write` wrote."""
    first, *rest = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return first["machine"], rest


def markdown(machine: Cell, cells: list[Cell]) -> str:
    """The whole report."""
    parts = ["# Speed: results", *_machine(machine), *overview(cells)]
    for (case, name), group in groups(cells):
        parts.append(_table(case, name, group))
    parts.append(_targets(judge(cells)))
    return "\n\n".join(parts) + "\n"


def groups(cells: Iterable[Cell]) -> Iterator[tuple[tuple[str, str], list[Cell]]]:
    """The cells that were measured together, by case and name of the shape."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell["case"], cell["shape"]["name"]), []).append(cell)
    yield from found.items()


def overview(cells: list[Cell]) -> list[str]:
    """A table for each case: time over ours, a column for each shape."""
    columns: dict[tuple[str, str], dict[str, dict[str, Cell]]] = {}
    for (case, name), group in groups(cells):
        for family, column in _places(name):
            found = {cell["variant"]: cell for cell in group}
            columns.setdefault((case, family), {})[column] = found
    return [_glance(case, family, found) for (case, family), found in columns.items()]


def _places(name: str) -> Iterator[tuple[str, str]]:
    """The table and the column of a shape: itself, or the length of a sweep."""
    base, _, rows = name.partition(", ")
    if base in SHAPES and (not rows or rows.startswith("B=")):
        yield rows, base
    elif name[:2] in ("T=", "H=", "B="):
        yield f"growing {name[0]}", name


def _glance(case: str, family: str, columns: dict[str, dict[str, Cell]]) -> str:
    title = TITLES.get(case, case) + (f", {family}" if family else "")
    names = dict.fromkeys(
        name
        for column in columns.values()
        for name in column
        if not name.startswith(CEILING)
    )
    rows = [
        f"**{title}**: time over ours, above 1 we are faster\n",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name in names:
        found = [column.get(name, {}) for column in columns.values()]
        ratios = [f"{c['ratio']:.2f}" if "ratio" in c else "-" for c in found]
        if name == REFERENCE:
            ratios = [seconds(c["median_s"]) if "median_s" in c else "-" for c in found]
        rows.append(f"| {name} | {' | '.join(ratios)} |")
    return "\n".join(rows)


def _machine(machine: Cell) -> list[str]:
    rows = ["| | |", "|---|---|"]
    rows += [f"| {key} | {_plain(value)} |" for key, value in machine.items()]
    return ["\n".join(rows)]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _table(case: str, name: str, cells: list[Cell]) -> str:
    shape = Shape(**cells[0]["shape"])
    peak = ceiling(cells)
    size = f"{shape.layers}x{shape.hidden}, B {shape.batch}, T {shape.steps}"
    title = f"## {TITLES.get(case, case)}: {name} ({size})"
    rows = [
        "| variant | median | quartiles | n | ratio to ours | compile | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        if cell["variant"].startswith(CEILING):
            continue
        rows.append(_row(cell))
    notes = []
    ours = next((c for c in cells if c["variant"] == "ours" and "median_s" in c), None)
    if case == "train" and peak and ours:
        rate = shape.executed_flops / ours["median_s"] / 1e9
        notes.append(
            f"Ours: {rate:.0f} GF/s in matrix products, {rate / peak:.0%} of the "
            f"{peak:.0f} GF/s that products alone reached between its turns."
        )
    return "\n\n".join([title, "\n".join(rows), *notes])


def _row(cell: Cell) -> str:
    name = cell["variant"]
    if "error" in cell:
        return f"| {name} | {cell['error'].replace('|', '/')} | | | | | |"
    ratio = ""
    if "ratio" in cell:
        spread = f"{cell['ratio_q1']:.2f}–{cell['ratio_q3']:.2f}"
        ratio = f"{cell['ratio']:.2f} ({spread})"
    peak = cell.get("peak_mb")
    return (
        f"| {name} | {seconds(cell['median_s'])} "
        f"| {seconds(cell['q1_s'])} – {seconds(cell['q3_s'])} | {cell['n']} "
        f"| {ratio} | {cell['compile_s']:.2f} s | {peak if peak else ''} |"
    )


def seconds(value: float) -> str:
    """A time with three digits and its unit."""
    fitting = (scale for scale in SECONDS if value >= scale[0])
    size, unit = next(fitting, SECONDS[-1])
    return f"{value / size:.3g} {unit}"


def _targets(verdicts: list[Verdict]) -> str:
    rows = [
        "## Targets",
        "",
        "Time of the named one over ours, medians; a target is met at or above it. The",
        "best of each family counts. To meet it our products would have to run at the",
        "share in the last column of the speed of products alone; above 100% is out of",
        "reach.",
        "",
        "| case | shape | against | target | found | | needs |",
        "|---|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        found = "not measured" if v.found is None else f"{v.found:.2f} ({v.rival})"
        mark = "" if v.found is None else "met" if v.met else "**missed**"
        target = f"{v.target:g}"
        where = f"| {v.case} | {v.shape} | {v.against}"
        needs = "" if v.needs is None else f"{v.needs:.0%}"
        rows.append(f"{where} | {target} | {found} | {mark} | {needs} |")
    met = sum(v.met for v in verdicts)
    measured = sum(v.found is not None for v in verdicts)
    return "\n".join([*rows, "", f"{met} of {measured} met."])
