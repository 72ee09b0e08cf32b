"""What has to hold on whatever device computes: here, or `--device gpu` or `tpu`.

    python -m pytest --device gpu -n 0

The reference is the engine `scan` in float64 on the host's CPU, itself held to a NumPy
loop in `tests/engines/`. A GPU and a TPU round the factors of float32 products (to
TF32, to bfloat16) unless full precision is asked for, and tolerances say so.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from lstm_jax import train
from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.decoding import generate_ids, score_ids
from lstm_jax.engines.dispatch import ENGINES, explain_engine
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.recurrence import lstm
from tests.helpers.reference_lstm import Case, assert_close, cast, random_case

T, B, D = 12, 8, 24
UNITS = (64, 256, 512, 1024)  # the last two take more blocks than a cluster has
LENGTHS = np.array([T, 0, 5, 1, T, 7, 3, 2])
RESETS = np.random.default_rng(2).random((T, B)) < 0.2
WAYS: dict[str, dict[str, Any]] = {
    "lengths": {"lengths": LENGTHS},
    "resets, reverse": {"resets": RESETS, "reverse": True},
}
# Of the largest element, by type and by the precision of products.
TOLERANCES: dict[tuple[str, str | None], float | dict[str, float]] = {
    ("float32", "highest"): 2e-5,
    ("float32", None): {"cpu": 2e-5, "gpu": 5e-3, "tpu": 5e-2},
    ("bfloat16", None): 5e-2,
    ("float16", None): 1e-2,
}


@pytest.fixture(scope="module")
def device(request: pytest.FixtureRequest) -> Iterator[jax.Device]:
    """The device under test, or a skip that says what is here instead."""
    asked = request.config.getoption("--device") or "cpu"
    found = jax.devices()[0]
    if found.platform != asked:
        pytest.skip(f"--device {asked}: expected one, found {found.platform}")
    with jax.default_device(found):
        yield found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask for the whole matrix of a device; `tests/engines/` has it for a CPU."""
    if "units" in metafunc.fixturenames:
        cpu = metafunc.config.getoption("--device") in (None, "cpu")
        count = 1 if cpu else None
        metafunc.parametrize("units", UNITS[:count])
        metafunc.parametrize("way", list(WAYS)[:count])


def scaled_case(units: int) -> Case:
    """Weights of a usual size, so that gates are not all open or closed."""
    case = random_case(0, T, B, D, units)
    narrow = dict(w_x=case.w_x / D**0.5, w_h=case.w_h / units**0.5)
    return case._replace(**narrow)


def outcome(case: Case, engine: str, way: str) -> tuple:
    """Outputs, last state, and the gradient of a sum of them with unequal weights."""
    weights = np.random.default_rng(1).normal(size=(T, *case.h.shape))
    arguments: dict[str, Any] = {
        name: jnp.asarray(value) if isinstance(value, np.ndarray) else value
        for name, value in WAYS[way].items()
    }

    def total(case: Case) -> tuple[Array, tuple]:
        params = LSTMParams(case.w_x, case.w_h, case.b)
        start = LSTMState(case.h, case.c.astype(jnp.promote_types(case.c, "float32")))
        ys, last = lstm(params, case.xs, start, engine=engine, **arguments)
        shown = (weights * ys).sum() + (weights[0] * last.h).sum()
        return shown + (weights[1] * last.c).sum(), (ys, last.h, last.c)

    gradient, ends = jax.jit(jax.grad(total, has_aux=True))(case)
    return ends, gradient


@functools.cache
def reference(units: int, way: str) -> tuple:
    """The same in float64, on the host."""
    cpu = jax.devices("cpu")[0]
    with jax.enable_x64(True), jax.default_device(cpu):
        with jax.default_matmul_precision("highest"):
            found = outcome(cast(scaled_case(units), "float64"), "scan", way)
    return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize(("dtype", "precision"), TOLERANCES, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_equal_float64_on_the_host(
    device: jax.Device,
    engine: str,
    dtype: str,
    precision: str | None,
    units: int,
    way: str,
) -> None:
    given = WAYS[way]
    with jax.default_matmul_precision(precision or "default"):
        try:
            explain_engine(
                engine,
                steps=T,
                rows=B,
                hidden=units,
                dtype=dtype,
                lengths="lengths" in given,
                resets="resets" in given,
                reverse="reverse" in given,
            )
        except ValueError as lacks:
            pytest.skip(str(lacks))
        found = outcome(cast(scaled_case(units), dtype), engine, way)
    expected = reference(units, way)
    print(f"largest error {largest_error(found, expected):.1e}")  # seen with -rP
    allowed = TOLERANCES[dtype, precision]
    if isinstance(allowed, dict):
        allowed = allowed[device.platform]
    assert_close(found, expected, allowed)


def largest_error(found: tuple, expected: tuple) -> float:
    """What `assert_close` holds to a tolerance."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(
        float(np.abs(np.asarray(a, np.float64) - b).max() / np.abs(b).max())
        for a, b in pairs
    )


def test_a_model_learns_and_is_the_same_after_a_resume(
    device: jax.Device, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 60)
    sizes = "--layers 1 --hidden 32 --batch 8 --length 16 --dropout 0 --seed 1"
    sizes += " --final-rate 1 --warmup 0"  # a longer run has the same rates
    losses = []
    for run, parts in (("whole", [4]), ("resumed", [2, 4])):
        for epochs in parts:
            flags = [*sizes.split(), "--data", str(text), "--epochs", str(epochs)]
            if epochs != parts[0]:
                flags = ["--resume", "--epochs", str(epochs)]
            train.main([*flags, "--run-dir", str(tmp_path / run)])
        summary = json.loads((tmp_path / run / "summary.json").read_text())
        losses.append(summary["validation"]["window256"]["loss"])
    assert losses[0] < 2.0  # ln 11 = 2.4 if all symbols were as likely
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_generation_and_scores_equal_the_hosts(device: jax.Device) -> None:
    model = LanguageModel(11, 64, num_layers=2, rngs=nnx.Rngs(0))
    prompt = np.arange(7) % 11
    ids = np.concatenate([prompt, *map(np.ravel, generate_ids(model, prompt, 20))])
    here = np.asarray(score_ids(model, ids))
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):  # by an engine that any device has
        twin = LanguageModel(11, 64, num_layers=2, rngs=nnx.Rngs(0), engine="scan")
        nnx.update(twin, jax.device_put(nnx.state(model), cpu))
        host = np.asarray(score_ids(twin, ids))
    allowed = 1e-5 if device.platform == "cpu" else 2e-2
    np.testing.assert_allclose(here, host, atol=allowed)
    assert np.isfinite(here).all() and len(ids) == 27


def test_remat_needs_less_memory(device: jax.Device) -> None:
    params = LSTMParams(*(jnp.ones(s) for s in ((8, 256), (64, 256), (256,))))
    # So many rows that what products on a GPU have as workspace, 32 MB, is little.
    xs = jnp.ones((1024, 256, 8))

    def memory(remat: bool) -> int:
        def loss(params: LSTMParams) -> Array:
            return lstm(params, xs, remat=remat, engine="fused")[1].h.sum()

        compiled = jax.jit(jax.grad(loss)).lower(params).compile()
        analysis = compiled.memory_analysis()
        if analysis is None:
            pytest.skip("this device does not tell the memory of a program")
        return analysis.temp_size_in_bytes

    assert memory(True) < memory(False) / 5
