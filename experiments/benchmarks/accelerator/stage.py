"""One stage in a process of its own: a library, compiled, then checked or timed.

    python -m experiments.benchmarks.accelerator.stage layer torch results.jsonl

A stage that hangs, or a library that is not there, costs one stage. All programs are
compiled before the first is timed: compiling beside a measurement spoils it, and XLA
itself measures on the device while it compiles. Every result is a line of JSON at once.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import json
import sys
import types
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from experiments.benchmarks.accelerator.jobs import LIBRARIES, Job, jobs
from experiments.benchmarks.accelerator.reference import layer_in_float64
from experiments.benchmarks.speed.measure import disagreement
from experiments.benchmarks.speed.shapes import Program

Row = dict[str, Any]
_WARM_UP, _SECONDS = 2, 0.3  # calls that are not counted; of measuring a program
_MOST_CHECKED = 2**21  # numbers of a layer's inputs; more takes NumPy too long
_THREADS = 8


def main(words: list[str]) -> int:
    """Measure a stage and append lines to a file; returns the exit code."""
    stage, library, out = words[:3]
    about: Row = {"stage": stage, "library": library}
    with Path(out).open("a", encoding="utf-8", buffering=1) as file:

        def write(row: Row) -> None:
            print(json.dumps(about | row), file=file)

        try:
            module = importlib.import_module(LIBRARIES[library])
            write({"about": module.about()})
        except Exception as error:
            write({"error": _reason(error)})
            return 1
        todo = jobs(stage, library, dry="--dry" in words)
        if stage == "check":
            todo = [job for job in todo if job.options["gradient"] and _small(job)]
        measure = _check if stage == "check" else _time
        with concurrent.futures.ThreadPoolExecutor(_threads(library)) as pool:
            programs = [pool.submit(_build, module, job) for job in todo]
            concurrent.futures.wait(programs)
        for job, program in zip(todo, programs, strict=True):
            row: Row = {"shape": dataclasses.asdict(job.shape), "job": str(job)}
            row["gradient"] = job.options.get("gradient")
            try:
                write(row | measure(job, program.result()))
            except Exception as error:
                write(row | {"error": _reason(error)})
        write({"peak_mb": _peak_mb(library)})
    return 0


def _threads(library: str) -> int:
    return 1 if library == "torch" else _THREADS


def _build(module: types.ModuleType, job: Job) -> Program:
    """The program of a job, called once and so compiled."""
    with _precision(job):
        program = getattr(module, job.case)(job.shape, **job.options)
        program.run()
    return program


def _precision(job: Job) -> contextlib.AbstractContextManager[object]:
    if job.precision is None:
        return contextlib.nullcontext()
    import jax

    return jax.default_matmul_precision(job.precision)


def _time(job: Job, program: Program) -> Row:
    """The median time of a unit, of as many calls as fit into the time."""
    with _precision(job):  # or it would be compiled anew
        for _ in range(_WARM_UP):
            program.run()
        times: list[float] = []
        end = perf_counter() + _SECONDS
        while not times or perf_counter() < end:
            start = perf_counter()
            program.run()
            times.append((perf_counter() - start) / program.units)
    return {"seconds": median(times), "calls": len(times), "units": program.units}


def _check(job: Job, program: Program) -> Row:
    """The largest error relative to float64, of the outputs and every gradient."""
    with _precision(job):
        found = program.proof()
    return {"relative_error": disagreement(layer_in_float64(job.shape), found)}


def _small(job: Job) -> bool:
    return job.shape.steps * job.shape.batch * job.shape.hidden <= _MOST_CHECKED


def _peak_mb(library: str) -> float | None:
    """The most memory of the device that the stage has used, where it tells."""
    if library == "torch":
        import torch

        used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    else:
        import jax

        used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    return round(used / 1e6, 1) or None


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:200]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
