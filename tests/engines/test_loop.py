"""The loop over time takes several steps a turn on a GPU, and means the same."""

import types
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.engines.devices import as_if_on
from lstm_jax.nn.recurrence import unroll
from tests.helpers.reference_lstm import Array, assert_close

T, B, D, H = 7, 3, 4, 4  # a turn and a part of one
GPU = types.SimpleNamespace(
    platform="gpu",
    device_kind="GPU",
    client=types.SimpleNamespace(platform_version="rocm"),
)
ENGINES = [
    ("fused", LSTM_CELL),
    ("fused", MogrifierCell(rounds=2)),
    ("scan", LSTM_CELL),
]


def program(
    engine: str, cell: Cell, reverse: bool = False
) -> tuple[Callable[..., tuple], tuple]:
    """Outputs and gradients of a loop with lengths and resets, and its operands."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = cell.init(keys[0], D, H)
    xs, dys = (jax.random.normal(key, (T, B, D)) for key in keys[1:3])
    given = {
        "lengths": jnp.array([T, 0, 5]),
        "resets": jax.random.bernoulli(keys[3], 0.3, (T, B)),
    }

    def both(params: object, xs: Array, dys: Array) -> tuple:
        def outputs(params: object, xs: Array) -> Array:
            return unroll(cell, params, xs, engine=engine, reverse=reverse, **given)[0]

        ys, back = jax.vjp(outputs, params, xs)
        return ys, back(dys)

    return both, (params, xs, dys)


@pytest.mark.parametrize(("engine", "cell"), ENGINES)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_turn_of_several_steps_means_the_same(
    engine: str, cell: Cell, reverse: bool
) -> None:
    function, operands = program(engine, cell, reverse)
    wanted = jax.jit(function)(*operands)
    with as_if_on([GPU]):
        traced = jax.jit(lambda *operands: function(*operands)).trace(*operands)
    assert "unroll=4" in str(traced.jaxpr) and "unroll=1" not in str(traced.jaxpr)
    found = traced.lower().compile()(*operands)
    assert_close(found, wanted, 1e-6)


def test_one_step_a_turn_where_nothing_is_launched() -> None:
    function, operands = program("fused", LSTM_CELL)
    assert "unroll=4" not in str(jax.make_jaxpr(function)(*operands))


def test_the_reference_adds_up_gradients_once_for_several_devices() -> None:
    function, operands = program("scan", LSTM_CELL)
    with as_if_on([GPU, GPU]):
        assert "unroll=4" not in str(jax.make_jaxpr(function)(*operands))
