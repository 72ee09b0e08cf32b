"""Measure this library beside its peers.

Command   python -m experiments.benchmarks.speed --quick          two minutes
          python -m experiments.benchmarks.speed                  everything, an hour
          python -m experiments.benchmarks.speed --aot v5e        for absent devices
          (pip install -e '.[peers]')
On a GPU or TPU the same command measures there; rivals that cannot use it say so.
"""

import dataclasses
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from time import strftime
from typing import Any, Literal

from experiments.benchmarks.speed import aot, report
from experiments.benchmarks.speed.groups import Group, sweeps, table, techniques
from experiments.benchmarks.speed.measure import (
    Cell,
    Plan,
    Processes,
    idleness,
    measure,
)
from experiments.benchmarks.speed.picture import draw
from experiments.benchmarks.speed.shapes import CASES, SHAPES
from experiments.benchmarks.speed.variants import QUICK_RIVALS, RIVALS, cores
from lstm_jax.cli import parse, run_command


@dataclasses.dataclass(frozen=True)
class Options:
    """Time every case at every shape, all libraries taking turns.

    Args:
        quick: two small shapes, PyTorch and Flax, few rounds: two minutes.
        cases: what to time.
        shapes: at which sizes.
        rivals: against whom; none for ours alone.
        options: also time our own options, each by itself.
        techniques: also measure what every idea is worth.
        sweeps: also let T, H and B grow, each by itself.
        rounds: turns that everybody gets.
        seconds: length of a turn; at least one call.
        aot: measure nothing; compile for a device that is not there, see `aot.py`.
        out: folder for results.jsonl, results.md, results.png and the workers' logs.
    """

    quick: bool = False
    cases: tuple[str, ...] = CASES
    shapes: tuple[str, ...] = tuple(SHAPES)
    rivals: tuple[str, ...] = tuple(RIVALS)
    options: bool = True
    techniques: bool = True
    sweeps: bool = True
    rounds: int = 7
    seconds: float = 0.3
    aot: Literal["h100", "v5e"] | None = None
    out: Path = Path("runs/speed")


def chosen(options: Options) -> list[Group]:
    """All that these options ask for."""
    groups = list(table(options.cases, options.shapes, options.rivals, options.options))
    groups += techniques() if options.techniques else []
    groups += sweeps(options.rivals) if options.sweeps else []
    return groups


def quicker(options: Options) -> Options:
    """What --quick leaves of the options that were not given."""
    default = Options()
    less: dict[str, Any] = {
        "shapes": ("tiny", "small"),
        "rivals": QUICK_RIVALS,
        "rounds": 3,
        "seconds": 0.1,
    }
    kept = {
        name: value
        for name, value in less.items()
        if getattr(options, name) == getattr(default, name)
    }
    return dataclasses.replace(
        options, **kept, options=False, techniques=False, sweeps=False
    )


def complaint(options: Options) -> str | None:
    """What is wrong with the options, in one line."""
    for name, known in (("cases", CASES), ("shapes", SHAPES), ("rivals", RIVALS)):
        for value in getattr(options, name):
            if value not in known:
                return f"--{name}: expected some of {', '.join(known)}, found {value!r}"
    if options.rounds < 1 or options.seconds <= 0:
        return "--rounds and --seconds: expected more than 0"
    return None


def machine(processes: Processes, options: Options) -> Cell:
    """Where and how it was measured."""
    found: Cell = {
        "date": strftime("%Y-%m-%d %H:%M"),
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rounds": options.rounds,
        "seconds per turn": options.seconds,
    }
    idle = idleness(processes)
    if idle is not None:
        found["cores used by idle workers"] = round(idle, 3)
    for name, process in processes.all().items():
        found[name] = process.ask(do="about")
    return found


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    about, package = (Options.__doc__ or "").split("\n\n")[0], "experiments.benchmarks"
    options = parse(Options, "speed", about, arguments, package=package)
    if options.aot:
        return aot.main([options.aot])
    if options.quick:
        options = quicker(options)
    if problem := complaint(options):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(options.rounds, options.seconds)
    processes = Processes(options.out)
    cells: list[Cell] = []
    try:
        for group in chosen(options):
            new = measure(processes, *group, plan)
            show(group, new)
            cells += new
            # Written as it grows: a run that is stopped keeps what it has measured.
            report.write(options.out, {"unfinished": strftime("%H:%M")}, cells)
        report.write(options.out, machine(processes, options), cells)
    finally:
        processes.close()
    draw(cells, options.out / "results.png")
    print(f"\nwritten: {options.out}/results.md, results.png, results.jsonl")
    return 0


def show(group: Group, cells: list[Cell]) -> None:
    """Print a group as soon as it is measured."""
    print(f"\n{group.case}, {group.shape.name}")
    for cell in cells:
        if "error" in cell:
            line = cell["error"]
        else:
            line = f"{report.seconds(cell['median_s']):>9}"
            line += f"   ratio {cell['ratio']:5.2f}" if "ratio" in cell else ""
            line += f"   compile {cell['compile_s']:5.2f} s"
        print(f"  {cell['variant']:<24} {line}", flush=True)


if __name__ == "__main__":
    run_command(main)
