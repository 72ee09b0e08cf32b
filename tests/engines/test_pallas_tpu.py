"""The TPU's engine around its values, which `test_equivalence.py` has.

There is no TPU here. Kernels run in Pallas's interpreter, and are lowered for a TPU,
which needs none.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.engines.devices import as_if_on
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.engines.pallas_tpu.engine import run_pallas_tpu
from lstm_jax.engines.pallas_tpu.layout import capacity, layout
from lstm_jax.engines.scan import run_scan
from lstm_jax.nn.recurrence import lstm
from tests.helpers.jaxprs import equations
from tests.helpers.reference_lstm import assert_close, cast, random_case

T, B, H = 11, 5, 3  # one block and a shorter one; neither rows nor units fill registers
RNG = np.random.default_rng(0)
Z, W_H, H_0, C_0, WEIGHTS = (
    jnp.asarray(RNG.normal(size=shape), "float32")
    for shape in ((T, B, 4 * H), (H, 4 * H), (B, H), (B, H), (T, B, H))
)
STARTS, HOLES = (jnp.asarray(RNG.random((T, B)) < share) for share in (0.3, 0.7))
Z_ONLY = PartitionSpec(None, "rows")


def total(z: jax.Array, w_h: jax.Array, engine: str = "pallas_tpu") -> jax.Array:
    """Depends on every output and last state of a layer whose inputs are z."""
    params = LSTMParams(jnp.eye(4 * H, dtype=w_h.dtype), w_h, jnp.zeros_like(w_h[0]))
    ys, last = lstm(params, z, engine=engine)
    return (ys**2).sum() + (last.h * last.c).sum()


def lowered(dtype: str = "float32") -> str:
    """The program of a gradient, for a TPU."""
    arguments = Z.astype(dtype), W_H.astype(dtype)
    traced = jax.jit(jax.grad(total, (0, 1))).trace(*arguments)
    return traced.lower(lowering_platforms=("tpu",)).as_text()


@pytest.mark.parametrize(
    "interpreter", [True, pytest.param(None, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.usefixtures("interpreted")
def test_blocks_and_holes(
    reverse: bool, interpreter: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More steps than a block has, and rows that pause; also on memory full of NaN."""
    if interpreter is None:
        stricter = pltpu.InterpretParams(uninitialized_memory="nan")
        monkeypatch.setattr("lstm_jax.engines.pallas_tpu.engine._INTERPRET", stricter)
    assert 1 < T / layout(B, H, "float32").block < 2

    def measure(run: Callable[..., tuple]) -> tuple:
        def loss(z: jax.Array, w_h: jax.Array, state: LSTMState) -> tuple:
            hs, last = run(z, w_h, state, STARTS, HOLES, reverse)
            number = (WEIGHTS * hs).sum() + (last.h**2).sum() + (last.c**3).sum()
            return number, (hs, last)

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
            Z, W_H, LSTMState(H_0, C_0)
        )

    scan = functools.partial(run_scan, LSTM_CELL)
    assert_close(measure(run_pallas_tpu), measure(scan), 2e-6)


@pytest.mark.usefixtures("interpreted")
def test_with_remat() -> None:
    """Inside a checkpoint inside a loop, differentiated once."""
    case = cast(random_case(0, 5, B, 2, H), "float32")

    def loss(w_h: jax.Array, engine: str) -> jax.Array:
        params = LSTMParams(case.w_x, w_h, case.b)
        ys, last = lstm(params, case.xs, engine=engine, remat=True)
        return (ys**2).sum() + (last.c**3).sum()

    gradient = jax.grad(loss)
    assert_close(gradient(case.w_h, "pallas_tpu"), gradient(case.w_h, "fused"), 2e-6)


@pytest.mark.usefixtures("interpreted")
def test_what_the_kernels_cannot_stand() -> None:
    with pytest.raises(ValueError, match="expected no forward-mode derivative"):
        jax.jvp(total, (Z, W_H), (Z, W_H))
    slope = jax.grad(total)
    for refuse in (
        lambda: jax.grad(lambda z: (slope(z, W_H) ** 2).sum())(Z),
        lambda: jax.jvp(lambda z: slope(z, W_H), (Z,), (Z,)),
    ):
        with pytest.raises(ValueError, match="no derivative of a derivative, found on"):
            refuse()


@pytest.mark.usefixtures("v5e")
@pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit])
def test_rows_that_are_spread_need_shard_map(axis: AxisType) -> None:
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(axis,))
    with jax.set_mesh(mesh):
        z = jax.device_put(Z[:, :4], NamedSharding(mesh, Z_ONLY))
        w_h = jax.device_put(W_H, NamedSharding(mesh, PartitionSpec()))
        with pytest.raises((ValueError, NotImplementedError), match="shard_map"):
            jax.jit(total).trace(z, w_h).lower(lowering_platforms=("tpu",))


