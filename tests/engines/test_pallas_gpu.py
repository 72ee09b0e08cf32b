"""The engine for Hopper GPUs around its values, which `test_equivalence.py` has.

Loops stand in for the kernels, as there; `test_gpu_kernels.py` has the kernels.
"""

import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.engines import measured
from lstm_jax.engines.devices import as_if_on
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.engines.measured import Measured
from lstm_jax.engines.pallas_gpu.engine import run_pallas_gpu
from lstm_jax.engines.scan import run_scan
from lstm_jax.nn.recurrence import lstm
from lstm_jax.ops.matmul import rounded_products
from tests.helpers.cards import card
from tests.helpers.reference_lstm import assert_close, cast, random_case

T, B, H = 11, 5, 3  # neither rows nor units fill a layout
RNG = np.random.default_rng(0)
Z, W_H, H_0, C_0, WEIGHTS = (
    jnp.asarray(RNG.normal(size=shape), "float32")
    for shape in ((T, B, 4 * H), (H, 4 * H), (B, H), (B, H), (T, B, H))
)
STARTS, HOLES = (jnp.asarray(RNG.random((T, B)) < share) for share in (0.3, 0.7))
SIZES: dict[str, Any] = {"steps": 4, "rows": 64, "hidden": 256}


def total(z: jax.Array, w_h: jax.Array, engine: str = "pallas_gpu") -> jax.Array:
    """Depends on every output and last state of a layer whose inputs are z."""
    params = LSTMParams(jnp.eye(4 * H, dtype=w_h.dtype), w_h, jnp.zeros_like(w_h[0]))
    ys, last = lstm(params, z, engine=engine)
    return (ys**2).sum() + (last.h * last.c).sum()


def measure(run: Callable[..., tuple], reverse: bool, dtype: str) -> tuple:
    """Results and gradients with rows that pause, and flags where they do."""

    def loss(z: jax.Array, w_h: jax.Array, state: LSTMState) -> tuple:
        hs, last = run(z, w_h, state, STARTS, HOLES, reverse)
        number = (WEIGHTS * hs).sum() + (last.h**2).sum() + (last.c**3).sum()
        return number, (hs, last)

    z, w_h, h = cast((Z, W_H, H_0), dtype)
    measured = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))
    return measured(z, w_h, LSTMState(h, C_0))


@pytest.mark.parametrize(
    ("dtype", "reverse", "tolerance"),
    [
        ("float32", True, 2e-6),
        ("float32", False, 2e-6),
        ("float16", True, 5e-3),
        ("bfloat16", False, 4e-2),
    ],
)
@pytest.mark.usefixtures("gpu_kernels")
def test_pauses_and_starts(dtype: str, reverse: bool, tolerance: float) -> None:
    """A start in a pause means nothing; cells and their gradient stay float32."""
    found = measure(run_pallas_gpu, reverse, dtype)
    scan = functools.partial(run_scan, LSTM_CELL)
    assert_close(found, measure(scan, reverse, "float32"), tolerance)
    types = jax.tree.map(lambda a: a.dtype.name, found)
    assert types == jax.tree.map(lambda a: a.dtype.name, measure(scan, reverse, dtype))
    assert types[0][1][1].c == "float32"


@pytest.mark.usefixtures("gpu_kernels")
def test_mixed_precision() -> None:
    """Factors are bfloat16; z, cells, gradients and their sums are float32."""
    mixed = rounded_products(run_pallas_gpu)
    found = measure(mixed, True, "float32")
    assert {a.dtype.name for a in jax.tree.leaves(found)} == {"float32"}
    exact = measure(functools.partial(run_scan, LSTM_CELL), True, "float32")
    assert_close(found, exact, 3e-2)
    dw_h = found[1][1]
    assert (dw_h != dw_h.astype("bfloat16")).any()
    with pytest.raises(AssertionError):
        assert_close(found, exact, 1e-5)


@pytest.mark.usefixtures("gpu_kernels")
def test_with_remat() -> None:
    """Inside a checkpoint inside a loop, differentiated once."""
    case = cast(random_case(0, 5, B, 2, H), "float32")

    def loss(engine: str, w_h: jax.Array) -> jax.Array:
        params = LSTMParams(case.w_x, w_h, case.b)
        ys, last = lstm(params, case.xs, engine=engine, remat=True)
        return (ys**2).sum() + (last.c**3).sum()

    def gradient(engine: str) -> jax.Array:
        return jax.jit(jax.grad(functools.partial(loss, engine)))(case.w_h)

    assert_close(gradient("pallas_gpu"), gradient("fused"), 2e-6)


