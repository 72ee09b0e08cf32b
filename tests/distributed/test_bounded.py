"""Programs on several CPU devices take turns, everywhere."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams
from lstm_jax.distributed import bounded_jit, take_turns
from lstm_jax.distributed.bounded import run_once
from lstm_jax.distributed.mesh import row_mesh, shard_rows
from tests.helpers.tiny_runs import assert_same

PACKAGE = Path(lstm_jax.__path__[0])
ROOT = PACKAGE.parent


def long_work(xs: jax.Array) -> jax.Array:
    """Some tenths of a second of products, and a sum over all rows."""
    ys = jax.lax.fori_loop(0, 40, lambda _, y: jnp.tanh(y @ xs.T) @ xs, xs)
    return ys.sum()


def test_a_call_on_several_cpu_devices_returns_what_has_been_computed() -> None:
    xs = shard_rows(row_mesh(512, 2), jnp.ones((512, 512)))
    program = bounded_jit(long_work)
    program(xs)  # compiles
    total: Any = program(xs)
    assert total.is_ready()


def test_threads_take_turns() -> None:
    xs = shard_rows(row_mesh(512, 2), jnp.ones((512, 512)))
    inside, most, guard = 0, 0, threading.Lock()

    def program(xs: jax.Array) -> jax.Array:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        try:
            return jax.block_until_ready(compiled(xs))
        finally:
            with guard:
                inside -= 1

    compiled = jax.jit(long_work)
    call = take_turns(program)
    threads = [threading.Thread(target=call, args=(xs,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_bounded_program_can_be_part_of_another() -> None:
    double = bounded_jit(lambda x: 2 * x)
    outer = bounded_jit(lambda x: double(double(x)))
    assert outer(jnp.float32(3)) == 12
    assert jax.grad(lambda x: double(x) ** 2)(jnp.float32(3)) == 24
    np.testing.assert_array_equal(jax.vmap(double)(jnp.arange(3)), [0, 2, 4])


def test_static_arguments_and_names_are_handed_on() -> None:
    def repeat(x: jax.Array, times: int) -> jax.Array:
        return jnp.tile(x, times)

    program = bounded_jit(repeat, static_argnames="times")
    assert program(jnp.ones(2), times=3).shape == (6,)
    assert program.__name__ == "repeat"


def test_what_runs_once_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first state of a training, whose programs LLVM optimizes less."""
    given: list[object] = []

    def compile_(
        function: Callable[..., Any], compiler_options: dict[str, Any] | None
    ) -> Callable[..., Any]:
        given.append(compiler_options)
        return jax.jit(function, compiler_options=compiler_options)

    def drawn() -> MogrifierParams:
        return MogrifierCell(2).init(jax.random.key(7), 5, 6)

    monkeypatch.setattr("lstm_jax.distributed.bounded.bounded_jit", compile_)
    monkeypatch.setenv("XLA_FLAGS", "")
    soon = run_once(drawn)()
    level = "xla_backend_optimization_level"
    usual = jax.jit(drawn, compiler_options={level: 3})()
    assert_same(soon, usual)
    monkeypatch.setenv("XLA_FLAGS", f"--{level}=0")
    run_once(drawn)  # as asked for
    assert given == [{level: 1}, None]


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in (*PACKAGE.rglob("*.py"), *ROOT.glob("experiments/**/*.py"))
        if "benchmarks" not in path.parts
    ),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_everything_compiles_through_it(path: Path) -> None:
    """Kernels are part of a program; `compiled` bounds what it has compiled.

    What is exported is run by others, and here on one device. Benchmarks have one
    device, and other libraries to compile.
    """
    exempt = {"bounded.py", "compiled.py", "exports.py", "hello_world.py"}
    exempt |= {"kernels.py", "calls.py"}
    code = re.sub(r"`[^`]*`", "", path.read_text(encoding="utf-8"))
    if path.name not in exempt:
        assert not re.search(r"\b(jax|nnx)\.jit\b|\bimport jit\b", code)


MANY = """
import jax, numpy as np
from flax import nnx
jax.config.update("jax_num_cpu_devices", 2)
from lstm_jax import LanguageModel
from lstm_jax.lm.evaluation import evaluate_ids
model = LanguageModel(vocab_size=99, hidden_size=64, num_layers=1, rngs=nnx.Rngs(0))
ids = np.random.default_rng(0).integers(0, 99, 400_000)
found = {repr(evaluate_ids(model, ids)["window256"]) for _ in range(50)}
assert len(found) == 1, found
"""


@pytest.mark.slow
@pytest.mark.parametrize("busy", [0, 1, 2])
def test_fifty_evaluations_of_a_long_text_beside_busy_cores(busy: int) -> None:
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(busy)]
    try:
        done = subprocess.run(
            [sys.executable, "-c", MANY],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert done.returncode == 0, done.stderr[-2000:]
