"""Experiments as a person runs them: separate processes."""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.runs import RunOptions, run_folder
from lstm_jax.config import RunConfig

ROOT = Path(__file__).parents[2]


@functools.cache
def environment() -> dict[str, str]:
    """This tree comes first; programs are kept apart from the user's."""
    cache = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, cache)
    inherited = os.environ.copy()
    inherited.pop("JAX_COMPILATION_CACHE_DIR", None)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "XDG_CACHE_HOME": cache}


def run(name: str, *words: object) -> subprocess.CompletedProcess[str]:
    """An experiment as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, words)],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )


@contextlib.contextmanager
def new_experiment(name: str, path: Path, overwrite: bool = False) -> Iterator[None]:
    """The folder of a run that is begun, and no more."""
    run = RunConfig(run_dir=path, overwrite=overwrite)
    with run_folder(name, RunOptions(run=run)):
        yield
