"""Commands as a person runs them: in this process or one of their own, exit codes."""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

import jax

import lstm_jax
from lstm_jax.cli import run_command
from lstm_jax.engines.native.build import why_not_built
from tests.helpers.caches import own_cache

Run = subprocess.CompletedProcess[str]

WORDS = "the cat sat on a mat and ran to see what was in that hat of mine".split()
TEXT = " ".join(random.Random(0).choices(WORDS, k=600))[:2000]
SMALL = (
    *("--hidden", "16", "--layers", "1", "--batch", "4", "--length", "16"),
    *("--steps-per-call", "8"),
)
STEPS_PER_EPOCH = 29  # 1,800 characters to learn from, in 4 rows of 16
PATIENCE = 240  # seconds


def arguments(command: str, *given: object) -> list[str]:
    """The command line of a command."""
    return [sys.executable, "-m", f"lstm_jax.{command}", *map(str, given)]


@functools.cache
def environment() -> dict[str, str]:
    """The environment: the library under test comes first, no cache is the user's."""
    found = str(Path(lstm_jax.__file__).parents[1])
    paths = [found, *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = os.environ.copy()
    inherited.pop("JAX_COMPILATION_CACHE_DIR", None)
    inherited.pop("XLA_FLAGS", None)
    return inherited | {
        "PYTHONPATH": os.pathsep.join(paths),
        "XDG_CACHE_HOME": own_cache(),
    }


def call(command: str, *given: object, cwd: Path) -> Run:
    """Run a command to its end in this process, where much is compiled already.

    For what it reads, says and writes. Signals, pipes, and what has to be done before
    JAX starts are claims about a process: `run` and `started` have one.
    """
    main = importlib.import_module(f"lstm_jax.{command}").main
    words, code = list(map(str, given)), None
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    jax.devices()  # JAX is in use: how many devices it shows is settled
    why_not_built()  # and the engine native has said that it was compiled
    with contextlib.ExitStack() as held:
        # The cache of compiled programs is that of the tests.
        cache = {"JAX_COMPILATION_CACHE_DIR": "set"}
        held.enter_context(mock.patch.dict(os.environ, cache))
        held.enter_context(contextlib.chdir(cwd))
        held.enter_context(contextlib.redirect_stdout(out))
        held.enter_context(contextlib.redirect_stderr(err))
        held.enter_context(_warnings_into(err))
        try:
            run_command(lambda: main(words))
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    said, complained = map(_printed, (out, err))
    return Run(words, code, said, complained)


def _printed(output: io.TextIOWrapper) -> str:
    """What was printed to a file in memory."""
    output.seek(0)
    return output.read()


@contextlib.contextmanager
def _warnings_into(err: TextIO) -> Generator[None]:
    """Print what is logged, as Python does where nobody has asked for another place."""
    handler, logger = logging.StreamHandler(err), logging.getLogger("lstm_jax")
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def run(command: str, *given: object, cwd: Path) -> Run:
    """Run a command to its end in a process of its own."""
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
    # A shell has the commands behind its & ignore Ctrl-C, and all that they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        arguments(command, *given),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        signal.signal(signal.SIGINT, before)
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


def wait_for_a_line(process: subprocess.Popen[str], path: Path, after: int = 0) -> None:
    """Wait for another line of a file that a process writes."""
    while not path.exists() or path.read_bytes().count(b"\n") <= after:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def last_json(done: Run) -> dict[str, Any]:
    """The JSON object on the last line."""
    return json.loads(done.stdout.splitlines()[-1])
