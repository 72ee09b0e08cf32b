"""What a run has found, as tables in Markdown and as a picture."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.benchmarks.speed.shapes import Shape
from lstm_jax.report import save_figure

Row = dict[str, Any]
_PER_STEP = "µs per time step (share of products); bold: taken by `auto`"


def read(path: Path) -> list[Row]:
    """The results so far, a line each."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Of what was measured several times the last; a failure counts for less."""
    found: dict[object, Row] = {}
    for row in rows:
        shape = row.get("shape", {}).get("name")
        kind = [row["stage"], row["library"], shape, row.get("job")]
        key = json.dumps([*kind, row.get("gradient")])
        if shape is None:
            key = json.dumps(row)
        if "error" not in row or "error" in found.get(key, row):
            found[key] = row
    return list(found.values())


def tables(rows: list[Row]) -> str:
    """All tables."""
    found = [row for row in rows if "shape" in row]
    parts = ["# Measured on an accelerator", "\n".join(_about(rows))]
    ceilings = [row for row in found if row["stage"] == "ceilings"]
    if ceilings:
        parts += ["## Ceilings", "\n".join(map(_ceiling, ceilings))]
    share = Share.of(ceilings)
    for stage, gradient, title, cell in (
        ("check", True, "Largest relative error of a layer, float64", _error),
        ("layer", True, f"Layer, forward and backward: {_PER_STEP}", share.of_layer),
        ("layer", False, f"Layer, forward: {_PER_STEP}", share.of_layer),
        ("train", None, "A training step, ms (share of products)", share.of_train),
        ("generate", None, "Generation: characters per second", _characters),
        ("memory", None, "Peak memory of the device, training, MB", _peak),
    ):
        some = [
            row
            for row in found
            if row["stage"] == stage and row["gradient"] is gradient
        ]
        if some:
            parts += [f"## {title}", _table(some, cell)]
    parts += [_text(row) for row in rows if row["stage"] == "text"]
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
    said = [
        f"* {row['library']}: " + ", ".join(f"{k} {v}" for k, v in row["about"].items())
        for row in rows
        if "about" in row
    ]
    yield from dict.fromkeys(said)
    for row in rows:
        if "shape" not in row and "error" in row and row["stage"] != "text":
            yield f"* {row['stage']}, {row['library']}: not measured: {row['error']}"


def _who(row: Row) -> str:
    return f"{row['library']} {row['job']}".strip()


def _table(rows: list[Row], cell: Callable[[Row], str]) -> str:
    """A row for each way, a column for each shape; below it why cells are missing."""
    names = list(dict.fromkeys(row["shape"]["name"] for row in rows))
    cells: dict[str, dict[str, str]] = {}
    reasons: dict[str, list[str]] = {}
    for row in rows:
        who = _who(row)
        if "error" in row:
            reasons.setdefault(row["error"], []).append(who)
        text = "no" if "error" in row else cell(row)
        cells.setdefault(who, {})[row["shape"]["name"]] = text
    lines = ["| |" + "|".join(f" {name} " for name in names) + "|"]
    lines += ["|---|" + "---|" * len(names)]
    for who, found in cells.items():
        if set(found.values()) == {"no"}:  # below it says why
            continue
        lines += [f"| {who} | " + " | ".join(found.get(n, "") for n in names) + " |"]
    named = {reason: dict.fromkeys(whose) for reason, whose in reasons.items()}
    lines += ["", *(f"* {', '.join(who)}: {why}" for why, who in named.items())]
    return "\n".join(lines).strip()


def _error(row: Row) -> str:
    return f"{row['relative_error']:.1e}"


def _characters(row: Row) -> str:
    return f"{row['shape']['batch'] / row['seconds']:,.0f}"


def _peak(row: Row) -> str:
    return f"{row['peak_mb']:,.0f}"


@dataclasses.dataclass(frozen=True)
class Share:
    """How much of what the device multiplies at best a program multiplies.

    Attributes:
        rates: GFLOP/s of a large square product, by its type and precision.
    """

    rates: dict[str, float]

    @classmethod
    def of(cls, ceilings: list[Row]) -> "Share":
        """Those that were measured."""
        rates: dict[str, float] = {}
        for row in ceilings:
            if "seconds" in row and row["shape"]["name"] == "product":
                kind = _product_of(row)
                rates[kind] = max(rates.get(kind, 0), _rate(row))
        return cls(rates)

    def of_layer(self, row: Row) -> str:
        """Microseconds per time step; bold if `auto` takes this engine."""
        shape = Shape(**row["shape"])
        flops = shape.layer_flops / (1 if row["gradient"] else 3)
        micro = f"{1e6 * row['seconds'] / shape.steps:.2f}"
        bold = f"**{micro}**" if row.get("auto") else micro
        return bold + self._words(row, flops)

    def of_train(self, row: Row) -> str:
        """Milliseconds of a training step."""
        flops = Shape(**row["shape"]).train_flops
        return f"{1e3 * row['seconds']:.3g}" + self._words(row, flops)

    def _words(self, row: Row, flops: float) -> str:
        rate = self.rates.get(_product_of(row))
        return f" ({1e-9 * flops / row['seconds'] / rate:.1%})" if rate else ""


def _product_of(row: Row) -> str:
    """The product that a program's are to be compared with: see `jobs`."""
    words = row["job"].split()
    if {"bfloat16", "mixed", "autocast"} & set(words):
        return "bfloat16"
    if "float16" in words:
        return "float16"
    whole = "highest" in words or "cudnn" in words
    whole |= row["library"] == "torch" and "tf32" not in words
    return "float32 highest" if whole else "float32"


def _ceiling(row: Row) -> str:
    if "error" in row:
        return f"* {_who(row)}: {row['error']}"
    name = row["shape"]["name"]
    unit = "GB/s" if name == "copy" else "GFLOP/s"
    return f"* {name}, {_who(row)}: {_rate(row):,.0f} {unit}"


def _rate(row: Row) -> float:
    """Units a second: `seconds` are those of one unit."""
    return 1 / row["seconds"]


def _text(row: Row) -> str:
    if "error" in row:
        return f"## Training on a text\n\n{row['error']}"
    return (
        f"## Training on a text\n\n`{row['command']}`: {row['loss']:.4f} nats "
        f"(window256), {row['per_second']:,.0f} characters a second."
    )
