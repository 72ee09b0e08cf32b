"""The CPU kernels under sanitizers, where there is g++.

A program of their own runs the kernels on several threads, without JAX: that has no
synchronization which the thread sanitizer could see, and lays its arrays into one
block of memory, where one may be left for the next unnoticed. Through JAX they then
run under the address sanitizer, whose library has to be loaded before all others.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from lstm_jax.engines.native import build

PROGRAM = Path(__file__).with_name("native_sanitized.cc")
pytestmark = pytest.mark.slow


def compiler(sanitizer: str) -> list[str]:
    """Begin a command of g++ that builds with a sanitizer."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    if not os.path.isabs(runtime(sanitizer)):
        pytest.skip(f"g++ has no {sanitizer} sanitizer")
    return ["g++", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]


def runtime(sanitizer: str) -> str:
    """The library of a sanitizer; its bare name if there is none."""
    names = {"address": "asan", "undefined": "ubsan", "thread": "tsan"}
    return library(f"lib{names[sanitizer]}.so")


def library(name: str) -> str:
    """Where g++ finds a library; its bare name if it does not."""
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("sanitizer", ["address", "undefined", "thread"])
def test_the_kernels_alone(sanitizer: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    flags = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=fast", "-w"]
    folders = [f"-I{jax.ffi.include_dir()}", f"-I{build._FOLDER}"]
    command = [*compiler(sanitizer), *flags, *folders, str(PROGRAM)]
    subprocess.run([*command, "-pthread", "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as by one thread\n") == 8


def test_through_jax(tmp_path: Path) -> None:
    """Leaks are not looked for: Python never frees all it has.

    The sanitizer looks for the C++ library's functions when it starts, so that has to
    be there; pytest must leave the output alone, or what was found would be lost.
    """
    environment = {
        "CXX": " ".join(compiler("address")),
        "LD_PRELOAD": f"{runtime('address')} {library('libstdc++.so.6')}",
        "ASAN_OPTIONS": "detect_leaks=0",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    tests = PROGRAM.with_name("test_native.py")
    which = "need_not_fit or threads or weight_gradients or product_of_the_inputs"
    words = ["-s", "-n", "0", "-k", which, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, str(tests)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "skipped" not in done.stdout
    assert [*tmp_path.glob("lstm_jax/native/lstm-*.so")]
