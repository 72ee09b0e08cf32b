"""The kernels for Hopper GPUs: their values, their layouts and their programs.

There is no GPU here. Kernels run in Pallas's interpreter and are lowered for a GPU,
which needs none; they are compiled where NVIDIA's compiler is installed.
"""

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from lstm_jax.cells.lstm import LSTMParams
from lstm_jax.engines.pallas_gpu.layout import (
    KernelArgs,
    Layout,
    backward_memory,
    forward_memory,
    layout,
    needed,
)
from lstm_jax.nn.recurrence import lstm
from tests.helpers.interpreted_kernels import CASES

STEPS = 5
newer_jax = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="the kernels need jax 0.11"
)
SIZES = [
    ("bfloat16", "bfloat16", 8, 64),
    ("bfloat16", "float32", 64, 512),
    ("float32", "float32", 256, 256),
]
ALL_SIZES = [
    (factors, z, rows, units)
    for factors, z in (
        ("bfloat16", "bfloat16"),
        ("bfloat16", "float32"),
        ("float16", "float16"),
        ("float32", "float32"),
    )
    for rows in (8, 64, 256)
    for units in (64, 128, 256, 512, 1024)
]


def programs(
    sizes: Layout, factors: str, z: str
) -> Iterator[tuple[Callable, tuple, int]]:
    """Both kernels with all options: function, arguments, predicted memory."""
    from lstm_jax.engines.pallas_gpu.kernels import backward_kernel, forward_kernel

    args = KernelArgs(sizes, STEPS, False, None)
    rows, units = sizes.rows, sizes.units
    some = jax.ShapeDtypeStruct
    z_all, w_h = some((STEPS, rows, 4 * units), z), some((units, 4 * units), factors)
    h, c = some((rows, units), factors), some((rows, units), "float32")
    c_all, dhs = (some((STEPS, *a.shape), a.dtype) for a in (c, h))
    for flags in (None, some((STEPS, rows), "int32")):
        given = flags is not None
        for keep in (False, True):
            memory = forward_memory(args, factors, z, keep, given)
            run = functools.partial(forward_kernel, args, keep=keep)
            yield run, (z_all, w_h, h, c, flags), needed(memory)
        run = functools.partial(backward_kernel, args)
        arguments = (w_h, z_all, c_all, flags, (dhs, c, c))
        yield run, arguments, needed(backward_memory(args, factors, z, given))


