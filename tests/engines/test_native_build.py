"""The CPU kernel's library: what it is made for, and what is said if it can't be."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lstm_jax.engines.native import build
from lstm_jax.engines.native.build import NotBuilt, why_not_built


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lstm_jax" / "native"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is compiled from now on, by a compiler that takes no time."""
    found: list[Path] = []
    monkeypatch.setenv("CXX", "true")  # which says nothing of its version

    def quick(compiler: list[str], path: Path) -> None:
        found.append(path)
        path.write_bytes(b"a library")

    monkeypatch.setattr(build, "compile_library", quick)
    return found


def test_it_is_compiled_once(cache: Path, compiled: list[Path]) -> None:
    assert [build._library(), build._library()] == [*cache.iterdir()] * 2
    assert len(compiled) == 1
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "what", ["processor", "_sources", "_headers", "_FLAGS", "version"]
)
def test_it_is_compiled_for_what_it_depends_on(
    what: str,
    cache: Path,
    compiled: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = build._library()
    source = tmp_path / "other.cc"
    source.write_text("int other;")
    others = {
        "processor": lambda: "another",
        "_sources": lambda: [source],
        "_headers": lambda: [source],
        "_FLAGS": ("-O1",),
    }
    if what == "version":
        monkeypatch.setattr("jaxlib.__version__", "0.0.0")
    else:
        monkeypatch.setattr(build, what, others[what])
    assert build._library() != first
    assert len(compiled) == 2


@pytest.mark.parametrize("content", [b"", b"a lib", b"a_library"])
def test_a_damaged_library_is_made_anew(
    content: bytes, cache: Path, compiled: list[Path]
) -> None:
    library = build._library()
    library.write_bytes(content)
    assert build._library() == library == next(cache.iterdir())
    assert library.read_bytes() == b"a library"
    assert len(compiled) == 2


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "needs a C++ compiler, found none of no-such-compiler"),
        ("false", "was not compiled: no reason given"),
        ("true", "was not compiled: true wrote no library"),
        ("'no such' -g", "needs a C++ compiler, found none of no such -g"),
        ('c++ "', 'needs a C++ compiler, found CXX=c++ ": No closing quotation'),
    ],
)
def test_it_says_why_it_is_not_there(
    compiler: str, reason: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(NotBuilt, match=re.escape(reason)):
        build._library()
    assert not cache.exists() or not [*cache.iterdir()]


def test_a_compiler_may_lie_in_a_folder_with_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "a folder" / "compiler"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("CXX", f"'{program}' -g")
    assert build._compiler() == [str(program), "-g"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("\0not a program", "was not compiled: [Errno 8] Exec format error"),
        ("#!/bin/sh\nprintf 'error: \\344' >&2; exit 1", "was not compiled: error: "),
        # It would take what a stream of ours has to read.
        ("#!/bin/sh\ncat >&2; exit 1", "was not compiled: no reason given"),
    ],
)
def test_a_compiler_that_is_none(
    script: str, reason: str, cache: Path, tmp_path: Path
) -> None:
    program = tmp_path / "compiler"
    program.write_text(script)
    program.chmod(0o700)
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "from lstm_jax.engines.native.build import why_not_built as why\n"
            "print(why(), input())",
        ],
        env={**os.environ, "CXX": str(program)},
        input="error: mine\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(reason) and done.stdout.endswith("error: mine\n")


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no compiler")
def test_what_the_compiler_says_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "wrong.cc"
    source.write_text("int main() { return nothing; }\n")
    monkeypatch.setattr(build, "_sources", lambda: [source])
    with pytest.raises(NotBuilt, match=r"was not compiled: .*error: .*nothing"):
        build._library()
    assert not [*cache.iterdir()]


def test_a_folder_of_others_is_not_trusted(cache: Path, compiled: list[Path]) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(NotBuilt, match="is not this user's own"):
        build._library()
    assert not compiled


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"LSTM_JAX_NATIVE": "0"}, "is switched off by LSTM_JAX_NATIVE=0"),
        ({"CXX": "no-such-compiler"}, "needs a C++ compiler"),
    ],
)
def test_without_it_auto_is_fused(
    settings: dict[str, str], reason: str, tmp_path: Path
) -> None:
    program = (
        "import jax.numpy as jnp, lstm_jax\n"
        "print(lstm_jax.explain_engine(steps=64, rows=32, hidden=8))\n"
        "layer = lstm_jax.LSTM(2, 3, rngs=__import__('flax').nnx.Rngs(0))\n"
        "print(layer(jnp.ones((32, 4, 2)))[0].shape)\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), **settings}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first.startswith("engine fused: auto") and reason in first
    assert last == "(32, 4, 3)"


def test_without_a_home_there_is_no_place(
    compiled: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "~")  # as it is for a user that has none
    with pytest.raises(NotBuilt, match="this user has no home"):
        build._library()
    assert not compiled and not [*tmp_path.iterdir()]


def test_a_library_that_cannot_be_loaded_is_told(
    cache: Path, compiled: list[Path]
) -> None:
    fresh: Callable[[], str | None] = why_not_built.__wrapped__
    assert "has a library that can't be loaded" in str(fresh())