@pytest.mark.usefixtures("v5e")
@pytest.mark.parametrize("x64", [False, True])
def test_lowered_for_a_tpu(x64: bool) -> None:
    """Two kernels and no loop, in 32 bits whatever the integers elsewhere."""
    with jax.enable_x64(x64):
        for dtype in ("float32", "bfloat16"):
            text = lowered(dtype)
            assert text.count("stablehlo.custom_call @tpu_custom_call") == 2
            assert "stablehlo.while" not in text


@pytest.mark.usefixtures("v5e")
def test_precision_is_what_is_asked_for() -> None:
    """Or more: what the kernels have no product for is done in full float32."""

    def precision(asked: str | None, dtype: str = "float32") -> set:
        with jax.default_matmul_precision(asked):
            program = jax.make_jaxpr(jax.grad(total))(
                Z.astype(dtype), W_H.astype(dtype)
            )
        kernels = [e for e in equations(program) if e.primitive.name == "pallas_call"]
        assert len(kernels) == 2
        kinds = [
            {
                kind
                for equation in equations(kernel)
                if equation.primitive.name == "dot_general"
                for kind in equation.params["precision"]
            }
            for kernel in kernels
        ]
        assert all(kinds)
        return set.union(*kinds)

    full, rounded = {jax.lax.Precision.HIGHEST}, {jax.lax.Precision.DEFAULT}
    for asked in ("highest", "float32", "high", "tensorfloat32", "BF16_BF16_F32_X3"):
        assert precision(asked) == full, asked
    for asked in (None, "default", "bfloat16"):
        assert precision(asked) == rounded, asked
    assert precision("highest", "bfloat16") == rounded


def test_what_it_lacks() -> None:
    sizes = {"steps": 4, "rows": 64, "hidden": 1024}
    for asked, message in (
        ({"platform": "cuda"}, "needs a TPU; found cuda"),
        ({"platform": "tpu", "dtype": "float64"}, "float32 or bfloat16; found float64"),
        ({"platform": "tpu"}, r"needs \d\d MiB of VMEM; found 12 MiB"),
    ):
        with pytest.raises(ValueError, match=f"{message}; .* can: fused, scan"):
            explain_engine("pallas_tpu", **sizes, **asked)  # pyrefly: ignore


def test_auto_where_it_can_run(v5e: None) -> None:
    sizes = {"steps": 4, "rows": 64, "hidden": 1024}
    choice = explain_engine(**sizes, resets=True, lengths=True, inputs=False)
    assert choice.name == "pallas_tpu" and "never measured" in choice.reason
    assert explain_engine(**sizes, dtype="float64").name == "fused"
    assert explain_engine(**sizes, masks=True).name == "scan"
    assert explain_engine(steps=4, rows=64, hidden=4096).name == "fused"


def test_auto_where_rows_may_be_spread() -> None:
    """Outside `shard_map` XLA would have to divide the kernels."""
    sizes = {"steps": 4, "rows": 8, "hidden": 8}
    one = type("Device", (), {"platform": "tpu", "device_kind": "TPU v6 lite"})
    with as_if_on([one, one]):
        choice = explain_engine(**sizes)
        assert choice.name == "fused" and "over 2 devices" in choice.reason
        assert explain_engine("pallas_tpu", **sizes).name == "pallas_tpu"
        mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
        inside = []

        def each(x: jax.Array) -> jax.Array:
            inside.append(explain_engine(**sizes).name)
            return x

        spread = PartitionSpec("rows")
        jax.shard_map(each, mesh=mesh, in_specs=spread, out_specs=spread)(jnp.ones(2))
        assert inside == ["pallas_tpu"]
    assert explain_engine(**sizes).name == "fused"


def test_vmem_does_not_depend_on_the_steps() -> None:
    """Rows and units fill registers; what is needed grows with them alone."""
    assert layout(5, 3, "float32").rows == 8 and layout(5, 3, "bfloat16").rows == 16
    assert {layout(8, units, "float32").units for units in (1, 128)} == {128}
    assert layout(8, 129, "float32").units == 256
    small, large = layout(64, 512, "float32"), layout(64, 1024, "float32")
    assert 4 * 512 * 512 * 4 < small.needed < large.needed < capacity("TPU v5 lite")
    assert layout(64, 1024, "bfloat16").needed < large.needed
    assert layout(1024, 1024, "float32").block == 1
    assert capacity("TPU v5") == 48 * 2**20 and capacity("") == 12 * 2**20
