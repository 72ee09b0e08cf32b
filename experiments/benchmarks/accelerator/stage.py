"""One stage in a process of its own: a library, compiled, then checked or timed.

    python -m experiments.benchmarks.accelerator.stage layer torch results.jsonl

A stage that hangs, or a library that is not there, costs one stage. The programs of a
group are compiled before the first of them is timed: compiling beside a measurement
spoils it, and XLA itself measures on the device while it compiles. Every result is a
line of JSON at once.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import os
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from experiments.benchmarks.accelerator.jobs import LIBRARIES, Job, jobs
from experiments.benchmarks.accelerator.reference import layer_in_float64
from experiments.benchmarks.speed.measure import disagreement
from experiments.benchmarks.speed.shapes import Program, Shape

Row = dict[str, Any]
_WARM_UP, _SECONDS = 3, 0.2  # calls that are not counted; of measuring a program
_THREADS = 16
# Values are the same whichever product is fastest; finding out takes time and memory.
_UNTUNED = "--xla_gpu_autotune_level=0"


@dataclasses.dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        stage: the name of the stage.
        library: whose programs.
        engines: those of `lstm_jax` to look at, separated by commas.
        dry: tiny sizes.
        waits: begin with the device only when there is a line on stdin. What is
            imported meanwhile takes no time from anybody.
    """

    stage: str
    library: str
    engines: str = ""
    dry: bool = False
    waits: bool = False


def main(words: list[str]) -> int:
    """Measure a stage and append lines to a file; returns the exit code."""
    order = Order(**json.loads(words[0]))
    about: Row = {"stage": order.stage, "library": order.library}
    if order.stage in ("check", "memory"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_UNTUNED}"
    with Path(words[1]).open("a", encoding="utf-8", buffering=1) as file:

        def write(row: Row) -> None:
            print(json.dumps(about | row), file=file)

        try:
            module = importlib.import_module(LIBRARIES[order.library])
            if order.waits and not sys.stdin.readline():
                return 0  # who started it is gone
            write({"about": module.about()})
        except Exception as error:
            write({"error": _reason(error)})
            return 0
        engines = [name for name in order.engines.split(",") if name]
        for group in jobs(order.stage, order.library, order.dry, engines):
            for row in _measured(module, order, group):
                write(row)
    return 0


def _measured(
    module: types.ModuleType, order: Order, group: list[Job]
) -> Iterable[Row]:
    """What is found out about each job of a group, one by one."""
    measure = _MEASURES.get(order.stage, _time)
    threads = 1 if order.library == "torch" else _THREADS
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        programs = [pool.submit(_build, module, job) for job in group]
        concurrent.futures.wait(programs)
    for job, program in zip(group, programs, strict=True):
        row: Row = {"shape": dataclasses.asdict(job.shape), "job": str(job)}
        row["gradient"] = job.options.get("gradient")
        row["auto"] = _is_automatic(job)
        try:
            yield row | measure(job, program.result())
        except Exception as error:
            yield row | {"error": _reason(error)}


def _is_automatic(job: Job) -> bool:
    """Whether `auto` would take the engine of a layer."""
    if job.case != "layer" or "engine" not in job.options:
        return False
    from lstm_jax import explain_engine

    shape = job.shape
    sizes = dict(steps=shape.steps, rows=shape.batch, hidden=shape.hidden)
    with _precision(job):
        choice = explain_engine(**sizes, dtype=job.options["dtype"])
    return choice.name == job.options["engine"]


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
    return {"relative_error": disagreement(_reference(job.shape), found)}


@functools.cache
def _reference(shape: Shape) -> dict[str, Any]:
    return layer_in_float64(shape)


def _peak(job: Job, program: Program) -> Row:
    """The most memory of the device that this process has used, where it tells."""
    for _ in range(_WARM_UP):
        program.run()
    if "torch" in sys.modules:
        import torch

        used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    else:
        import jax

        used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    if not used:
        raise ValueError("this device does not tell")
    return {"peak_mb": round(used / 1e6, 1)}


_MEASURES: dict[str, Callable[[Job, Program], Row]] = {
    "check": _check,
    "memory": _peak,
}


def _reason(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    said = text.partition("; engines that can: ")[0]  # which others is not asked
    return f"{type(error).__name__}: {said[:300]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