@pytest.mark.usefixtures("gpu_kernels")
def test_forward_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="expected no forward-mode derivative"):
        jax.jvp(total, (Z, W_H), (Z, W_H))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.usefixtures("gpu_kernels")
def test_second_derivatives(reverse: bool) -> None:
    """By the loops of `fused`, never by the derivative of a kernel."""

    def slope_of_slope(run: Callable[..., tuple]) -> tuple:
        def loss(z: jax.Array, w_h: jax.Array, state: LSTMState) -> jax.Array:
            hs, last = run(z, w_h, state, STARTS, HOLES, reverse)
            return (WEIGHTS * hs**2).sum() + (last.h**2).sum() + (last.c**3).sum()

        def squares(*operands: object) -> jax.Array:
            slopes = jax.tree.leaves(jax.grad(loss, (0, 1, 2))(*operands))
            return jnp.stack([(a**2).sum() for a in slopes]).sum()

        return jax.jit(jax.grad(squares, (0, 1, 2)))(Z, W_H, LSTMState(H_0, C_0))

    expected = slope_of_slope(functools.partial(run_scan, LSTM_CELL))
    assert_close(slope_of_slope(run_pallas_gpu), expected, 1e-5)


@pytest.mark.usefixtures("gpu_kernels")
def test_rows_that_are_spread_need_shard_map() -> None:
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, PartitionSpec(None, "rows"))
        z = jax.device_put(Z[:, :4], place)
        w_h = jax.device_put(W_H, NamedSharding(mesh, PartitionSpec()))
        with pytest.raises(ValueError, match=r"'pallas_gpu': expected .* or shard_map"):
            jax.jit(total).trace(z, w_h)


@pytest.mark.parametrize(
    ("device", "asked", "message"),
    [
        ({}, {"dtype": "float64"}, "float32, bfloat16 or float16; found float64"),
        (
            {},
            {"hidden": 8192},
            "no layout for 64 rows and 8192 units of float32",
        ),
        (
            {"core_count": 1},
            {},
            "no layout for 64 rows and 256 units",
        ),
        (
            {"compute_capability": "8.0", "device_kind": "NVIDIA A100"},
            {},
            r"capability 9.0 \(Hopper\); found 8.0, NVIDIA A100",
        ),
        ({"compute_capability": "10.0"}, {}, "found 10.0, NVIDIA H100 80GB HBM3"),
        (
            {"client": types.SimpleNamespace(platform_version="rocm 60000")},
            {},
            "needs a CUDA device; found rocm",
        ),
    ],
)
@pytest.mark.usefixtures("gpu_kernels")
def test_what_it_lacks(device: dict, asked: dict, message: str) -> None:
    with (
        as_if_on([card(**device)]),
        pytest.raises(ValueError, match=f"{message}.*; engines that can: fused, scan"),
    ):
        explain_engine("pallas_gpu", **{**SIZES, **asked})


@pytest.mark.usefixtures("gpu_kernels")
def test_more_precise_products_are_refused() -> None:
    """What TF32 is enough for is done; and bfloat16 has no more to give."""
    for asked in ("highest", "float32", "high", "BF16_BF16_F32_X3"):
        with jax.default_matmul_precision(asked):
            with pytest.raises(ValueError, match=f"TF32; found .*_precision='{asked}'"):
                explain_engine("pallas_gpu", **SIZES)
            explain_engine("pallas_gpu", **SIZES, dtype="bfloat16")
    for asked in (None, "default", "tensorfloat32", "BF16_BF16_F32"):
        with jax.default_matmul_precision(asked):
            assert explain_engine("pallas_gpu", **SIZES).name == "pallas_gpu"


@pytest.mark.usefixtures("h100")
def test_an_older_jax_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lstm_jax.engines.pallas_gpu.engine._FIRST_JAX", (99, 1))
    reason = f"needs jax 99.1 or newer; found {jax.__version__}"
    assert explain_engine(**SIZES).others["pallas_gpu"] == reason


def test_of_a_platform_in_general_nothing_is_known() -> None:
    reason = explain_engine(platform="cuda", **SIZES).others["pallas_gpu"]
    assert "jax 0.11" in reason or "found one that is not known" in reason


