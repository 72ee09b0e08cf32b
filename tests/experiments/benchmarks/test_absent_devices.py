"""A training step for devices that nobody has here: what they would exchange.

Compiled ahead of time, where the compilers are installed
(`experiments.benchmarks.speed.aot` says which); nothing is run.
"""

import subprocess
import sys
import textwrap
from importlib.util import find_spec

import jax
import pytest

from experiments.benchmarks.speed.hlo import out_of_order
from tests.helpers.experiment_runs import run

PADDING = 7 * 128  # of the table's gradient on a GPU: 72 symbols
PARAMETERS = 65 * 128 + 32 * 128 + 128 + 32 * 65 + 65  # table, w_h, b; softmax


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "compiler"),
    [("4 x H100", "jax_cuda13_plugin"), ("4 x TPU v5e", "libtpu")],
)
def test_gradients_meet_once_per_step(devices: str, compiler: str) -> None:
    if find_spec(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    done = run("scaling", "--absent", "--layers", 1, "--hidden", 32)
    (row,) = [line for line in done.stdout.splitlines() if devices in line]
    _, _, per_step, per_time_step = row.strip("| ").split(" | ")
    sums = [each for each in per_step.split(", ") if "of no floats" not in each]
    (numbers,) = [int(each.split()[2]) for each in sums]
    most = PARAMETERS + 3  # sums of the loss travel along
    assert PARAMETERS <= numbers <= most + PADDING * ("H100" in devices)
    assert per_time_step == "nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "compiler", "engine", "target"),
    [
        ("h100", "jax_cuda13_plugin", "cudnn", "cudnn_rnn_bwd_ffi"),
        ("h100", "jax_cuda13_plugin", "pallas_gpu", "mosaic_gpu"),
        ("v5e", "libtpu", "pallas_tpu", "tpu_custom_call"),
    ],
)
def test_kernels_get_memory_in_the_order_of_the_axes(
    device: str, compiler: str, engine: str, target: str
) -> None:
    """XLA hands a kernel whatever lies there unless the call pins its layouts."""
    if find_spec(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if engine == "pallas_gpu" and jax.__version_info__ < (0, 11):
        pytest.skip("the kernels need jax 0.11")
    code = f"""
        import os
        from experiments.benchmarks.speed import aot, hlo
        os.environ |= aot.SETTINGS
        import jax
        jax.config.update("jax_platforms", "cpu")
        target = aot.TARGETS["{device}"]
        for gradient in (False, True):
            program = aot.Program("{engine}", gradient)
            devices = target.describe()[:1]
            text = aot.compiled(program, target.platform, devices).as_text()
            print(hlo.out_of_order(text))
        assert "{target}" in text
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.slow
def test_kernels_of_a_time_step_on_an_h100() -> None:
    """A kernel of a loop is a launch by the host, so they are few."""
    if find_spec("jax_cuda13_plugin") is None:
        pytest.skip("jax_cuda13_plugin is not installed")
    command = ["-m", "experiments.benchmarks.speed.aot", "h100"]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True
    )
    cells = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    found = {row[1]: row for row in cells if row[0] == "H100"}
    for engine, most in (("fused", 4.0), ("scan", 6.0)):
        _, _, kernels, *_, exchanged = found[f"gradient, engine {engine}"]
        assert all(float(each) <= most for each in kernels.split(" + "))
        assert exchanged.startswith("0, ")  # none inside a loop
    assert float(found["forward, engine fused"][2]) <= 3


def test_what_lies_out_of_order_is_seen() -> None:
    text = """
      %turned = f32[5,4,2]{2,0,1} bitcast(%x)
      %first = (f32[5,4,3]{2,1,0}, f32[9]{0}) custom-call(%turned, %h), \
custom_call_target="cudnn_rnn_ffi", api_version=API_VERSION_TYPED_FFI
      %second = f32[5,4]{0,1} custom-call(%h), custom_call_target="kernel"
      %third = f32[5,4]{0,1} custom-call(%h), custom_call_target="__cublas$gemm"
    """
    assert out_of_order(text) == [
        "cudnn_rnn_ffi: f32[5,4,2]{2,0,1}",
        "kernel: f32[5,4]{0,1}",
    ]
