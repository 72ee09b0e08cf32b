"""Taking turns: every variant runs alone, one after the other, round after round.

The speed of a shared machine changes from minute to minute, by up to a factor of two.
So only what runs within seconds of each other is compared: ratios are taken inside
a round, and the median of the rounds' ratios is what is reported.
"""

import contextlib
import dataclasses
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from experiments.benchmarks.speed.shapes import Shape
from experiments.benchmarks.speed.variants import CEILING, REFERENCE, Variant

PATIENCE = 900.0  # seconds to wait for an answer
Cell = dict[str, Any]
Proof = dict[str, np.ndarray]


class Process:
    """A worker process: ask, and wait for the answer."""

    def __init__(self, variant: Variant, log: Path) -> None:
        environment = os.environ | variant.environment
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # compile times are measured
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # a GPU is shared
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        worker = "experiments.benchmarks.speed.worker"
        command = [sys.executable, "-m", worker, variant.module, variant.settings]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                text=True,
            )
        self.pid = self._process.pid

    def ask(self, **request: object) -> dict[str, Any]:
        """The answer to a request; {"error": ...} if there is none."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        try:
            print(json.dumps(request), file=requests, flush=True)
            ready, _, _ = select.select([answers], [], [], PATIENCE)
        except BrokenPipeError:
            ready = [answers]
        if not ready:
            self.close()
            return {"error": f"no answer within {PATIENCE:.0f} s"}
        line = answers.readline()
        if not line:
            return {"error": f"the process ended with code {self._process.wait()}"}
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Processes:
    """The workers, started when first needed and shared by variants that can."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, Process] = {}

    def of(self, variant: Variant) -> Process:
        """The process in which a variant runs."""
        name = variant.process
        if name not in self._running:
            self._running[name] = Process(variant, self._logs / f"{name}.log")
        return self._running[name]

    def all(self) -> dict[str, Process]:
        """Every process that was started."""
        return self._running

    def close(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.close()


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to measure: rounds, and seconds per variant and round."""

    rounds: int
    seconds: float


def turns(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """The order in each round: it rotates, and every other round is backwards."""
    for n in range(rounds):
        first = n % max(1, len(names))
        order = [*names[first:], *names[:first]]
        yield order[::-1] if n % 2 else order


def measure(
    processes: Processes, case: str, shape: Shape, variants: list[Variant], plan: Plan
) -> list[Cell]:
    """Build, compare, and time one case at one shape: a cell for every variant.

    A variant that cannot run, or computes something else than the first, is a cell
    with an `error` and no time.
    """
    by_name = {variant.name: variant for variant in variants}
    cells: dict[str, Cell] = {}
    expected: Proof = {}
    for name, variant in by_name.items():
        about = {"case": case, "shape": dataclasses.asdict(shape), "variant": name}
        built = _build(processes.of(variant), variant, case, shape, expected)
        cells[name] = about | built
    ready = [name for name, cell in cells.items() if "error" not in cell]

    rounds: dict[str, list[list[float]]] = {name: [] for name in ready}
    for order in turns(ready, plan.rounds):
        for name in order:
            if "error" in cells[name]:
                continue
            process = processes.of(by_name[name])
            answer = process.ask(do="run", key=name, seconds=plan.seconds)
            if "error" in answer:
                cells[name]["error"] = answer["error"]
                continue
            rounds[name].append(answer["times"])
            cells[name]["peak_mb"] = answer["peak_mb"]
    for variant in {variant.process: variant for variant in variants}.values():
        processes.of(variant).ask(do="drop")
    for name in ready:
        if "error" not in cells[name]:
            cells[name] |= summary(rounds[name], cells[name])
            comparable = "error" not in cells.get(REFERENCE, {"error": ""})
            if comparable and not name.startswith(CEILING):
                cells[name] |= ratios(rounds[name], rounds[REFERENCE])
    return list(cells.values())


def _build(
    process: Process,
    variant: Variant,
    case: str,
    shape: Shape,
    expected: Proof,
) -> Cell:
    """Compile a variant and compare it with the first, which fills `expected`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proof.npz"
        answer = process.ask(
            do="build",
            key=variant.name,
            case=CEILING if variant.name.startswith(CEILING) else case,
            shape=dataclasses.asdict(shape),
            options=variant.options,
            proof=str(path),
        )
        if "error" in answer:
            return answer
        with np.load(path) as found:
            proof = dict(found)
    if not expected:
        expected |= proof
    answer["disagreement"] = disagreement(expected, proof)
    if answer["disagreement"] > variant.tolerance:
        worst = answer["disagreement"]
        answer["error"] = f"computes something else: relative error {worst:.1e}"
    return answer


def disagreement(expected: Proof, found: Proof) -> float:
    """The largest relative error of any array, |found - expected| / |expected|.

    Symbols either agree or do not: the share of those that differ, as far as both go.
    """
    errors = [0.0]
    for name in found.keys() & expected.keys():
        a, b = expected[name], found[name]
        if np.issubdtype(a.dtype, np.integer):
            shared = min(len(a), len(b))
            a, b = a[:shared], b[:shared]
        if a.shape != b.shape:
            return float("inf")
        if np.issubdtype(a.dtype, np.integer):
            errors.append(float(np.mean(a != b)))
        else:
            size = float(np.linalg.norm(a))
            errors.append(float(np.linalg.norm(a - b)) / max(size, 1e-30))
    return max(errors) if np.isfinite(errors).all() else float("inf")


def summary(rounds: list[list[float]], cell: Cell) -> Cell:
    """Median, quartiles and number of the times; the first call without its work."""
    times = sorted(time for times in rounds for time in times)
    low, middle, high = quartiles(times)
    first = max(0.0, cell.pop("first") - cell.pop("steady"))
    return {
        "median_s": middle,
        "q1_s": low,
        "q3_s": high,
        "n": len(times),
        "compile_s": first,
    }


def ratios(rounds: list[list[float]], reference: list[list[float]]) -> Cell:
    """How many times longer than the reference, round by round."""
    found = [
        statistics.median(theirs) / statistics.median(ours)
        for theirs, ours in zip(rounds, reference, strict=True)
    ]
    low, middle, high = quartiles(found)
    return {"ratio": middle, "ratio_q1": low, "ratio_q3": high}


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The quartiles; of a single value, that value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, method="inclusive")
    return low, middle, high


def processor_seconds(pid: int) -> float | None:
    """Processor time a process has used, where the kernel tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idleness(processes: Processes, seconds: float = 0.5) -> float | None:
    """The share of one core that all workers use while nobody has a turn."""
    pids = [process.pid for process in processes.all().values()]
    before = [processor_seconds(pid) for pid in pids]
    start = monotonic()
    sleep(seconds)
    after = [processor_seconds(pid) for pid in pids]
    used = [b - a for a, b in zip(before, after, strict=True) if a is not None and b]
    return sum(used) / (monotonic() - start) if used else None
