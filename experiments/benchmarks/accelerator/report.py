"""What a run has found, as tables in Markdown and as a picture."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lstm_jax.report import save_figure

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The results so far, a line each."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def tables(rows: list[Row]) -> str:
    """All tables."""
    found = [row for row in rows if "shape" in row]
    parts = ["# Measured on an accelerator", "\n".join(_about(rows))]
    ceilings = [row for row in found if row["stage"] == "ceilings"]
    if ceilings:
        parts += ["## Ceilings", "\n".join(map(_ceiling, ceilings))]
    checks = [row for row in found if row["stage"] == "check"]
    if checks:
        parts += ["## Largest relative error of a layer against float64"]
        parts += [_table(checks, lambda row: f"{row['relative_error']:.1e}")]
    for direction, title in (
        (False, "Layer, forward: µs per time step"),
        (True, "Layer, forward and backward: µs per time step"),
    ):
        layers = [
            row
            for row in found
            if row["stage"] == "layer" and row["gradient"] is direction
        ]
        if layers:
            parts += [f"## {title}", _table(layers, _per_step)]
    for stage, title in (
        ("train", "A training step, ms (share of the product rate)"),
        ("generate", "Generation: characters per second"),
    ):
        some = [row for row in found if row["stage"] == stage]
        if some:
            parts += [f"## {title}", _table(some, _of_stage(stage, ceilings))]
    parts += [_text(row) for row in rows if row["stage"] == "text"]
    peaks = [row for row in rows if row.get("peak_mb")]
    if peaks:
        lines = (f"* {r['stage']}, {r['library']}: {r['peak_mb']} MB" for r in peaks)
        parts += ["## Peak memory of the device", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def draw(rows: list[Row], path: Path) -> None:
    """Draw the time of a step against the units, a line for each way."""
    curves: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["stage"] == "layer" and "seconds" in row and _is_swept(row["shape"]):
            if row["gradient"]:
                place = curves.setdefault(_who(row), {})
                place[row["shape"]["hidden"]] = row["seconds"] / row["shape"]["steps"]
    if not curves:
        return
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for who, times in sorted(curves.items()):
        ours = who.startswith("lstm_jax")
        units, seconds = zip(*sorted(times.items()), strict=True)
        width, marker = (2.2, "o") if ours else (1.2, "s")
        micro = [1e6 * s for s in seconds]
        axes.plot(units, micro, label=who, linewidth=width, marker=marker)
    axes.set(
        xscale="log", yscale="log", xlabel="units", ylabel="µs per time step, both ways"
    )
    axes.set_xticks([128, 256, 512, 1024], ["128", "256", "512", "1024"])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    shows = "Time of a step of one layer, forward and backward, by units and library"
    save_figure(figure, path, 110, shows)


def _is_swept(shape: Row) -> bool:
    return shape["batch"] == 64 and shape["steps"] in (5, 256)


def _about(rows: list[Row]) -> Iterable[str]:
    seen = {row["library"]: row["about"] for row in rows if "about" in row}
    for library, about in seen.items():
        yield f"* {library}: " + ", ".join(f"{k} {v}" for k, v in about.items())
    for row in rows:
        if "shape" not in row and "error" in row:
            yield f"* {row['stage']}, {row['library']}: not measured: {row['error']}"


def _who(row: Row) -> str:
    return f"{row['library']} {row['job']}".strip()


def _table(rows: list[Row], cell: Callable[[Row], str]) -> str:
    """A row for each way, a column for each shape; below it why cells are missing."""
    names = list(dict.fromkeys(row["shape"]["name"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    reasons: dict[str, str] = {}
    for row in rows:
        who = _who(row)
        if "error" in row:
            reasons[who] = row["error"]
        text = "no" if "error" in row else cell(row)
        cells.setdefault(who, {})[row["shape"]["name"]] = text
    lines = ["| |" + "|".join(f" {name} " for name in names) + "|"]
    lines += ["|---|" + "---|" * len(names)]
    for who, found in cells.items():
        lines += [f"| {who} | " + " | ".join(found.get(n, "") for n in names) + " |"]
    lines += ["", *(f"* {who}: {reason}" for who, reason in reasons.items())]
    return "\n".join(lines).strip()


def _per_step(row: Row) -> str:
    return f"{1e6 * row['seconds'] / row['shape']['steps']:.2f}"


def _of_stage(stage: str, ceilings: list[Row]) -> Callable[[Row], str]:
    """How a cell of a table is written."""
    rates = {
        row["job"]: row["units"] / row["seconds"]
        for row in ceilings
        if "seconds" in row
    }

    def rate(row: Row) -> str:
        return f"{row['shape']['batch'] / row['seconds']:,.0f}"

    def step(row: Row) -> str:
        shape = row["shape"]
        per_symbol = 8 * shape["layers"] * shape["hidden"] ** 2
        per_symbol += shape["hidden"] * shape["vocab"]
        gflop = 6e-9 * shape["steps"] * shape["batch"] * per_symbol
        half = "mixed" in row["job"] or "autocast" in row["job"]
        ceiling = rates.get("bfloat16" if half else "float32")
        share = f" ({gflop / row['seconds'] / ceiling:.0%})" if ceiling else ""
        return f"{1e3 * row['seconds']:.3g}{share}"

    return rate if stage == "generate" else step


def _ceiling(row: Row) -> str:
    if "error" in row:
        return f"* {row['job']}: {row['error']}"
    rate = row["units"] / row["seconds"]
    copies = row["shape"]["name"] == "copy"
    return (
        f"* copy: {rate:,.3g} GB/s"
        if copies
        else f"* product, {row['job']}: {rate:,.3g} GFLOP/s"
    )


def _text(row: Row) -> str:
    if "error" in row:
        return f"## Training on a text\n\n{row['error']}"
    return (
        f"## Training on a text\n\n`{row['command']}`: {row['loss']:.4f} nats "
        f"(window256), {row['per_second']:,.0f} characters a second."
    )