@newer_jax
@pytest.mark.parametrize(
    "size",
    [pytest.param(s, marks=() if s in SIZES else pytest.mark.slow) for s in ALL_SIZES],
    ids=str,
)
def test_shared_memory_is_what_was_predicted(
    size: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte: Mosaic is allowed none, and says how much it wanted."""
    factors, z, rows, units = size
    sizes = layout(rows, units, factors, z)
    if sizes is None:
        pytest.skip("there is no layout")
    monkeypatch.setattr("jax.experimental.mosaic.gpu.core._SMEM_SIZE_BOUND", 0)
    for run, arguments, expected in programs(sizes, factors, z):
        with pytest.raises(ValueError, match=f"shared memory: smem_bytes={expected} "):
            jax.jit(run).trace(*arguments).lower(lowering_platforms=("cuda",))
        assert expected <= 232_448


QUICK = ("a cluster", "not a number")
TOLERANCES = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 2e-2}


@newer_jax
@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(tuple(CASES.keys() - QUICK), marks=pytest.mark.slow)]
)
def test_kernels_equal_loops(names: tuple[str, ...]) -> None:
    """In the interpreter, which also looks for races between blocks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.interpreted_kernels", *names],
        capture_output=True,
        text=True,
        env={**os.environ, "NPROC": "16", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in rows] == list(names)
    for name, distances, raced in rows:
        assert max(distances) < TOLERANCES[CASES[name].factors], name
        assert not raced, name


def total(z: jax.Array, w_h: jax.Array) -> jax.Array:
    w_x = jnp.eye(w_h.shape[1], dtype=w_h.dtype)
    params = LSTMParams(w_x, w_h, jnp.zeros_like(w_h[0]))
    ys, last = lstm(params, z, engine="pallas_gpu")
    return (ys**2).sum() + (last.h * last.c).sum()


def lowered(function: Callable, *arguments: jax.Array) -> str:
    """The program for a GPU."""
    traced = jax.jit(function).trace(*arguments)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


Z, W_H = jnp.ones((STEPS, 6, 40)), jnp.ones((10, 40))


@newer_jax
@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.usefixtures("h100")
def test_lowered_for_a_gpu(x64: bool) -> None:
    """Two kernels and no loop, in 32 bits whatever the integers elsewhere."""
    with jax.enable_x64(x64):
        text = lowered(jax.grad(total, (0, 1)), Z, W_H)
    assert text.count("custom_call @mosaic_gpu") == 2
    assert "stablehlo.while" not in text


@newer_jax
@pytest.mark.usefixtures("h100")
def test_mapped_kernels_run_one_after_the_other() -> None:
    """A loop forward and one back, with a kernel in each."""
    gradient = jax.vmap(jax.grad(total), (0, None))
    text = lowered(gradient, jnp.stack([Z, Z, Z]), W_H)
    assert text.count("stablehlo.while") == 2
    assert text.count("custom_call @mosaic_gpu") == 2


@newer_jax
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.usefixtures("h100")
def test_lowered_in_shard_map(check: bool) -> None:
    """With what differs between devices told to JAX, which checks it."""
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    places = PartitionSpec(None, "rows"), PartitionSpec()
    spread = jax.shard_map(
        jax.grad(total, (0, 1)),
        mesh=mesh,
        in_specs=places,
        out_specs=places,
        check_vma=check,
    )
    assert lowered(spread, Z, W_H).count("custom_call @mosaic_gpu") == 2


@newer_jax
@pytest.mark.slow
@pytest.mark.parametrize("factors", ["bfloat16", "float16", "float32"])
def test_compiled_for_an_h100_without_spills(factors: str) -> None:
    """All registers of all layouts stay registers; with flags, and what is kept."""
    if find_spec("jax_cuda13_plugin") is None:
        pytest.skip("jax_cuda13_plugin is not installed")
    code = f"""
        import os
        from experiments.benchmarks.speed import aot
        os.environ |= aot.SETTINGS
        import jax
        jax.config.update("jax_platforms", "cpu")
        from jax.sharding import SingleDeviceSharding
        from tests.engines.test_gpu_kernels import compiled_layouts, programs

        place = SingleDeviceSharding(aot.h100()[0])
        there = lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place)
        for sizes, z in compiled_layouts("{factors}"):
            for run, arguments, _ in list(programs(sizes, "{factors}", z))[-2:]:
                traced = jax.jit(run).trace(*jax.tree.map(there, arguments))
                traced.lower(lowering_platforms=("cuda",)).compile()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env={**os.environ, "MOSAIC_GPU_DUMP_PTXAS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    spills = re.findall(r"(\d+) bytes spill stores", done.stdout + done.stderr)
    assert spills and set(spills) == {"0"}


def compiled_layouts(factors: str) -> set[tuple[Layout, str]]:
    """All layouts for a type, with as few clusters each as make a difference."""
    found = set()
    for kind, z, rows, units in ALL_SIZES:
        sizes = layout(rows, units, factors, z)
        if kind == factors and sizes is not None:
            found.add((dataclasses.replace(sizes, rows=2 * sizes.group), z))
    return found


def test_a_layout_follows_from_sizes() -> None:
    """As measured: 64 bytes of units to a block; few rows; places for all blocks."""
    assert layout(5, 3, "float32") == Layout(8, 64, 8, 4)
    assert layout(5, 3, "bfloat16") == Layout(8, 64, 8, 4)
    assert layout(64, 128, "bfloat16") == Layout(64, 128, 8, 4)
    assert layout(256, 128, "bfloat16") == Layout(256, 128, 16, 4)
    assert layout(64, 256, "bfloat16") == Layout(64, 256, 8, 8)
    assert layout(64, 512, "float16") == Layout(64, 512, 16, 16)
    assert layout(64, 1024, "bfloat16") == Layout(64, 1024, 32, 64)
    assert layout(64, 128, "float32") == Layout(64, 128, 8, 8)
    assert layout(64, 256, "float32") == Layout(64, 256, 8, 16)
    assert layout(64, 512, "float32") == Layout(64, 512, 16, 32)
    assert layout(65, 129, "bfloat16") == Layout(72, 256, 8, 8)
    assert layout(64, 1024, "bfloat16", "float32") == Layout(64, 1024, 32, 64, True)


def test_a_layout_heeds_the_card() -> None:
    """Clusters may have to wait for a place; blocks that meet elsewhere must not."""
    assert layout(256, 512, "bfloat16") == Layout(256, 512, 16, 16)
    assert layout(64, 512, "bfloat16", multiprocessors=15) is None
    smaller = Layout(64, 512, 16, 32, halved=True)
    assert layout(64, 512, "bfloat16", shared_memory=100_000) == smaller
    assert layout(64, 512, "bfloat16", shared_memory=50_000) is None
    assert layout(256, 1024, "bfloat16") is None
    assert layout(32, 1024, "bfloat16", multiprocessors=114) == Layout(32, 1024, 32, 64)
    assert layout(64, 2048, "bfloat16") is None and layout(64, 1024, "float32") is None
