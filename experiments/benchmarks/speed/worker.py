"""One library in a process of its own, which works only when it is asked to.

    python -m experiments.benchmarks.speed.worker
    experiments.benchmarks.speed.libraries.torch '{}'

reads one JSON request per line and writes one JSON answer per line:

    {"do": "about"}                        versions, threads, device
    {"do": "build", "key", "case", "shape", "options", "proof"}
                                           compile, write the proof to that file
    {"do": "run", "key", "seconds"}        whole calls for so long, and their times
    {"do": "drop"}                         forget all programs
    {"do": "peak", "case", "shape", "options"}
                                           the memory of a few calls, of nothing else

Keras runs one backend per process, and JAX one number of devices per process: so every
library gets its own, which also tells their memory apart.
"""

import gc
import importlib
import json
import math
import os
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from experiments.benchmarks.speed.shapes import Program, Shape

WARM_UP = 2  # calls before a program is first timed


class Worker:
    """The programs of one library, by key."""

    def __init__(self, rival: Any) -> None:  # noqa: ANN401 - a module is what it is
        self.rival = rival
        self.programs: dict[str, Program] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; what goes wrong is an answer too."""
        try:
            return getattr(self, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            text = str(error).strip().splitlines() or [""]
            return {"error": f"{type(error).__name__}: {text[0][:200]}"}

    def about(self) -> dict[str, Any]:
        """Versions, threads, device."""
        return self.rival.about()

    def build(
        self, key: str, case: str, shape: dict, options: dict, proof: str
    ) -> dict[str, Any]:
        """Make a program, time its first call, and write down what it computes."""
        make = getattr(self.rival, case)
        program = make(Shape(**shape), **options)
        start = perf_counter()
        program.run()
        first = perf_counter() - start
        np.savez(proof, **program.proof())
        steady = math.inf
        for _ in range(WARM_UP):
            start = perf_counter()
            program.run()
            steady = min(steady, perf_counter() - start)
        self.programs[key] = program
        return {"first": first, "steady": steady, "units": program.units}

    def run(self, key: str, seconds: float) -> dict[str, Any]:
        """Times of whole calls, in seconds per unit, after one that is not counted."""
        program = self.programs[key]
        _forget_peak()
        program.run()
        times: list[float] = []
        stop = perf_counter() + seconds
        while not times or perf_counter() < stop:
            start = perf_counter()
            program.run()
            times.append((perf_counter() - start) / program.units)
        return {"times": times, "peak_mb": _peak_mb()}

    def peak(self, case: str, shape: dict, options: dict) -> dict[str, Any]:
        """The peak of this process, if it makes one program and calls it."""
        program = getattr(self.rival, case)(Shape(**shape), **options)
        for _ in range(1 + WARM_UP):
            program.run()
        return {"peak_mb": _peak_mb()}

    def drop(self) -> dict[str, Any]:
        """Forget all programs."""
        self.programs.clear()
        gc.collect()
        return {}


def _forget_peak() -> None:
    """Let the kernel measure the peak of resident memory anew, where it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float | None:
    """The peak of resident memory in MB, where the kernel tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return round(int(line.split()[1]) / 1024, 1)


def _own_output() -> TextIO:
    """The pipe to the parent; whatever libraries print goes to the error stream."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def main() -> None:
    """Answer requests until there are no more."""
    pipe = _own_output()
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    try:
        rival = importlib.import_module(name)
        if settings:
            rival.prepare(**settings)
        worker, broken = Worker(rival), None
    except Exception as error:
        traceback.print_exc()
        worker, broken = None, {"error": f"{type(error).__name__}: {error}"}
    for line in sys.stdin:
        answer = worker.answer(json.loads(line)) if worker else broken
        print(json.dumps(answer), file=pipe, flush=True)


if __name__ == "__main__":
    main()
