"""The memory of one program: its peak in a process that does nothing else.

    python -m experiments.benchmarks.speed.memory --rivals torch flax-linen

The suite's own workers hold several programs at a time, and what those of other shapes
left behind, so their peaks compare with nothing. Libraries are part of a peak, and so
is what compiling takes. Where the system puts large blocks is a matter of chance, by
200 MB at times: the largest of several processes counts.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.benchmarks.speed.measure import Process
from experiments.benchmarks.speed.shapes import CASES, SHAPES, Shape
from experiments.benchmarks.speed.variants import BEST, RIVALS, Variant, rounded
from lstm_jax import InputError
from lstm_jax.cli import parse, run_command
from lstm_jax.config import Count, check_bounds


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the peak memory of every case at every shape.

    Args:
        cases: what to run.
        shapes: at which sizes.
        rivals: beside whom.
        runs: processes, of which the largest peak counts.
        out: folder for the workers' log.
    """

    cases: tuple[str, ...] = CASES
    shapes: tuple[str, ...] = tuple(SHAPES)
    rivals: tuple[str, ...] = ("torch",)
    runs: Count = 3
    out: Path = Path("runs/speed")


def peak(variant: Variant, case: str, shape: Shape, log: Path) -> float | str:
    """The peak of resident memory in MB, or what went wrong.

    Args:
        variant: what to run.
        case: of `CASES`.
        shape: its sizes.
        log: where the process writes its errors.
    """
    process = Process(variant, log)
    try:
        described = dataclasses.asdict(shape)
        asked = {"case": case, "shape": described, "options": variant.options}
        answer = process.ask(do="peak", **asked)
    finally:
        process.close()
    return answer.get("error") or answer["peak_mb"]


def largest(variant: Variant, case: str, shape: Shape, options: Options) -> str:
    """The largest peak of some processes, as a cell of the table."""
    log = options.out / "memory.log"
    found = [peak(variant, case, shape, log) for _ in range(options.runs)]
    failed = [each for each in found if isinstance(each, str)]
    return failed[0] if failed else f"{max(map(float, found)):,.0f}"


def table(options: Options) -> str:
    """A row for every case and variant, a column for every shape, in Markdown."""
    lines = [
        f"| MB | {' | '.join(options.shapes)} |",
        "|---" * len(options.shapes) + "|---|",
    ]
    rivals = [RIVALS[name] for name in options.rivals]
    for case in options.cases:
        for variant in (BEST, *rivals, *rounded(case, rivals)):
            cells = [
                largest(variant, case, SHAPES[name], options) for name in options.shapes
            ]
            lines.append(f"| {case}: {variant.name} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    about, package = (Options.__doc__ or "").split("\n\n")[0], "experiments.benchmarks"
    name = "speed.memory"
    options = parse(Options, name, about, arguments, package=package)
    for flag, known in (("cases", CASES), ("shapes", SHAPES), ("rivals", RIVALS)):
        for value in getattr(options, flag):
            if value not in known:
                some = ", ".join(known)
                raise InputError(f"--{flag}: expected some of {some}, found {value!r}")
    check_bounds(options)
    options.out.mkdir(parents=True, exist_ok=True)
    print(table(options))


if __name__ == "__main__":
    run_command(main)
