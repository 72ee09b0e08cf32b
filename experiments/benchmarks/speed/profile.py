"""Where a training step spends its time: a profile, by kind of operation.

Command   python -m experiments.benchmarks.speed.profile mid charrnn big

Every operation of XLA's program is traced (`jax.profiler`) and counted to the matrix
products, to copies, to the meeting of the devices, or to the rest, which is
element-wise. Products run at about the speed of large ones, so the rest is what stands
between a step and the ceiling.
"""

import argparse
import collections
import gzip
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import jax

import lstm_jax
from experiments.benchmarks.speed.libraries import lstm_jax as ours
from experiments.benchmarks.speed.shapes import SHAPES, Program, Shape
from experiments.benchmarks.speed.variants import cores

KINDS = {  # by the beginning of an operation's name, the first that fits
    "meeting of the devices": ("all-reduce",),
    "matrix products": ("ynn_fusion", "onednn", "dot"),
    "copies": ("copy", "wrapped_copy", "transpose", "wrapped_broadcast", "concatenate"),
}
ELEMENTWISE = "element-wise"
CONTAINERS = (
    *("Thunk", "while", "call", "conditional", "Pjit", "Common", "Execute", "["),
    *("Rendezvous", "Wait"),
)
SECONDS = 2.0
HEADER = "| shape | ms per step | {} | unaccounted |\n|---|---|{}---|"


def kind_of(name: str) -> str | None:
    """The kind of an operation; None for what contains others."""
    if name.startswith((*CONTAINERS, "$")) or "::" in name or "(" in name:
        return None
    fitting = (kind for kind, starts in KINDS.items() if name.startswith(starts))
    return next(fitting, ELEMENTWISE)


def traced(program: Program) -> list[dict[str, Any]]:
    """The operations of one call."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            program.run()
        (path,) = Path(folder).rglob("perfetto_trace.json.gz")
        with gzip.open(path) as file:
            return json.load(file)["traceEvents"]


def by_kind(events: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Seconds of each kind, of all devices together."""
    found: dict[str, float] = collections.defaultdict(float)
    for event in events:
        kind = kind_of(event["name"]) if event.get("ph") == "X" else None
        if kind:
            found[kind] += event["dur"] / 1e6
    return found


def step_seconds(program: Program) -> float:
    """How long a step takes when nobody looks: the median of some calls."""
    times: list[float] = []
    while sum(times) < SECONDS or len(times) < 3:
        started = perf_counter()
        program.run()
        times.append(perf_counter() - started)
    return sorted(times)[len(times) // 2] / program.units


def row(shape: Shape) -> str:
    """The shares of a training step."""
    program = ours.train(shape)
    program.run()
    seconds = step_seconds(program)
    parts = by_kind(traced(program))
    devices = lstm_jax.distributed.row_mesh(shape.batch).size
    whole = seconds * program.units * devices
    kinds = [*KINDS, ELEMENTWISE]
    shares = [parts.get(kind, 0.0) / whole for kind in kinds]
    cells = [f"{share:.0%}" for share in [*shares, 1 - sum(shares)]]
    return f"| {shape.name} | {1e3 * seconds:.3g} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: one table row per shape."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.speed.profile",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("shapes", nargs="+", choices=SHAPES)
    chosen = [SHAPES[name] for name in parser.parse_args(arguments).shapes]
    ours.prepare(cores())
    kinds = [*KINDS, ELEMENTWISE]
    print(HEADER.format(" | ".join(kinds), "---|" * len(kinds)))
    for shape in chosen:
        print(row(shape), flush=True)


if __name__ == "__main__":
    main()
