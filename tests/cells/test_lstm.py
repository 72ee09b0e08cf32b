"""The cell against the equations and against Flax, and what it starts from."""

import functools
import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import GATES, LSTMParams, LSTMState, init_lstm, lstm_step
from tests.helpers.reference_lstm import (
    Array,
    Case,
    assert_close,
    cast,
    random_case,
    step,
)

T, B, D, H = 2, 3, 4, 5
CASE = random_case(0, T, B, D, H)
PAIRS = list(itertools.combinations(range(len(GATES)), 2))


def params_of(case: Case) -> LSTMParams:
    """The weights of a case."""
    return LSTMParams(case.w_x, case.w_h, case.b)


def walk(case: Case) -> tuple[Array, Array]:
    """The h and c after every step of the library's cell, [T, B, H] each."""
    states = [LSTMState(case.h, case.c)]
    for x in case.xs:
        states.append(lstm_step(params_of(case), states[-1], x))
    return jnp.stack([s.h for s in states[1:]]), jnp.stack([s.c for s in states[1:]])


def walk_numpy(case: Case) -> tuple[Array, Array]:
    """The same from the equations, row by row."""
    states = np.zeros((2, T, B, H))
    for row in range(B):
        h, c = case.h[row], case.c[row]
        for t in range(T):
            h, c = step(case, h, c, case.xs[t, row])
            states[:, t, row] = h, c
    return states[0], states[1]


def walk_flax(case: Case, kind: str) -> tuple[Array, Array]:
    """The same from one of Flax's cells, which carries (c, h)."""
    cell, carry, states = flax_cell(case, kind), (case.c, case.h), []
    for x in case.xs:
        carry, _ = cell(carry, x)
        states.append(carry)
    return jnp.stack([h for _, h in states]), jnp.stack([c for c, _ in states])


def flax_cell(case: Case, kind: str) -> nnx.Module:
    """Flax's cell with the weights of a case."""
    cell = getattr(nnx, kind)(D, H, param_dtype=float, rngs=nnx.Rngs(0))
    if kind == "OptimizedLSTMCell":
        cell.dense_i.kernel[...] = case.w_x
        cell.dense_h.kernel[...] = case.w_h
        cell.dense_h.bias[...] = case.b
        return cell
    gates = [jnp.split(array, len(GATES), axis=-1) for array in case[:3]]
    for gate, w_x, w_h, b in zip(("i", "f", "g", "o"), *gates, strict=True):
        to_gate = getattr(cell, "if_" if gate == "f" else f"i{gate}")
        to_gate.kernel[...] = w_x
        getattr(cell, f"h{gate}").kernel[...] = w_h
        getattr(cell, f"h{gate}").bias[...] = b
    return cell


def with_gates_swapped(case: Case, pair: tuple[int, int]) -> Case:
    """The case with two gates' columns exchanged in all its weights."""
    columns = np.arange(4 * H).reshape(4, H)
    columns[list(pair)] = columns[list(pair[::-1])]
    order = columns.ravel()
    w_x, w_h, b = (array[..., order] for array in case[:3])
    return case._replace(w_x=w_x, w_h=w_h, b=b)


@pytest.mark.usefixtures("x64")
def test_step_is_the_equations() -> None:
    """Two steps, so that the carried state is used and not only made."""
    assert_close(walk(cast(CASE, float)), walk_numpy(CASE), 1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["LSTMCell", "OptimizedLSTMCell"])
def test_step_is_that_of_flax(kind: str) -> None:
    case = cast(CASE, float)
    assert_close(walk(case), walk_flax(case, kind), 1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: "".join(GATES[k] for k in p))
def test_every_gate_has_its_own_role(pair: tuple[int, int]) -> None:
    """The two tests above would notice any two gates in each other's place."""
    swapped = walk(cast(with_gates_swapped(CASE, pair), float))
    for ours, theirs in zip(swapped, walk_numpy(CASE), strict=True):
        assert np.abs(ours - theirs).max() > 0.1


def test_one_row_or_many() -> None:
    """A vector, a batch, and a batch of batches are the same rows."""
    case = cast(CASE, "float32")
    advance = functools.partial(lstm_step, params_of(case))
    state, x = LSTMState(case.h, case.c), case.xs[0]
    batch = advance(state, x)
    rows = [advance(LSTMState(case.h[row], case.c[row]), x[row]) for row in range(B)]
    assert_close(jax.tree.map(lambda *a: jnp.stack(a), *rows), batch, 1e-6)
    nested = advance(jax.tree.map(lambda a: a[None], state), x[None])
    assert_close(nested, jax.tree.map(lambda a: a[None], batch), 1e-6)


