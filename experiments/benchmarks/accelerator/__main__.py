"""Measure this accelerator, beside PyTorch and Flax, within a budget of seconds.

Command   python -m experiments.benchmarks.accelerator --budget 440 --data text.txt
          python -m experiments.benchmarks.accelerator --dry    the flow, on any machine
Needs     jax with its accelerator's plugin; torch and flax as rivals, which may be
          missing; no network. Carry the text along.

Stages, most important first, each a process of its own with a limit: ceilings (memory
bandwidth, rate of products), values against float64, the bare layer by engine and
type, a training step, generation, and training on a text for a minute. What is
measured is written at once: results.jsonl, results.md and results.png in --out.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Annotated

from experiments.benchmarks.accelerator import report
from lstm_jax.cli import parse, run_command
from lstm_jax.config import Range, check_bounds
from lstm_jax.errors import InputError

_STAGES = (  # stage, library, limit in seconds
    ("ceilings", "lstm_jax", 40.0),
    ("check", "lstm_jax", 90.0),
    ("layer", "torch", 60.0),
    ("layer", "lstm_jax", 120.0),
    ("train", "lstm_jax", 60.0),
    ("train", "torch", 30.0),
    ("generate", "lstm_jax", 40.0),
    ("generate", "torch", 30.0),
    ("layer", "flax", 60.0),
    ("train", "flax", 60.0),
    ("generate", "flax", 40.0),
)
_LEAST = 5.0  # seconds; a stage with less is not begun
_AROUND_A_TRAINING = 40.0  # compiling and the last evaluation


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure this accelerator, beside PyTorch and Flax, within a budget of seconds.

    Args:
        budget: seconds that it takes at most.
        data: a text to train on for a minute; none for no training.
        out: folder for results.jsonl, results.md, results.png and the stages' log.
        dry: tiny sizes, to try the flow on any machine.
    """

    budget: Annotated[float, Range(10, 3600)] = 440.0
    data: Path | None = None
    out: Path = Path("runs/accelerator")
    dry: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, return the exit code."""
    about = "\n\n".join((__doc__ or "").split("\n\n")[:2])
    package = "experiments.benchmarks"
    options = parse(Options, "accelerator", about, arguments, package=package)
    check_bounds(options)
    if options.data and not options.data.is_file():
        raise InputError(f"--data: expected a text file, found {options.data}")
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.jsonl"
    results.unlink(missing_ok=True)
    end = monotonic() + options.budget
    for stage, library, limit in _STAGES:
        words = [stage, library, str(results), *(["--dry"] if options.dry else [])]
        _run(options, words, min(limit, end - monotonic()))
        _write(options)
    if options.data:
        _train(options, end - monotonic())
    print(_write(options))
    print(f"written: {options.out}/results.md, results.png, results.jsonl")
    return 0


def _run(options: Options, words: list[str], seconds: float) -> None:
    """Run a stage within its limit; what it says goes to the log."""
    stage, library, results = words[:3]
    if seconds < _LEAST:
        _note(Path(results), stage, library, "no time was left")
        return
    module = "experiments.benchmarks.accelerator.stage"
    start = monotonic()
    with (options.out / "log").open("a") as log:
        try:
            command = [sys.executable, "-m", module, *words]
            subprocess.run(command, stdout=log, stderr=log, timeout=seconds)
        except subprocess.TimeoutExpired:
            _note(Path(results), stage, library, f"stopped after {seconds:.0f} s")
    print(f"{stage}, {library}: {monotonic() - start:.0f} s", flush=True)


def _note(results: Path, stage: str, library: str, error: str) -> None:
    row = {"stage": stage, "library": library, "error": error}
    with results.open("a") as file:
        print(json.dumps(row), file=file)


def _train(options: Options, seconds: float) -> None:
    """Train on the text for what is left, a minute at most."""
    results = options.out / "results.jsonl"
    length = min(60.0, seconds - _AROUND_A_TRAINING)
    if length < _LEAST:
        return _note(results, "text", "lstm_jax", "no time was left")
    sizes = "--hidden 16 --layers 1" if options.dry else "--hidden 512 --layers 2"
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--data {options.data} --max-seconds {length:.0f} {sizes}".split()
        command = ["lstm_jax.train", *flags, "--run-dir", f"{folder}/run"]
        with (options.out / "log").open("a") as log:
            try:
                subprocess.run(
                    [sys.executable, "-m", *command],
                    stdout=log,
                    stderr=log,
                    timeout=length + _AROUND_A_TRAINING,
                    check=True,
                )
            except subprocess.SubprocessError as error:
                return _note(results, "text", "lstm_jax", str(error)[:200])
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    row = {
        "stage": "text",
        "library": "lstm_jax",
        "command": f"python -m lstm_jax.train {' '.join(flags)}",
        "loss": summary["validation"]["window256"]["loss"],
        "per_second": summary["items_per_second"],
    }
    with results.open("a") as file:
        print(json.dumps(row), file=file)


def _write(options: Options) -> str:
    """Write what there is so far; it is kept if the next stage takes the machine."""
    rows = report.read(options.out / "results.jsonl")
    text = report.tables(rows)
    (options.out / "results.md").write_text(text, encoding="utf-8")
    report.draw(rows, options.out / "results.png")
    return text


if __name__ == "__main__":
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    run_command(main)
