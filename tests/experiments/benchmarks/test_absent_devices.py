"""A training step for devices that nobody has here: what they would exchange.

Compiled ahead of time, where the compilers are installed
(`experiments.benchmarks.speed.aot` says which); nothing is run.
"""

from importlib.util import find_spec

import pytest

from tests.helpers.experiment_runs import run

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
    assert PARAMETERS <= numbers <= PARAMETERS + 3  # sums of the loss travel along
    assert per_time_step == "nothing"
