"""The kernels of `pallas_gpu` in Pallas's interpreter, held to loops: a program.

    NPROC=16 python -m tests.helpers.interpreted_kernels [CASE...]

A line of JSON per case, all of them if none is named: how far values and gradients are
from those of the loops, as a share of the largest one, and whether blocks raced. The
interpreter has a thread for every block of a cluster; XLA has to have as many, and
reads NPROC when JAX starts.
"""

import json
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.pallas import mosaic_gpu as plgpu

from lstm_jax.engines.pallas_gpu import kernels
from lstm_jax.engines.pallas_gpu.layout import KernelArgs, Layout
from tests.helpers import gpu_kernels as loops

STEPS = 3


class Case(NamedTuple):
    """A layout and what is asked of it."""

    rows: int
    units: int
    group: int
    blocks: int
    factors: str
    z: str
    flags: bool = False
    reverse: bool = False
    races: bool = False
    nan: bool = False  # in sequences that others follow in the same row


CASES = {
    "short rows": Case(8, 64, 8, 4, "float32", "float32", flags=True),
    "a cluster": Case(16, 64, 8, 2, "float32", "float32", True, True, races=True),
    "without flags": Case(8, 128, 8, 4, "bfloat16", "bfloat16", reverse=True),
    "tall groups": Case(32, 128, 16, 2, "bfloat16", "bfloat16", races=True),
    "mixed": Case(16, 128, 8, 4, "bfloat16", "float32", flags=True, races=True),
    "float16": Case(8, 128, 8, 2, "float16", "float16"),
    "narrow blocks": Case(16, 128, 16, 8, "bfloat16", "bfloat16", flags=True),
    "not a number": Case(8, 64, 8, 2, "float32", "float32", flags=True, nan=True),
    "long rows": Case(8, 512, 8, 8, "float32", "float32", races=True),
}


def outcome(case: Case, module: ModuleType, interpret: object) -> tuple:
    """What both kernels make of random numbers."""
    rng = np.random.default_rng(0)

    def some(*shape: int, dtype: str = "float32", scale: float = 1.0) -> Array:
        return jnp.asarray(scale * rng.normal(size=shape), dtype)

    rows, units = case.rows, case.units
    sizes = Layout(rows, units, case.group, case.blocks)
    args = KernelArgs(sizes, STEPS, case.reverse, interpret)
    flags = jnp.asarray(rng.integers(0, 3, (STEPS, rows)), "int32")
    if case.nan:  # rows 1 and 2 start from zero behind it and, going back, before it
        flags = flags.at[:, 1:3].set(jnp.array([1, 2, 2])[:, None])
    flags = flags if case.flags else None
    w_h = some(units, 4 * units, dtype=case.factors, scale=units**-0.5)
    z = some(STEPS, rows, 4 * units, dtype=case.z)
    if case.nan:
        z = z.at[0, 1].set(jnp.nan)
    h, c = some(rows, units, dtype=case.factors), some(rows, units)
    forward = module.forward_kernel(args, z, w_h, h, c, flags, keep=True)
    if not case.flags:  # nor is anything kept
        forward = forward, module.forward_kernel(args, z, w_h, h, c, flags, keep=False)
    *_, kept = loops.forward_kernel(args, z, w_h, h, c, flags, keep=True)
    assert kept is not None
    dhs = some(STEPS, rows, units, dtype=case.factors)
    if case.nan:
        dhs = dhs.at[-1, 2].set(jnp.nan)
    slopes = dhs, some(rows, units), c + 1
    backward = module.backward_kernel(args, w_h, *kept, flags, slopes)
    return forward, backward


def distance(found: Array, expected: Array) -> float:
    """The largest difference, as a share of the largest number; types are the same.

    What is no number is none in both, or the distance is infinite.
    """
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    ours, theirs = np.asarray(found, float), np.asarray(expected, float)
    if (np.isnan(ours) != np.isnan(theirs)).any():
        return np.inf
    return float(np.nanmax(np.abs(ours - theirs)) / np.nanmax(np.abs(theirs)))


def main(names: Sequence[str]) -> None:
    """Print a line per case."""
    for name in names or CASES:
        case = CASES[name]
        # Since jax 0.11.
        interpreter = plgpu.InterpretGPUParams  # pyrefly: ignore[missing-attribute]
        interpret = interpreter(detect_races=case.races)
        found = outcome(case, kernels, interpret)
        away = jax.tree.map(distance, found, outcome(case, loops, interpret))
        print(json.dumps([name, jax.tree.leaves(away), raced(case)]), flush=True)


def raced(case: Case) -> bool:
    """Whether the interpreter saw two accesses that nothing put in an order."""
    if not case.races:
        return False
    from jax._src.pallas.mosaic_gpu.interpret import interpret_pallas_call

    return interpret_pallas_call.get_races().races_found


if __name__ == "__main__":
    main(sys.argv[1:])
