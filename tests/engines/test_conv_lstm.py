"""The ConvLSTM against loops over places in NumPy, and as a layer like the others."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.conv_lstm import ConvLSTMCell, ConvLSTMParams, convolve
from lstm_jax.cells.lstm import LSTMState
from lstm_jax.config import RegularizerConfig
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.nn.layers import LSTM, StackedLSTM
from lstm_jax.nn.recurrence import unroll
from tests.helpers.reference_cells import State, Vector, sequence, sigmoid
from tests.helpers.reference_lstm import Array, assert_close, cast, slopes

T, B, HEIGHT, WIDTH, K, E, F = 3, 2, 2, 3, 3, 1, 2
D, H = HEIGHT * WIDTH * E, HEIGHT * WIDTH * F
CELL = ConvLSTMCell(HEIGHT, WIDTH, K)
LENGTHS = np.array([T, 2])
RESETS = np.array([[0, 1], [1, 0], [0, 1]], bool)
Given = dict[str, Any]  # params, xs, start
pytestmark = pytest.mark.usefixtures("x64")


def numbers() -> Given:
    """Random numbers everywhere."""
    rng = np.random.default_rng(3)
    kernels = rng.normal(size=(K, K, E, 4 * F)), rng.normal(size=(K, K, F, 4 * F))
    params: Any = (*kernels, rng.normal(size=4 * F))
    return {
        "params": ConvLSTMParams(*params),
        "xs": rng.normal(size=(T, B, D)),
        "start": tuple(rng.normal(size=(B, H)) for _ in "hc"),
    }


def conv_step(params: ConvLSTMParams, state: State, x: Vector) -> State:
    """The paper's equations without peepholes, place after place."""
    x = x.reshape(HEIGHT, WIDTH, E)
    h, c = (part.reshape(HEIGHT, WIDTH, F) for part in state)
    h_next, c_next = np.zeros_like(h), np.zeros_like(c)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            z = np.array(params.b)
            for i in range(K):
                for j in range(K):
                    there = row + i - K // 2, column + j - K // 2
                    if 0 <= there[0] < HEIGHT and 0 <= there[1] < WIDTH:
                        z = z + x[there] @ np.asarray(params.w_x)[i, j]
                        z = z + h[there] @ np.asarray(params.w_h)[i, j]
            i_t, f_t, g_t, o_t = np.split(z, 4)
            here = row, column
            c_next[here] = sigmoid(f_t) * c[here] + sigmoid(i_t) * np.tanh(g_t)
            h_next[here] = sigmoid(o_t) * np.tanh(c_next[here])
    return h_next.ravel(), c_next.ravel()


def loss(outcome: tuple) -> Array:
    """A number that depends on all outputs and, not linearly, on the last state."""
    weights = np.random.default_rng(9).normal(size=(T, B, H))
    ys, (h, c) = outcome
    last = (weights[0] * h**2).sum() + (weights[1] * c**3).sum()
    return (weights * ys).sum() + last


def ours(
    given: Given, flags: tuple, reverse: bool = False, remat: bool = False
) -> tuple:
    """The layer by the library."""
    lengths, resets = flags
    ys, last = unroll(
        CELL,
        given["params"],
        given["xs"],
        LSTMState(*given["start"]),
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        remat=remat,
    )
    return ys, (last.h, last.c)


@pytest.mark.parametrize("flagged", [False, True])
def test_it_is_its_equations_and_so_are_its_gradients(flagged: bool) -> None:
    """Outputs, last state, and the gradient of everything by central differences."""
    flags = (LENGTHS, RESETS) if flagged else (None, None)

    def reference(given: Given) -> tuple[NDArray, tuple]:
        parts = given["params"], given["xs"], given["start"]
        return sequence(conv_step, *parts, *flags, flagged)

    def measured(given: Given) -> tuple:
        outcome = ours(given, cast_flags, reverse=flagged)
        return loss(outcome), outcome

    cast_flags = tuple(None if each is None else jnp.asarray(each) for each in flags)
    given = numbers()
    run = jax.jit(jax.value_and_grad(measured, has_aux=True))
    (_, outcome), gradient = run(cast(given, jnp.float64))
    assert_close(outcome, reference(given), 1e-12)
    slope = slopes(lambda given: float(loss(reference(given))), given)
    assert_close(gradient, slope, 1e-7)


