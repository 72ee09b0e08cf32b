"""Parameters and states go through Flax's serialization, with and without biases."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import linen, serialization

from lstm_jax.cells.conv_lstm import ConvLSTMCell
from lstm_jax.cells.decay import DecayCell
from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, init_lstm
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell
from lstm_jax.nn.recurrence import lstm
from tests.helpers.reference_lstm import assert_close

CELLS = (
    *(LSTM_CELL, GRUCell(), MogrifierCell(2), DecayCell()),
    *(CoupledCell(True, 2), ConvLSTMCell(2, 2)),
)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("bias", [True, False])
def test_bytes_and_back(cell: Cell, bias: bool) -> None:
    params = cell.init(jax.random.key(0), 4, 4)
    params = params if bias else dataclasses.replace(params, b=None)
    tree = {"params": params, "state": cell.initial_state(jnp.ones((2, 4)))}
    blank = jax.tree.map(jnp.zeros_like, tree)
    assert_close(serialization.from_bytes(blank, serialization.to_bytes(tree)), tree, 0)


def test_a_linen_module_of_such_parameters() -> None:
    class Reader(linen.Module):
        @linen.compact
        def __call__(self, xs: jax.Array) -> jax.Array:
            params = self.param("lstm", lambda key: init_lstm(key, 3, 2))
            return lstm(params, xs)[0]

    xs = jnp.ones((4, 1, 3))
    held = Reader().init(jax.random.key(0), xs)
    state = serialization.to_state_dict(held)
    assert set(state["params"]["lstm"]) == {"w_x", "w_h", "b"}
    again = serialization.from_state_dict(Reader().init(jax.random.key(1), xs), state)
    assert_close(Reader().apply(again, xs), Reader().apply(held, xs), 0)


def test_the_state_of_something_else() -> None:
    params = init_lstm(jax.random.key(0), 3, 2)
    with pytest.raises(
        ValueError, match=r"^LSTMParams: expected w_x, w_h, b, found w_x$"
    ):
        serialization.from_state_dict(params, {"w_x": params.w_x})
    assert isinstance(params, LSTMParams)


WITHOUT_FLAX = """
import sys
import jax
from lstm_jax import init_lstm, lstm

params = init_lstm(jax.random.key(0), 3, 2)
lstm(params, jax.numpy.ones((4, 1, 3)))
print(*{"flax", "optax", "rich", "tyro"} & {*sys.modules})
from flax import serialization
print(*serialization.to_state_dict(params))
"""


def test_the_recurrence_does_not_wait_for_flax_which_learns_of_it_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FLAX], capture_output=True, text=True
    )
    assert done.stdout == "\nw_x w_h b\n", done.stderr
