"""What people pass: taken where its meaning is plain, refused in a line where not."""

import collections
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTMParams, LSTMState, init_lstm
from lstm_jax.nn.arguments import check_params, read_sequences
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM
from lstm_jax.nn.recurrence import lstm, unroll
from tests.helpers.reference_lstm import assert_close

T, B, D, H = 5, 4, 3, 2
PARAMS = init_lstm(jax.random.key(0), D, H)
XS = jax.random.normal(jax.random.key(1), (T, B, D))
ROWS = XS.swapaxes(0, 1)
STATE = LSTMState(*jax.random.normal(jax.random.key(2), (2, B, H)))
STACK = StackedLSTM(D, H, 2, rngs=nnx.Rngs(0))
Carry = collections.namedtuple("Carry", ["c", "h"])


@pytest.mark.parametrize(
    "state",
    [
        (STATE.h, STATE.c),
        [np.asarray(STATE.h), np.asarray(STATE.c)],
        Carry(STATE.c, STATE.h),  # by name, in whatever order
        {"c": STATE.c, "h": STATE.h},
    ],
    ids=["tuple", "list", "named", "dict"],
)
def test_states_of_other_kinds(state: Any) -> None:  # noqa: ANN401
    assert_close(lstm(PARAMS, XS, state), lstm(PARAMS, XS, STATE), 0)


def test_a_state_of_one_array() -> None:
    cell = GRUCell()
    params = cell.init(jax.random.key(0), D, H)
    ys, last = unroll(cell, params, XS, STATE.h)
    assert_close(unroll(cell, params, XS, (STATE.h,)), (ys, last), 0)
    assert_close(last.h, ys[-1], 0)


def test_lengths_and_flags_of_other_kinds() -> None:
    """Lists, NumPy arrays, numbers in the place of truth values, and both together."""
    lengths = [T, 3, 0, 1]
    flags = np.random.default_rng(0).random((T, B)) < 0.5
    expected = lstm(
        PARAMS, XS, lengths=jnp.array(lengths), resets=jnp.array(flags), reverse=True
    )
    for resets in (flags, flags.astype(int), flags.tolist(), jnp.array(2 * flags)):
        found = lstm(PARAMS, XS, lengths=lengths, resets=resets, reverse=True)
        assert_close(found, expected, 0)
    ys, _ = StackedLSTM(D, H, 2, rngs=nnx.Rngs(0))(ROWS, lengths=lengths)
    assert not ys[1, 3:].any()
    # Under jit nobody knows them: they are what they are.
    jax.jit(lambda n: lstm(PARAMS, XS, lengths=n)[0])(jnp.array([T + 1, 0, 0, 0]))


def make_bidirectional(merge: Any) -> Bidirectional:  # noqa: ANN401
    return Bidirectional(D, H, merge=merge, rngs=nnx.Rngs(0))


def refused(message: str, call: Callable) -> Any:  # noqa: ANN401
    """A call, and the whole line that it should be refused with."""
    return pytest.param(message, call, id=message[:40])