def test_cell_state_stays_float32() -> None:
    """Of a sum of 1000 steps in bfloat16, which has 8 bits, most would be lost."""
    case = cast(CASE, "bfloat16")
    # All gates wide open and g = 0.01: c grows by 0.01 at every step.
    open_wide = jnp.repeat(jnp.array([9.0, 99.0, 0.01, 9.0]), H).astype("bfloat16")
    params = LSTMParams(0 * case.w_x, 0 * case.w_h, open_wide)
    state = LSTMState(h=jnp.zeros(H, "bfloat16"), c=jnp.zeros(H))
    advance = jax.jit(lambda _, state: lstm_step(params, state, case.xs[0, 0]))
    state = jax.lax.fori_loop(0, 1000, advance, state)
    assert (state.h.dtype, state.c.dtype) == ("bfloat16", "float32")
    np.testing.assert_allclose(state.c, 10.0, rtol=0.01)


def test_params_and_state_are_pytrees() -> None:
    """They pass through `jax.tree.map`, `jax.jit` and `jax.grad` as what they are."""
    case = cast(CASE, "float32")
    params, state = params_of(case), LSTMState(case.h, case.c)
    halves = jax.tree.map(lambda a: a / 2, (params, state))
    assert isinstance(halves[0], LSTMParams) and isinstance(halves[1], LSTMState)
    np.testing.assert_array_equal(halves[0].w_h, case.w_h / 2)
    np.testing.assert_array_equal(halves[1].c, case.c / 2)

    compiled = jax.jit(lstm_step)(params, state, case.xs[0])
    assert_close(compiled, lstm_step(params, state, case.xs[0]), 1e-6)

    gradient = jax.grad(lambda p: lstm_step(p, state, case.xs[0]).h.sum())(params)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)


# What a layer starts from.


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_init_shapes_and_types(dtype: str) -> None:
    params = init_lstm(jax.random.key(0), D, H, dtype)
    shapes = [(array.shape, array.dtype) for array in jax.tree.leaves(params)]
    assert shapes == [((D, 4 * H), dtype), ((H, 4 * H), dtype), ((4 * H,), dtype)]


def test_init_bias() -> None:
    """One for the forget gate, zero for the others."""
    bias = jnp.reshape(jnp.asarray(init_lstm(jax.random.key(0), D, H).b), (4, H))
    expected = {"i": 0, "f": 1, "g": 0, "o": 0}
    for gate, block in zip(GATES, bias, strict=True):
        np.testing.assert_array_equal(block, expected[gate])


def test_init_recurrent_weights() -> None:
    """Each gate's block is an orthogonal matrix, and another one."""
    blocks = np.split(np.asarray(init_lstm(jax.random.key(0), D, H).w_h), 4, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-6)
    for a, b in itertools.combinations(blocks, 2):
        assert np.abs(a - b).max() > 0.1


def test_init_input_weights() -> None:
    """Each gate's block is uniform within Glorot's limit, and fills it."""
    inputs, units = 40, 60
    w_x = np.asarray(init_lstm(jax.random.key(0), inputs, units).w_x)
    limit = np.sqrt(6 / (inputs + units))
    blocks = np.split(w_x, 4, axis=1)
    for block in blocks:
        assert 0.99 * limit < np.abs(block).max() <= limit
        np.testing.assert_allclose(block.std(), limit / np.sqrt(3), rtol=0.05)
    for a, b in itertools.combinations(blocks, 2):
        assert np.abs(a - b).max() > limit


def test_init_depends_on_the_key() -> None:
    one, same, other = (init_lstm(jax.random.key(k), H, H) for k in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert np.abs(one.w_x - other.w_x).max() > 0.1
    assert np.abs(one.w_h - other.w_h).max() > 0.1


@pytest.mark.parametrize("sizes", [(0, 5), (4, 0), (-1, 5)])
def test_init_refuses_sizes_below_one(sizes: tuple[int, int]) -> None:
    message = f"must be at least 1, found {sizes[0]} and {sizes[1]}"
    with pytest.raises(ValueError, match=message):
        init_lstm(jax.random.key(0), *sizes)


MANY_LAYERS = """
import jax
from lstm_jax.cells.lstm import init_lstm
start = jax.jit(lambda keys: [init_lstm(key, 64, 96) for key in keys])
for seed in range(20):
    layers = start(jax.random.split(jax.random.key(seed), 16))
jax.block_until_ready(layers)
"""


def test_init_of_many_layers_at_once_ends() -> None:
    """Decompositions that wait for each other's threads would wait for ever."""
    subprocess.run([sys.executable, "-c", MANY_LAYERS], check=True, timeout=120)
