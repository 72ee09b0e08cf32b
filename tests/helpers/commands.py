"""Commands as a person runs them: separate processes, files, exit codes."""

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import lstm_jax

Run = subprocess.CompletedProcess[str]

WORDS = "the cat sat on a mat and ran to see what was in that hat of mine".split()
TEXT = " ".join(random.Random(0).choices(WORDS, k=600))[:2000]
SMALL = (
    *("--hidden", "16", "--layers", "1", "--batch", "4", "--length", "16"),
    *("--steps-per-call", "8"),
)
STEPS_PER_EPOCH = 29  # 1,800 characters to learn from, in 4 rows of 16
BUDGET = 12  # seconds; compilation takes half of them on a busy machine
PATIENCE = 240  # seconds


def arguments(command: str, *given: object) -> list[str]:
    """The command line of a command."""
    return [sys.executable, "-m", f"lstm_jax.{command}", *map(str, given)]


@functools.cache
def environment() -> dict[str, str]:
    """The environment: the library under test comes first, no cache is the user's."""
    found = str(Path(lstm_jax.__file__).parents[1])
    paths = [found, *filter(None, [os.environ.get("PYTHONPATH")])]
    cache = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, cache)
    inherited = os.environ.copy()
    inherited.pop("JAX_COMPILATION_CACHE_DIR", None)
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "XDG_CACHE_HOME": cache}


def run(command: str, *given: object, cwd: Path) -> Run:
    """Run a command to its end."""
    return subprocess.run(
        arguments(command, *given),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
    )


@contextlib.contextmanager
def started(
    command: str, *given: object, cwd: Path
) -> Generator[subprocess.Popen[str]]:
    """A command that runs meanwhile, but not for ever."""
    with subprocess.Popen(
        arguments(command, *given),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            process.kill()


def assert_done(done: Run) -> None:
    """The command did what it was asked to, and had nothing to complain of."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def assert_refused(done: Run, *mentioned: str) -> None:
    """One clear line, and nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    for text in mentioned:
        assert text in done.stderr


def contents(path: Path) -> dict[str, bytes | None]:
    """All folders and files under a folder, and what is in them."""
    return {
        str(found.relative_to(path)): found.read_bytes() if found.is_file() else None
        for found in sorted(path.rglob("*"))
    }


def metrics(path: Path) -> list[dict[str, Any]]:
    """The history of a run."""
    lines = (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that was trained once, the text it was trained on, and what was printed."""

    path: Path
    text: Path
    done: Run


def wait_for_a_line(process: subprocess.Popen[str], path: Path) -> None:
    """Wait for the first line of a file that a process writes."""
    while not path.exists() or b"\n" not in path.read_bytes():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def last_json(done: Run) -> dict[str, Any]:
    """The JSON object on the last line."""
    return json.loads(done.stdout.splitlines()[-1])