@pytest.mark.parametrize(
    ("message", "call"),
    [
        refused(
            "lstm: expected lengths from 0 to T = 5, found 6",
            lambda: lstm(PARAMS, XS, lengths=[1, 6, 0, 0]),
        ),
        refused(
            "LSTM: expected lengths from 0 to T = 5, found -1",
            lambda: STACK(ROWS, lengths=np.array([1, -1, 0, 0])),
        ),
        refused(
            "lstm: expected lengths of whole numbers, found float32",
            lambda: lstm(PARAMS, XS, lengths=[1.0, 2.0, 0.5, 0.0]),
        ),
        refused(
            "lstm: expected lengths of whole numbers, found bool",
            lambda: lstm(PARAMS, XS, lengths=[True, True, True, True]),
        ),
        refused(
            "lstm: expected resets of bool or whole numbers, found float32",
            lambda: lstm(PARAMS, XS, resets=np.zeros((T, B))),
        ),
        refused(
            "LSTM: expected mask [B, T] = [4, 5], found [5, 4]",
            lambda: STACK(ROWS, mask=np.ones((T, B), bool)),
        ),
        refused(
            "LSTM: expected inputs [B, T, 3], batch first, found [4, 5, 2]",
            lambda: STACK(ROWS[..., :2]),
        ),
        refused(
            "LSTM: expected inputs [B, T, 3], batch first, found [5, 3]",
            lambda: STACK.layers[0](ROWS[0]),
        ),
        refused(
            "LSTM: expected lengths [*batch] = [2, 2], found [4]",
            lambda: STACK(ROWS.reshape(2, 2, T, D), lengths=[1, 1, 1, 1]),
        ),
        refused(
            "LSTM: expected a state h [4, 2] and c [4, 2], found h [2, 4] and c [2, 4]",
            lambda: STACK.layers[0](ROWS, (STATE.h.T, STATE.c.T)),
        ),
        refused(
            "lstm: expected at least one row, found 0", lambda: lstm(PARAMS, XS[:, :0])
        ),
        refused(
            "lstm: expected inputs [T, B, 3], time first, found [5, 4, 0]",
            lambda: lstm(PARAMS, XS[..., :0]),
        ),
        refused(
            "lstm: expected w_x [D, 8] for H = 2, found [0, 8]",
            lambda: lstm(LSTMParams(PARAMS.w_x[:0], PARAMS.w_h, PARAMS.b), XS[..., :0]),
        ),
        refused(
            "lstm: expected a state, LSTMState or a tuple (h, c) of arrays, found a "
            "tuple of 3",
            lambda: lstm(PARAMS, XS, (STATE.h, STATE.c, STATE.c)),
        ),
        refused(
            "LSTM: expected a state, LSTMState or a tuple (h, c) of arrays, found a "
            "single array [2, 4, 2]",
            lambda: STACK(ROWS, (jnp.zeros((2, B, H)), jnp.zeros((2, B, H)))),
        ),
        refused(
            "StackedLSTM: expected a state for each layer, a tuple of 2, "
            "found one LSTMState",
            lambda: STACK(ROWS, STATE),
        ),
        refused(
            "StackedLSTM: expected a state for each layer, a tuple of 2, found 1",
            lambda: STACK(ROWS, (STATE,)),
        ),
        refused(
            "Bidirectional: expected a state for each direction, a tuple of 2, "
            "found one LSTMState",
            lambda: Bidirectional(D, H, rngs=nnx.Rngs(0))(ROWS, STATE),
        ),
        refused(
            "merge: expected one of concat, sum, mul, ave, none, found 'add'",
            lambda: make_bidirectional("add"),
        ),
        refused(
            "StackedLSTM: expected 3 widths, one for each layer, found 2",
            lambda: StackedLSTM(D, [H, H], 3, rngs=nnx.Rngs(0)),
        ),
        refused(
            "StackedLSTM: expected num_layers, or a width for each",
            lambda: StackedLSTM(D, H, rngs=nnx.Rngs(0)),
        ),
        refused(
            "StackedLSTM: expected layers of one width for residual connections, "
            "found 3 above 2",
            lambda: StackedLSTM(D, [2, 3], residual=True, rngs=nnx.Rngs(0)),
        ),
    ],
)
def test_refusals(message: str, call: Callable) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_refusals_that_annotations_forestall_here() -> None:
    """Where annotations are checked, as in these tests, they come first."""
    message = (
        "lstm: expected parameters LSTMParams, found a dict; make one by "
        "LSTMParams(**params)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        check_params("lstm", LSTM(D, H, rngs=nnx.Rngs(0)).cell, vars(PARAMS))
    with pytest.raises(ValueError, match="expected real inputs, found complex64"):
        read_sequences("lstm", 1j * np.asarray(XS), D)


# A key that was forgotten.


def trained(layer: Any, **options: Any) -> Any:  # noqa: ANN401
    """The gradient of a loss of a layer."""
    return jax.grad(jax.jit(lambda layer: layer(ROWS, **options)[0].sum()))(layer)


def test_training_without_a_key_is_told() -> None:
    noisy = StackedLSTM(D, H, 2, dropout=0.5, rngs=nnx.Rngs(0))
    jax.jit(lambda layer: layer(ROWS)[0])(noisy)  # evaluation: not a word
    trained(noisy, key=jax.random.key(0))
    trained(STACK)
    with pytest.warns(UserWarning, match=r"StackedLSTM: its dropout .* no key"):
        gradient = trained(noisy)
    plain = jax.tree.leaves(trained(STACK))
    assert_close(jax.tree.leaves(gradient), plain, 0)


# Forward mode.


@pytest.mark.parametrize("engine", ["fused", "native"])
def test_forward_mode_is_refused_by_name(engine: str) -> None:
    """Eagerly, compiled, and as a Jacobian; while reverse mode goes through."""

    def read(xs: jax.Array) -> jax.Array:
        return lstm(PARAMS, xs, engine=engine)[0]

    for derivative in (
        lambda: jax.jvp(read, (XS,), (XS,)),
        lambda: jax.jit(lambda xs: jax.jvp(read, (xs,), (xs,)))(XS),
        lambda: jax.jit(jax.jacfwd(lambda xs: read(xs).sum()))(XS),
    ):
        with pytest.raises(ValueError, match=rf"^engine '{engine}': .* can: scan"):
            derivative()


@pytest.mark.usefixtures("x64")
def test_second_derivatives_of_fused_are_those_of_scan() -> None:
    """A Hessian, and the gradient of a gradient of everything, with flags."""
    case = jax.tree.map(lambda a: a.astype(float), (PARAMS, XS[:3], STATE))
    flags = {"lengths": [3, 2, 0, 1], "resets": np.eye(3, B, dtype=bool)}

    def loss(engine: str, given: tuple) -> jax.Array:
        params, xs, state = given
        ys, last = lstm(params, xs, state, engine=engine, **flags)
        return (ys**3).sum() + (last.c**2).sum()

    @functools.partial(jax.jit, static_argnums=0)
    def second(engine: str, given: tuple) -> tuple:
        def of(b: jax.Array) -> jax.Array:
            params = LSTMParams(given[0].w_x, given[0].w_h, b)
            return loss(engine, (params, *given[1:]))

        def size(given: tuple) -> jax.Array:
            gradient = jax.grad(functools.partial(loss, engine))(given)
            sizes = [(leaf**2).sum() for leaf in jax.tree.leaves(gradient)]
            return jnp.stack(sizes).sum()

        return jax.hessian(of)(given[0].b), jax.grad(size)(given)

    assert_close(second("fused", case), second("scan", case), 1e-12)
