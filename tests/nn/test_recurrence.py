"""The laws of the recurrence; `test_equivalence.py` holds it to a reference.

Unless said otherwise the arithmetic is float64 and results must agree to 1e-12 of the
largest element: what remains is the order of a few dozen additions.
"""

import functools
import inspect
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState, lstm_step
from lstm_jax.nn.recurrence import lstm, unroll
from tests.helpers.reference_lstm import (
    Array,
    Case,
    Outcome,
    assert_close,
    cast,
    loss,
    random_case,
)

T, B, D, H = 5, 4, 2, 3
CASE = random_case(0, T, B, D, H)
WEIGHTS = random_case(1, T, B, H, H).xs  # of the outputs in the loss
LENGTHS = np.array([T, 0, 3, 1])
PADDED = np.arange(T)[:, None] >= LENGTHS
RESETS = np.array(
    [  # one line per row of the batch, one column per step
        [1, 0, 1, 0, 0],
        [0, 1, 0, 0, 1],
        [0, 1, 1, 0, 0],
        [1, 0, 0, 0, 1],
    ],
    bool,
).T

Result = tuple[Outcome, Case]  # outputs, last h, last c; and the gradient of the loss

ENGINES = ("scan", "fused")
each_engine = pytest.mark.parametrize("engine", ENGINES)
each_way = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "back"])
pytestmark = pytest.mark.usefixtures("x64")


def run(
    case: Case,
    lengths: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    engine: str = "auto",
) -> Outcome:
    """`lstm` on arrays from NumPy or JAX."""
    case, lengths, resets = jax.tree.map(jnp.asarray, (case, lengths, resets))
    ys, last = lstm(
        LSTMParams(case.w_x, case.w_h, case.b),
        case.xs,
        None if case.h is None else LSTMState(case.h, case.c),
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        engine=engine,
    )
    return ys, last.h, last.c


def result(function: Callable[[Case], Outcome], case: Case) -> Result:
    """What a function of a case returns, and the gradient of the loss of that."""

    def measure(case: Case) -> tuple[jax.Array, Outcome]:
        outcome = function(case)
        return loss(WEIGHTS, outcome), outcome

    (_, outcome), gradient = jax.value_and_grad(measure, has_aux=True)(case)
    return outcome, gradient


@functools.partial(jax.jit, static_argnames=("reverse", "engine"))
def library(
    case: Case,
    lengths: jax.Array | None = None,
    resets: jax.Array | None = None,
    reverse: bool = False,
    engine: str = "auto",
) -> Result:
    """The result of `lstm`, compiled once for all tests that ask for the same."""
    return result(lambda case: run(case, lengths, resets, reverse, engine), case)


# Against references.


@each_way
@each_engine
def test_flax_rnn(engine: str, reverse: bool) -> None:
    case = cast(CASE, float)
    cell = nnx.OptimizedLSTMCell(
        D,
        H,
        kernel_init=lambda *_: case.w_x,
        recurrent_kernel_init=lambda *_: case.w_h,
        bias_init=lambda *_: case.b,
        rngs=nnx.Rngs(0),
    )
    flax = nnx.RNN(cell, time_major=True, reverse=reverse, keep_order=True)
    (c, h), ys = flax(case.xs, initial_carry=(case.c, case.h), return_carry=True)
    assert_close(run(case, engine=engine, reverse=reverse), (ys, h, c), 1e-12)


# Laws.


@each_engine
def test_a_loop_over_steps(engine: str) -> None:
    case = cast(CASE, float)
    params, state = LSTMParams(case.w_x, case.w_h, case.b), LSTMState(case.h, case.c)
    ys = []
    for x in case.xs:
        state = lstm_step(params, state, x)
        ys.append(state.h)
    assert_close(run(case, engine=engine), (jnp.stack(ys), state.h, state.c), 1e-12)


