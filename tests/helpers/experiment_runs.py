"""Experiments as a person runs them: separate processes."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

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
