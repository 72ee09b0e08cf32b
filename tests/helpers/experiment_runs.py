"""Experiments as a person runs them: their words, output, files and exit codes."""

import contextlib
import dataclasses
import functools
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from experiments.results import read_result
from experiments.runs import RunOptions, run_folder
from lstm_jax import distributed
from lstm_jax.cli import run_command
from lstm_jax.config import RunConfig
from tests.helpers.browser import assert_opens
from tests.helpers.caches import own_cache
from tests.report.test_page import data_of

# What a run does to its process, for good: not to that of the tests.
SETTINGS_OF_THE_PROCESS = (
    *("enable_compilation_cache", "keep_freed_memory"),
    "set_cpu_device_count",
)

OPENED = {"forecast", "sentiment", "translate"}  # their reports, in a browser
Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[2]


@functools.cache
def environment() -> dict[str, str]:
    """This tree comes first; programs are kept apart from the user's."""
    inherited = os.environ.copy()
    inherited.pop("JAX_COMPILATION_CACHE_DIR", None)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {
        "PYTHONPATH": os.pathsep.join(paths),
        "XDG_CACHE_HOME": own_cache(),
    }


def run(name: str, *words: object) -> Done:
    """An experiment in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, words)],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )


def call(name: str, *words: object) -> Done:
    """An experiment in this process, where much is loaded and compiled already.

    Nothing is set up for the whole process: that is a claim about `run`.
    """
    main = importlib.import_module(f"experiments.{name}.__main__").main
    given, out, err = [*map(str, words)], io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as held:
        for setting in SETTINGS_OF_THE_PROCESS:
            held.enter_context(patch.object(distributed, setting))
        held.enter_context(contextlib.redirect_stdout(out))
        held.enter_context(contextlib.redirect_stderr(err))
        ended = held.enter_context(pytest.raises(SystemExit))
        run_command(lambda: main(given))
    assert isinstance(ended.value.code, int)
    return Done(given, ended.value.code, out.getvalue(), err.getvalue())


def assert_complete(name: str, run_dir: Path, done: Done) -> None:
    """A smoke run has ended well, and has left what runs leave."""
    assert (done.returncode, done.stderr) == (0, "")
    result = read_result(run_dir)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last == dataclasses.asdict(result) | {"files": []}
    assert {result.licence, result.published, result.best_known} == {"-"}
    assert f"experiments.{name} " in result.command and "--smoke" in result.command
    assert re.search(r"\d", result.ours) and re.search(r"\d", result.floor)
    kept = {path.name for path in run_dir.rglob("*.*")}
    assert {"model.safetensors", "config.json", "metrics.jsonl"} <= kept
    assert {"curves.png", "summary.json", "experiment.json"} <= kept
    assert [name for name in kept if name.endswith(".png")]
    data = data_of(run_dir / "report.html")
    assert data["status"] == "finished" and ["this run", result.ours] in data["result"]
    if name in OPENED:
        assert_opens(run_dir / "report.html")


def assert_replaced_on_request(name: str, run_dir: Path) -> None:
    """A second run replaces a finished one if it is asked to, and then all of it."""
    before = contents(run_dir)
    again = call(name, "--smoke", "--run-dir", run_dir)
    assert again.returncode == 2 and contents(run_dir) == before
    assert again.stderr == (
        f"error: {run_dir}: expected a new folder, found a run of {name}; "
        "--overwrite replaces it\n"
    )
    with new_experiment(name, run_dir, overwrite=True):
        assert [path.name for path in run_dir.iterdir()] == ["experiment.json"]


def contents(path: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@contextlib.contextmanager
def new_experiment(name: str, path: Path, overwrite: bool = False) -> Iterator[None]:
    """The folder of a run that is begun, and no more."""
    run = RunConfig(run_dir=path, overwrite=overwrite)
    with run_folder(name, RunOptions(run=run)):
        yield
