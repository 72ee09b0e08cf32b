"""Measure this accelerator, beside PyTorch and Flax, within a budget of seconds.

Command   python -m experiments.benchmarks.accelerator --budget 440 --data text.txt
          python -m experiments.benchmarks.accelerator --dry    the flow, on any machine
          python -m experiments.benchmarks.accelerator --join a.jsonl b.jsonl    tables
Needs     jax with its accelerator's plugin; torch and flax as rivals, which may be
          missing; no network. Carry the text along.

Stages, most important first, each a process of its own with a limit: ceilings (memory
bandwidth, rate of products), values against float64, the bare layer by engine and
type, a training step, generation, training on a text with the preset for a card, and
peak memory. What is measured is written at once: results.jsonl, results.md and
results.png in --out. With --only the lines are added to those that are there.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import IO, Annotated, get_args

from experiments.benchmarks.accelerator import report
from lstm_jax.cli import parse, run_command
from lstm_jax.config import EngineName, Range, check_bounds
from lstm_jax.errors import InputError

# A kernel of our own that hangs on a new card is not to take other engines along.
_ENGINES = [name for name in get_args(EngineName) if name != "auto"]
_KERNELS = ",".join(name for name in _ENGINES if name.startswith("pallas"))
_LOOPS = ",".join(name for name in _ENGINES if not name.startswith("pallas"))
_TEXT = "text"
_STAGES = (  # stage, library, engines, limit in seconds
    ("ceilings", "torch", "", 30.0),
    ("check", "lstm_jax", _LOOPS, 60.0),
    ("check", "lstm_jax", _KERNELS, 45.0),
    ("layer", "torch", "", 50.0),  # compiles nothing: first, or kernels take its time
    ("layer", "lstm_jax", _KERNELS, 75.0),
    ("layer", "lstm_jax", _LOOPS, 110.0),
    ("ceilings", "lstm_jax", "", 60.0),
    ("train", "lstm_jax", "", 75.0),
    ("train", "torch", "", 30.0),
    ("generate", "lstm_jax", "", 40.0),
    ("generate", "torch", "", 30.0),
    ("train", "flax", "", 45.0),
    ("generate", "flax", "", 40.0),
    ("memory", "lstm_jax", "", 40.0),
    ("memory", "torch", "", 20.0),
    ("memory", "flax", "", 40.0),
    ("layer", "flax", "", 60.0),
    (_TEXT, "lstm_jax", "", 220.0),
)
_PROCESS = ("-m", "experiments.benchmarks.accelerator.stage")
_NAMES = tuple(dict.fromkeys(stage for stage, *_ in _STAGES))
_STOPPED = "stopped"
_LEAST = 5.0  # seconds; a stage with less is not begun
_LONGEST_TRAINING, _DRY_TRAINING = 180.0, 10.0  # the former is the preset's
_AROUND_A_TRAINING = 40.0  # compiling and the last evaluation
_PRESET = "--preset shakespeare-gpu-3min"


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure this accelerator, beside PyTorch and Flax, within a budget of seconds.

    Args:
        budget: seconds that it takes at most.
        data: a text to train on for three minutes; none for no training.
        out: folder for results.jsonl, results.md, results.png and the stages' log.
        only: stages to run, of ceilings, check, layer, train, generate, memory and
            text; their results are added to those in --out. Default: all, anew.
        join: measure nothing, and make the tables of these files of results together.
        dry: tiny sizes, to try the flow on any machine.
    """

    budget: Annotated[float, Range(10, 3600)] = 440.0
    data: Path | None = None
    out: Path = Path("runs/accelerator")
    only: tuple[str, ...] = ()
    join: tuple[Path, ...] = ()
    dry: bool = False


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A process that measures; it begins when it is told to."""

    name: str
    library: str
    engines: str
    limit: float
    process: subprocess.Popen[str] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, return the exit code."""
    about = "\n\n".join((__doc__ or "").split("\n\n")[:2])
    package = "experiments.benchmarks"
    options = parse(Options, "accelerator", about, arguments, package=package)
    _check(options)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.join:
        _measure(options)
    print(_write(options, drawn=True))
    print(f"written: {options.out}/results.md, results.png", flush=True)
    return 0