def test_chunks_types_and_leading_dimensions() -> None:
    given = cast(numbers(), jnp.float64)
    whole = ours(given, (None, None))
    assert_close(ours(given, (None, None), remat=True), whole, 1e-12)
    rough, (h, c) = ours(cast(numbers(), "bfloat16"), (None, None))
    assert rough.dtype == h.dtype == "bfloat16" and c.dtype == "float32"
    assert_close(rough, whole[0], 16 * float(jnp.finfo("bfloat16").eps))
    state = LSTMState(*(part[0] for part in given["start"]))
    alone = CELL.step(given["params"], state, given["xs"][0, 0])
    assert_close(alone.h, whole[0][0, 0], 1e-12)


def test_it_is_xlas_convolution() -> None:
    maps = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    kernels = jax.random.normal(jax.random.key(1), (3, 3, 3, 6))
    expected = jax.lax.conv_general_dilated(
        maps, kernels, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert_close(convolve(maps, kernels), expected, 1e-12)


def test_preactivations_come_block_by_block() -> None:
    given = cast(numbers(), jnp.float64)
    state = LSTMState(*given["start"])
    x = given["xs"][0]
    found = CELL.preactivations(given["params"], state, x)
    i, f, g, o = jnp.split(found, 4, axis=-1)
    after = CELL.step(given["params"], state, x)
    c = jax.nn.sigmoid(f) * state.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    assert_close(after.c, c, 1e-12)
    assert_close(after.h, jax.nn.sigmoid(o) * jnp.tanh(c), 1e-12)


def test_layers_take_it() -> None:
    """With regularizers, stacked, and with the forget bias of an LSTM."""
    rngs = nnx.Rngs(0)
    rates = RegularizerConfig(weight_drop=0.2, zoneout_hidden=0.1)
    layer = LSTM(D, H, rngs=rngs, cell=CELL, regularizer=rates)
    assert layer.params.b.tolist() == [0] * F + [1] * F + [0] * 2 * F
    xs = jnp.asarray(np.swapaxes(numbers()["xs"], 0, 1), jnp.float32)
    ys, _ = layer(xs, key=jax.random.key(0))
    assert ys.shape == (B, T, H)
    stack = StackedLSTM(D, H, 2, rngs=rngs, cell=CELL)
    ys, states = stack(xs)
    assert ys.shape == (B, T, H) and len(states) == 2
    upper = stack.layers[1]
    assert isinstance(upper, LSTM) and upper.w_x.shape == (K, K, F, 4 * F)
    chosen = explain_engine(steps=T, rows=B, hidden=H, cell=CELL)
    assert chosen.name == "scan"


def test_what_does_not_fit_is_refused() -> None:
    given = cast(numbers(), jnp.float64)
    with pytest.raises(ValueError, match=r"inputs \[T, B, 6\], time first, found"):
        unroll(CELL, given["params"], given["xs"][..., :3])
    for name, shape in (("w_x", (3, 3, 1, 4)), ("w_h", (1, 1, 2, 8)), ("b", (4,))):
        bad = dataclasses.replace(given["params"], **{name: jnp.zeros(shape)})
        with pytest.raises(ValueError, match=f"conv_lstm: expected {name} .*found"):
            unroll(CELL, bad, given["xs"])
    with pytest.raises(ValueError, match="a multiple of 2 x 3 = 6 numbers, found 7"):
        CELL.init(jax.random.key(0), 7, 6)
    with pytest.raises(ValueError, match="an odd kernel, found 2, 3 and 4"):
        ConvLSTMCell(2, 3, 4)
