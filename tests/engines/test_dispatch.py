"""The table of engines: what is chosen, what is refused, and what is said of it."""

import dataclasses
import typing
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import lstm_jax.nn.recurrence
from lstm_jax.cells.lstm import LSTM_CELL, LSTMCell, LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.config import EngineName, RegularizerConfig
from lstm_jax.engines.dispatch import ENGINES, Engine, check_engine_name, explain_engine
from lstm_jax.engines.spec import RecurrenceSpec
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.task import engine_of
from lstm_jax.nn.recurrence import lstm, unroll
from tests.helpers.reference_lstm import assert_close

SIZES = {"steps": 4, "rows": 2, "hidden": 3}


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm"])
def test_auto_is_the_fused_engine(platform: str) -> None:
    """For everything but TPUs; and it says where that was never measured."""
    for dtype in ("float32", "bfloat16", "float64"):
        choice = explain_engine(
            platform=platform, dtype=dtype, lengths=True, resets=True, **SIZES
        )
        assert choice.name == "fused"
        assert ("none was measured on" in choice.reason) == (platform != "cpu")
        assert choice.others.keys() == ENGINES.keys() - {"fused"}


def test_it_is_explained_in_a_few_lines() -> None:
    text = str(explain_engine("scan", platform="cpu", **SIZES))
    assert text == (
        "engine scan: asked for by name\n"
        "    not fused: possible too: the fastest one of XLA's own, on every platform\n"
        "    not native: possible too: the fastest one measured on CPU, a kernel "
        "compiled on this machine\n"
        "    not cudnn: needs a CUDA device; found cpu\n"
        "    not pallas_gpu: needs a CUDA device; found cpu\n"
        "    not pallas_tpu: needs a TPU; found cpu"
    )


def test_the_platform_is_that_of_this_machine() -> None:
    assert "found cpu" in explain_engine(**SIZES).others["cudnn"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"platform": "tpu"}, "needs a CUDA device; found tpu"),
        ({"dtype": jnp.bfloat16}, "needs float32; found bfloat16"),
        ({"dtype": "float64"}, "needs float32; found float64"),
        ({"resets": True}, "needs one sequence per row; found resets"),
        ({"inputs": False}, "needs the inputs; found only their share of the gates"),
        (
            {"platform": "cpu", "dtype": "float16"},
            "needs a CUDA device, float32; found cpu, float16",
        ),
    ],
)
def test_what_cudnn_lacks(asked: dict, message: str) -> None:
    asked = {"platform": "cuda", **SIZES, **asked}
    with pytest.raises(ValueError) as raised:
        explain_engine("cudnn", **asked)
    able = "fused, scan, pallas_tpu" if asked["platform"] == "tpu" else "fused, scan"
    assert str(raised.value) == f"engine 'cudnn': {message}; engines that can: {able}"
    assert explain_engine(**asked).others["cudnn"] == message


def test_what_cudnn_can_do() -> None:
    choice = explain_engine(
        "cudnn", platform="cuda", lengths=True, reverse=True, **SIZES
    )
    assert (choice.name, choice.reason) == ("cudnn", "asked for by name")


@pytest.mark.parametrize("engine", ["", "fast"])
def test_unknown_engine(engine: str) -> None:
    message = f"expected one of auto, {', '.join(ENGINES)}, found '{engine}'"
    for refuse in (
        lambda: explain_engine(engine, **SIZES),
        lambda: check_engine_name(engine),
    ):
        with pytest.raises(ValueError, match=message):
            refuse()


