"""The kernel's library: compiled once per machine, then found in the user's cache.

What is in a library's name is all that it depends on: the source, the flags, the
compiler, the processor and jaxlib, whose interface it is made for; and its own
checksum, because loading a damaged library can kill the process. It is written
beside its place and renamed; of processes that compile at the same time each makes
its own.
"""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jaxlib

from lstm_jax.errors import warn
from lstm_jax.storage.caches import cache_folder, processor

TARGETS = (
    *(
        f"lstm_jax_{cell}{call}"
        for cell in ("", "mogrifier_")
        for call in ("forward", "forward_keep", "backward")
    ),
    "lstm_jax_project",
    "lstm_jax_weights",
    "lstm_jax_write",
)
SWITCH = "LSTM_JAX_NATIVE"  # 0: do not compile, do not load
_FOLDER = Path(__file__).parent  # of the source
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast"),
    *("-fPIC", "-DNDEBUG", "-w"),
)
_LINK = "-shared"
_SECONDS = 300  # that a compiler may take


class NotBuilt(Exception):
    """Why there is no library, in words that follow "native "."""


@functools.cache
def why_not_built() -> str | None:
    """Load the library, compiled if need be, and say why if that can't be done.

    Returns:
        None if it is loaded and its functions are registered with XLA.
    """
    if os.environ.get(SWITCH) == "0":
        return f"is switched off by {SWITCH}=0"
    try:
        library = ctypes.cdll.LoadLibrary(str(_library()))
    except NotBuilt as reason:
        return str(reason)
    except OSError as error:
        return f"has a library that can't be loaded: {_first_line(str(error))}"
    for name in TARGETS:
        function = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, function, platform="cpu")
    return None


def _library() -> Path:
    """Find the library, or compile it.

    Raises:
        NotBuilt: there is no compiler, it failed, or there is no place for the result.
    """
    compiler = _compiler()
    folder = _folder()
    name = f"lstm-{fingerprint()}"
    try:
        for path in sorted(folder.glob(f"{name}-*.so")):
            if path.name == _named(name, path):
                return path
            path.unlink(missing_ok=True)  # it is damaged
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            made = Path(beside) / "lstm.so"
            compile_library(compiler, made)
            path = made.replace(folder / _named(name, made))
    except OSError as error:
        raise NotBuilt(f"was not compiled: {_first_line(str(error))}") from None
    seconds = time.perf_counter() - began
    warn(f"the engine native was compiled for this machine, in {seconds:.0f} s")
    return path


def _named(name: str, library: Path) -> str:
    """What the file of a library is called, by its content."""
    return f"{name}-{hashlib.sha256(library.read_bytes()).hexdigest()[:16]}.so"


def compile_library(compiler: Sequence[str], path: Path) -> None:
    """Compile the kernels, all parts at the same time.

    Args:
        compiler: how its command begins.
        path: where to write the library.

    Raises:
        NotBuilt: it failed.
        OSError: the compiler can't be run.
    """
    begin = (*compiler, *_FLAGS, f"-I{jax.ffi.include_dir()}")
    parts = {source: path.with_suffix(f".{source.stem}.o") for source in _sources()}

    def compile_part(source: Path) -> None:
        _run([*begin, "-c", str(source), "-o", str(parts[source])], check=True)

    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(compile_part, parts))
        link = [*compiler, _LINK, *map(str, parts.values()), "-o", str(path)]
        _run(link, check=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.splitlines()
        said = next((x for x in lines if "error" in x or "failed" in x), "")
        raise NotBuilt(f"was not compiled: {_first_line(said)}") from None
    if not path.exists():
        raise NotBuilt(f"was not compiled: {compiler[0]} wrote no library")


def _run(command: Sequence[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    """Run the compiler; it doesn't get our standard input.

    Raises:
        CalledProcessError: it failed, if that is to be checked.
        NotBuilt: it took too long.
    """
    try:
        return subprocess.run(
            command,
            check=check,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotBuilt(
            f"was not compiled: {command[0]} took over {_SECONDS} s"
        ) from None


def _compiler() -> list[str]:
    given = os.environ.get("CXX", "")
    try:
        asked = shlex.split(given)
    except ValueError as error:
        raise NotBuilt(
            f"needs a C++ compiler, found CXX={given[:60]}: {error}"
        ) from None
    for command in [asked] if asked else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    names = " ".join(asked) or ", ".join(_COMPILERS)
    raise NotBuilt(f"needs a C++ compiler, found none of {names}")


def _folder() -> Path:
    """The user's own folder of libraries, that nobody else can write to."""
    cache = cache_folder()
    if cache is None:
        raise NotBuilt("has no place for its library: this user has no home")
    folder = cache / "native"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise NotBuilt(f"has no place for its library: {error}") from None
    writable_by_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable_by_others or found.st_uid != os.getuid():
        raise NotBuilt(f"has no place for its library: {folder} is not this user's own")
    return folder


def fingerprint() -> str:
    """Name all that the library depends on.

    Raises:
        NotBuilt: there is no compiler.
    """
    compiler = _compiler()
    try:
        version = _run([*compiler, "--version"], check=False)
    except OSError as error:
        raise NotBuilt(f"was not compiled: {_first_line(str(error))}") from None
    parts = (
        *(path.read_bytes() for path in (*_sources(), *_headers())),
        " ".join([*compiler, *_FLAGS, _LINK]).encode(),
        version.stdout.encode(),
        jaxlib.__version__.encode(),
        processor().encode(),
    )
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _sources() -> list[Path]:
    """What is compiled, each by a compiler of its own."""
    return [_FOLDER / "lstm.cc", _FOLDER / "text.cc"]


def _headers() -> list[Path]:
    """What the sources include."""
    return sorted(_FOLDER.glob("*.h"))


def _first_line(text: str) -> str:
    return (text.splitlines() or ["no reason given"])[0][:200]