@each_way
@each_engine
def test_resets_make_separate_sequences(engine: str, reverse: bool) -> None:
    """Two packed in a row are the two alone, each row meeting its neighbour anew."""
    cut = 2
    resets = np.zeros((T, B), bool)
    resets[cut] = True

    def alone(case: Case) -> Outcome:
        """Only the one that is entered first continues from the state."""
        fresh = case._replace(h=None, c=None)
        cases = (fresh, case) if reverse else (case, fresh)
        parts = [
            run(case._replace(xs=xs), reverse=reverse, engine=engine)
            for case, xs in zip(cases, jnp.split(case.xs, [cut]), strict=True)
        ]
        _, h, c = parts[0 if reverse else 1]
        return jnp.concatenate([ys for ys, _, _ in parts]), h, c

    case = cast(CASE, float)
    packed, _ = library(case, None, resets, reverse=reverse, engine=engine)
    assert_close(packed, jax.jit(alone)(case), 1e-12)


@each_way
@each_engine
def test_flags_in_padding_mean_nothing(engine: str, reverse: bool) -> None:
    case, arguments = cast(CASE, float), {"reverse": reverse, "engine": engine}
    clean = library(case, LENGTHS, RESETS, **arguments)
    dirty = library(case, LENGTHS, RESETS | PADDED, **arguments)
    assert_close(dirty, clean, 1e-13)


@each_way
@each_engine
def test_empty_rows_return_their_state(engine: str, reverse: bool) -> None:
    """To the last bit, and outputs that are exactly zero."""
    lengths, case = np.zeros(B, int), cast(CASE, float)
    (ys, h, c), _ = library(case, lengths, reverse=reverse, engine=engine)
    assert not ys.any()
    np.testing.assert_array_equal(h, case.h)
    np.testing.assert_array_equal(c, case.c)


@each_way
@each_engine
def test_causality(engine: str, reverse: bool) -> None:
    """An output depends on the inputs of its own sequence up to it, and on no other.

    Shown by the Jacobian: exactly zero where there is no path from input to output;
    where there is one, random weights leave no chance of a zero.
    """

    @jax.jit
    def jacobian(xs: Array, lengths: Array, resets: Array) -> Array:
        def outputs(xs: Array) -> Array:
            case = cast(CASE, float)._replace(xs=xs)
            return run(case, lengths, resets, reverse, engine)[0]

        return jax.jacrev(outputs)(xs)

    t, s = np.arange(T)[:, None, None, None], np.arange(T)[:, None]
    for lengths, resets in [(np.full(B, T), np.zeros((T, B), bool)), (LENGTHS, RESETS)]:
        depends = jacobian(CASE.xs, lengths, resets) != 0  # [T, B, H, T, B, D]
        expected = np.eye(B, dtype=bool)[:, None] & (t <= s if reverse else s <= t)
        begun = resets.cumsum(axis=0)  # the number of the sequence in its row
        expected &= begun[:, :, None, None] == begun
        expected &= (t < lengths[:, None, None]) & (s < lengths)
        np.testing.assert_array_equal(depends.any(axis=(2, 5)), expected)


# What JAX's transformations make of it.


def test_forward_mode_of_scan() -> None:
    """The derivative along a direction is the gradient times that direction."""
    case, direction = cast(CASE, float), cast(random_case(3, T, B, D, H), float)

    def measure(case: Case) -> jax.Array:
        return loss(WEIGHTS, run(case, LENGTHS, RESETS, engine="scan"))

    _, along = jax.jit(lambda *pair: jax.jvp(measure, *pair))((case,), (direction,))
    _, gradient = library(case, LENGTHS, RESETS, engine="scan")
    products = jax.tree.map(lambda a, b: (a * b).sum(), gradient, direction)
    np.testing.assert_allclose(along, sum(products), rtol=1e-12)