@pytest.mark.usefixtures("gpu_kernels")
def test_auto_follows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the cards, types and sizes of a line, unless something stands against it."""
    cards, factors = ("NVIDIA H100",), ("bfloat16",)
    line = Measured("pallas_gpu", cards, factors, (4, 9), (8, 64), (64, 256), "a note")
    monkeypatch.setattr(measured, "MEASURED", (line,))
    half: dict[str, Any] = {**SIZES, "dtype": "bfloat16"}
    choice = explain_engine(**half)
    assert choice.name == "pallas_gpu"
    assert choice.reason == "auto: the fastest one measured (a note)"
    with jax.default_matmul_precision("BF16_BF16_F32"):
        assert explain_engine(**SIZES).name == "pallas_gpu"
    others: tuple[dict[str, Any], ...] = (
        {"hidden": 257},
        {"rows": 65},
        {"rows": 7},
        {"steps": 3},
        {"dtype": "float32"},
    )
    for other in others:
        choice = explain_engine(**{**half, **other})
        assert choice.name == "fused"
        assert "none was measured on NVIDIA H100 80GB HBM3 with" in choice.reason
    assert explain_engine(**half, masks=True).name == "scan"
    with as_if_on([card(), card()]):
        choice = explain_engine(**half)
    assert choice.name == "fused"
    assert "not pallas_gpu, which XLA can't divide" in choice.reason
    with as_if_on([card(core_count=1)]):
        choice = explain_engine(**half)
    assert choice.name == "fused" and "pallas_gpu, which has no layout" in choice.reason


@pytest.mark.usefixtures("gpu_kernels")
@pytest.mark.parametrize("precision", [None, "highest", "BF16_BF16_F32"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_auto_on_an_h100(dtype: str, precision: str | None) -> None:
    """The kernels, but for what they do not have; then it says what that is."""
    with jax.default_matmul_precision(precision):
        choices = {
            hidden: explain_engine(steps=64, rows=64, hidden=hidden, dtype=dtype)
            for hidden in (1, 650, 1024, 1025)
        }
    full = dtype == "float64" or (dtype, precision) == ("float32", "highest")
    mixed = (dtype, precision) == ("float32", "BF16_BF16_F32")
    for hidden, choice in choices.items():
        wide = hidden > (256 if dtype == "float32" and not mixed else 1024)
        kernels = not (full or wide)
        assert choice.name == ("pallas_gpu" if kernels else "fused")
    few = explain_engine(steps=15, rows=64, hidden=256, dtype=dtype)
    assert few.name == "fused"


@pytest.mark.usefixtures("gpu_kernels")
def test_auto_does_not_let_two_kernels_wait_for_each_other() -> None:
    """Of the layers of two directions, one may have all of the card."""
    wide: dict[str, Any] = {"steps": 64, "rows": 64, "dtype": "bfloat16"}
    narrow, wide = wide | {"hidden": 512}, wide | {"hidden": 1024}
    assert explain_engine(**wide).name == "pallas_gpu"
    backwards = explain_engine(**wide, reverse=True)
    assert backwards.name == "fused"
    assert "needs the card for itself" in backwards.reason
    assert explain_engine(**narrow, reverse=True).name == "pallas_gpu"
    assert explain_engine("pallas_gpu", **wide, reverse=True).name == "pallas_gpu"


@pytest.mark.usefixtures("gpu_kernels")
@pytest.mark.parametrize(
    ("dtype", "sizes", "kind", "measured"),
    [
        ("bfloat16", (64, 64, 1024), "NVIDIA H100 80GB HBM3", True),
        ("float16", (1024, 256, 128), "NVIDIA H100 80GB HBM3", True),
        ("float32", (256, 16, 256), "NVIDIA H100 80GB HBM3", True),
        ("bfloat16", (256, 64, 512), "NVIDIA H200", False),
        ("bfloat16", (256, 64, 512), "NVIDIA H100 NVL", False),
        ("bfloat16", (256, 64, 100), "NVIDIA H100 80GB HBM3", False),
        ("bfloat16", (256, 1, 256), "NVIDIA H100 80GB HBM3", False),
        ("bfloat16", (2048, 64, 256), "NVIDIA H100 80GB HBM3", False),
        ("bfloat16", (32, 64, 256), "NVIDIA H100 80GB HBM3", False),
    ],
)
def test_what_was_measured_is_told_from_what_was_extrapolated(
    dtype: str, sizes: tuple[int, int, int], kind: str, measured: bool
) -> None:
    steps, rows, hidden = sizes
    with as_if_on([card(device_kind=kind)]):
        choice = explain_engine(steps=steps, rows=rows, hidden=hidden, dtype=dtype)
    assert choice.name == "pallas_gpu"
    how = "the fastest one measured (" if measured else "the fastest one, extrapolated"
    assert choice.reason.startswith(f"auto: {how}")