def _check(options: Options) -> None:
    check_bounds(options)
    for flag, files in (("data", [options.data]), ("join", options.join)):
        for file in files:
            if file and not file.is_file():
                raise InputError(f"--{flag}: expected a file, found {file}")
    for name in options.only:
        if name not in _NAMES:
            known = ", ".join(_NAMES)
            raise InputError(f"--only: expected one of {known}, found {name}")
    if _TEXT in options.only and not options.data:
        raise InputError("--only text: expected --data, found none")


def _measure(options: Options) -> None:
    """Run the stages, the next one's imports being made beside each."""
    end = monotonic() + options.budget
    results = options.out / "results.jsonl"
    if not options.only:
        results.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory() as cache,
        (options.out / "log").open("a") as log,
    ):
        # What one stage has compiled and tuned, another need not.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        hung: set[str] = set()
        stages = _started(options, log)
        stage = next(stages, None)
        while stage:
            following = next(stages, None)
            start = monotonic()
            left = 0.0 if stage.engines in hung else end - start
            said = _finish(options, stage, left, log)
            if stage.engines and _STOPPED in said:
                hung.add(stage.engines)
            print(f"{said}: {monotonic() - start:.0f} s", flush=True)
            _write(options)
            stage = following


def _started(options: Options, log: IO[str]) -> Iterator[_Stage]:
    """Stages to be run, each started when it is asked for."""
    for name, library, engines, limit in _STAGES:
        if options.only and name not in options.only:
            continue
        if name != _TEXT:
            order = dict(stage=name, library=library, engines=engines)
            words = json.dumps(order | {"dry": options.dry, "waits": True})
            command = [sys.executable, *_PROCESS, words]
            yield _Stage(
                name,
                library,
                engines,
                limit,
                subprocess.Popen(
                    [*command, str(options.out / "results.jsonl")],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    text=True,
                ),
            )
        elif options.data:
            yield _Stage(name, library, engines, limit)


def _finish(options: Options, stage: _Stage, left: float, log: IO[str]) -> str:
    """Let a stage measure within its limit; what went wrong is a line of results."""
    seconds = min(stage.limit, left)
    if stage.process is None:
        trouble = _train(options, seconds, log)
    else:
        trouble = _release(stage.process, seconds)
    if trouble:
        row = {"stage": stage.name, "library": stage.library, "error": trouble}
        _add(options, row)
    return f"{stage.name}, {stage.library}" + (f", {trouble}" if trouble else "")


def _release(waiting: subprocess.Popen[str], seconds: float) -> str | None:
    """Let a process begin, and end it after so long; say what went wrong."""
    with waiting as process:
        if seconds < _LEAST:
            process.kill()
            return "no time was left, or these engines were stopped before"
        try:
            process.communicate("go\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{_STOPPED} after {seconds:.0f} s"
    code = process.returncode
    return f"ended with code {code}; the log has its words" if code else None


def _add(options: Options, row: report.Row) -> None:
    with (options.out / "results.jsonl").open("a") as file:
        print(json.dumps(row), file=file)


def _train(options: Options, seconds: float, log: IO[str]) -> str | None:
    """Train on the text for what is left, three minutes at most; say what failed."""
    longest = _DRY_TRAINING if options.dry else _LONGEST_TRAINING
    length = min(longest, seconds - _AROUND_A_TRAINING)
    if length < _LEAST:
        return "no time was left"
    sizes = "--hidden 16 --layers 1" if options.dry else _PRESET
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--data {options.data} --max-seconds {length:.0f} {sizes}".split()
        command = ["lstm_jax.train", *flags, "--run-dir", f"{folder}/run"]
        try:
            subprocess.run(
                [sys.executable, "-m", *command],
                stdout=log,
                stderr=log,
                timeout=length + _AROUND_A_TRAINING,
                check=True,
            )
        except subprocess.SubprocessError as error:
            return str(error)[:200]
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    _add(
        options,
        {
            "stage": _TEXT,
            "library": "lstm_jax",
            "command": f"python -m lstm_jax.train {' '.join(flags)}",
            "loss": summary["validation"]["window256"]["loss"],
            "per_second": summary["items_per_second"],
        },
    )
    return None


def _write(options: Options, drawn: bool = False) -> str:
    """Write what there is so far; it is kept if the next stage takes the machine."""
    files = options.join or (options.out / "results.jsonl",)
    rows = report.latest(row for file in files for row in report.read(file))
    text = report.tables(rows)
    (options.out / "results.md").write_text(text, encoding="utf-8")
    if drawn:
        report.draw(rows, options.out / "results.png")
    return text


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    run_command(main)