def test_second_derivative_of_scan() -> None:
    """The Hessian in w_h is the slope of the gradient."""
    case = cast(random_case(4, 3, 1, 1, 2), float)

    def measure(w_h: jax.Array) -> jax.Array:
        outcome = run(case._replace(w_h=w_h), engine="scan")
        return loss(WEIGHTS[:3, :1, :2], outcome)

    hessian = jax.jit(jax.hessian(measure))(case.w_h)
    gradient = jax.jit(jax.grad(measure))
    nudges = 1e-5 * jnp.eye(case.w_h.size).reshape(-1, *case.w_h.shape)
    rises = [gradient(case.w_h + n) - gradient(case.w_h - n) for n in nudges]
    numeric = jnp.stack(rises, axis=-1).reshape(hessian.shape) / 2e-5
    assert_close(hessian, numeric, 1e-8)


@each_engine
def test_jit_changes_nothing(engine: str) -> None:
    """With a state going in and coming out, and the options static."""
    case = cast(CASE, float)
    params, state = LSTMParams(case.w_x, case.w_h, case.b), LSTMState(case.h, case.c)
    compiled = jax.jit(lstm, static_argnames=("reverse", "engine"))
    arguments = {"resets": jnp.asarray(RESETS), "reverse": True, "engine": engine}
    eager = lstm(params, case.xs, state, **arguments)
    assert_close(compiled(params, case.xs, state, **arguments), eager, 1e-12)


# Choices and refusals.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"xs": CASE.xs[:0]}, "expected at least one time step, found 0"),
        (
            {"xs": CASE.xs[..., :1]},
            "expected inputs [T, B, 2], time first, found [5, 4, 1]",
        ),
        (
            {"h": CASE.h[:2], "c": CASE.c[:2]},
            "expected a state h [4, 3] and c [4, 3], found h [2, 3] and c [2, 3]",
        ),
        ({"h": CASE.h[:, :2]}, "found h [4, 2] and c [4, 3]"),
        ({"c": CASE.c[:, :2]}, "found h [4, 3] and c [4, 2]"),
        (
            {"w_x": CASE.w_x[:, :9]},
            "expected w_x [D, 12] for H = 3, found [2, 9]",
        ),
        ({"w_h": CASE.w_h[:, :9]}, "expected w_h [3, 12] for H = 3, found [3, 9]"),
        ({"b": CASE.b[:1]}, "expected b [12] for H = 3, found [1]"),
        ({"b": CASE.b[None]}, "expected b [12] for H = 3, found [1, 12]"),
        ({"b": CASE.b[0]}, "expected b [12] for H = 3, found []"),
        ({"w_x": CASE.w_x[0]}, "expected w_x [D, 12] for H = 3, found [12]"),
        ({"w_x": CASE.w_x[:0]}, "expected w_x [D, 12] for H = 3, found [0, 12]"),
        ({"w_h": CASE.w_h[:0]}, "expected w_h of 1 unit or more, found [0, 12]"),
    ],
)
@each_engine
def test_shapes_that_do_not_fit(engine: str, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(CASE._replace(**changes), engine=engine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": LENGTHS[:1]}, "expected lengths [B] = [4], found [1]"),
        ({"lengths": LENGTHS[:, None]}, "expected lengths [B] = [4], found [4, 1]"),
        ({"resets": RESETS[:, :1]}, "expected resets [T, B] = [5, 4], found [5, 1]"),
        ({"resets": RESETS[:1]}, "expected resets [T, B] = [5, 4], found [1, 4]"),
        ({"resets": RESETS.T}, "expected resets [T, B] = [5, 4], found [4, 5]"),
    ],
)
def test_options_that_would_only_broadcast(options: dict, message: str) -> None:
    unchecked = functools.partial(
        inspect.unwrap(unroll), LSTM_CELL
    )  # without the tests' own checks of shapes
    case = cast(CASE, float)
    params = LSTMParams(case.w_x, case.w_h, case.b)
    with pytest.raises(ValueError, match=re.escape(message)):
        unchecked(params, case.xs, **jax.tree.map(jnp.asarray, options))