def test_an_engine_is_one_line_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is handed what is asked, and runs when it is named and has nothing against."""
    asked = []

    def unsupported(spec: RecurrenceSpec) -> str | None:
        asked.append(spec)
        return "needs one row; found more" if spec.rows > 1 else None

    def run(z: jax.Array, w_h: jax.Array, state: object, *_: object) -> tuple:
        return jnp.full((*z.shape[:2], len(w_h)), 7.0, z.dtype), state

    monkeypatch.setitem(
        ENGINES, "seven", Engine(lambda cell: run, "is quick", unsupported)
    )
    params = LSTMParams(jnp.ones((2, 12)), jnp.ones((3, 12)), jnp.ones(12))
    ys, _ = lstm(params, jnp.ones((4, 1, 2)), engine="seven", reverse=True)
    assert (ys == 7).all()
    here = {"device_kind": jax.devices()[0].device_kind, "devices": 2}
    assert asked == [RecurrenceSpec("cpu", "float32", 4, 1, 3, reverse=True, **here)]
    with pytest.raises(ValueError, match=r"one row; found more; .* can: fused, scan, "):
        lstm(params, jnp.ones((4, 2, 2)), engine="seven")
    z = jnp.ones((4, 1, 12))
    lstm_jax.nn.recurrence.unroll_projected(
        LSTM_CELL,
        z,
        params.w_h,
        params.w_h,
        lengths=jnp.ones(1, int),
        resets=jnp.ones((4, 1), bool),
        engine="seven",
    )
    assert asked[-1] == RecurrenceSpec(
        "cpu", "float32", 4, 1, 3, lengths=True, resets=True, inputs=False, **here
    )


@pytest.mark.parametrize("kind", [LSTMCell, MogrifierCell])
def test_a_cell_made_of_one_of_ours_has_its_own_equations(kind: type[Cell]) -> None:
    """No loop that was written for ours is taken for it."""

    def advance(cell: Cell, *arguments: Any) -> LSTMState:  # noqa: ANN401
        after = kind.advance(cell, *arguments)
        return LSTMState(-after.h, after.c)

    cell = type("Negated", (kind,), {"advance": advance})()
    xs = jax.random.normal(jax.random.key(0), (70, 2, 3))
    params = kind().init(jax.random.key(1), 3, 4)
    ys, _ = unroll(cell, params, xs)
    assert explain_engine(cell=cell, **SIZES).name == "scan"
    assert_close(ys, unroll(cell, params, xs, engine="scan")[0], 1e-6)
    assert jnp.abs(ys - unroll(kind(), params, xs)[0]).max() > 0.1


def test_only_scan_runs_masks() -> None:
    """With them "auto" is scan, and says why; what the others lack is said too."""
    choice = explain_engine(masks=True, **SIZES)
    assert choice.name == "scan"
    assert "recurrent dropout and zoneout" in choice.reason
    lack = "cannot have recurrent dropout or zoneout, which act inside the loop"
    assert choice.others == dict.fromkeys(ENGINES.keys() - {"scan"}, lack)
    for engine in choice.others:
        for refuse in (
            lambda engine=engine: explain_engine(engine, masks=True, **SIZES),
            lambda engine=engine: check_engine_name(engine, masks=True),
        ):
            with pytest.raises(ValueError, match=f"'{engine}': {lack}; .* can: scan$"):
                refuse()
    assert check_engine_name("auto", masks=True) == "auto"


def test_the_flag_has_every_engine() -> None:
    assert set(typing.get_args(EngineName)) == {"auto", *ENGINES}


def test_the_engine_of_a_run(cuda: None) -> None:
    """A language model reads its gates from a table, and has no inputs."""
    config = TrainConfig(
        model=ModelConfig(hidden=5, engine="scan"),
        optimizer=OptimizerConfig(batch=3, length=7),
    )
    assert engine_of(config).name == "scan"
    noisy = RegularizerConfig(zoneout_cell=0.1)
    plain = TrainConfig(model=ModelConfig(hidden=5))
    assert engine_of(dataclasses.replace(plain, regularizer=noisy)).name == "scan"
    assert engine_of(plain).name == "fused"
    model = dataclasses.replace(config.model, engine="cudnn")
    with pytest.raises(InputError, match="--engine: engine 'cudnn': needs the inputs"):
        engine_of(dataclasses.replace(config, model=model))
