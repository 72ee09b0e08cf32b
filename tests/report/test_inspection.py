"""What is measured of a network, against brute force on the cell itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.models.language import LanguageModel
from lstm_jax.report.inspection import (
    Layer,
    cell_norms,
    excerpts,
    find,
    gradient_by_lag,
    layers_of,
    reach,
    saturation,
    symbols_in_time,
)

V, H, L, T, B = 6, 4, 2, 9, 3
IDS = jnp.asarray(np.random.default_rng(0).integers(V, size=(T + 1, B)), jnp.int32)


@functools.cache
def model() -> LanguageModel:
    """A network whose gates are far from equal."""
    made = LanguageModel(V, H, L, rngs=nnx.Rngs(0))
    for layer in made.layers:
        layer.w_x[...] *= 3
    return made


def sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


def by_hand() -> list[dict[str, NDArray]]:
    """The gates and outputs of every layer, step by step, in float64."""
    below, layers = None, []
    for depth, layer in enumerate(model().layers):
        w_x, w_h, b = (
            np.asarray(a, np.float64) for a in (layer.w_x, layer.w_h, layer.b)
        )
        h = c = np.zeros((B, H))
        seen: list[list[NDArray]] = []
        for t in range(T):
            fed = w_x[np.asarray(IDS[t])] if below is None else below[t] @ w_x
            i, f, g, o = np.split(fed + h @ w_h + b, 4, axis=-1)
            i, f, o = sigmoid(i), sigmoid(f), sigmoid(o)
            c = f * c + i * np.tanh(g)
            h = o * np.tanh(c)
            seen.append([i, f, o, h])
        arrays = np.moveaxis(np.array(seen), 1, 0)
        layers.append(dict(zip("ifoh", arrays, strict=True)))
        below = layers[depth]["h"]
    return layers


def test_gates_and_outputs_are_those_of_the_cell() -> None:
    for layer, expected in zip(layers_of(model(), IDS[:-1]), by_hand(), strict=True):
        np.testing.assert_allclose(layer.h, expected["h"], atol=1e-5)
        for name in "ifo":
            np.testing.assert_allclose(layer.gate(name), expected[name], atol=1e-5)
            closed, opened = saturation(layer.gate(name))
            low, high = expected[name] < 0.1, expected[name] > 0.9
            np.testing.assert_allclose(closed, low.mean(axis=(0, 1)), atol=1e-6)
            np.testing.assert_allclose(opened, high.mean(axis=(0, 1)), atol=1e-6)
        assert any((expected[name] > 0.9).any() for name in "ifo")


@pytest.mark.parametrize("bias", [-2.0, 0.0, 1.0, 10.0, 40.0])
def test_the_memory_of_a_unit_with_a_constant_gate(bias: float) -> None:
    """F = σ(b): after -1 / ln f steps 1/e is left. Exact where f is 1 in float32."""
    z = jnp.zeros((T, B, 4 * H)).at[..., H : 2 * H].set(bias)
    found = Layer(z, jnp.zeros((T, B, H))).time_constants()
    expected = 1 / np.log1p(np.exp(-bias))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    if bias == 1.0:
        left = sigmoid(np.array(bias)) ** float(found[0])
        np.testing.assert_allclose(left, np.exp(-1), rtol=1e-5)


def test_units_that_forget_now_and_then_still_remember() -> None:
    z = jnp.full((T, B, 4 * H), 3.0).at[4].set(-30.0)
    found = Layer(z, jnp.zeros((T, B, H))).time_constants()
    np.testing.assert_allclose(found, 1 / np.log1p(np.exp(-3.0)), rtol=1e-5)


def test_gradients_by_lag_are_slopes() -> None:
    """Central differences of the last loss in every element of every earlier state."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: a.astype(jnp.float64), model())
        wide.dtype = jnp.dtype("float64")
        found = gradient_by_lag(wide, IDS)
        states = [wide.initial_state(B)]
        for ids in IDS[:-1]:
            states.append(wide.step(ids, states[-1]))

        @jax.jit
        def losses(flat: jax.Array, at: int) -> jax.Array:
            """Of every row, if the state after symbol `at` had been this."""

            def step(t: int, now: tuple) -> tuple:
                return wide.step(IDS[t], now)

            now = jax.lax.fori_loop(at + 1, T, step, unravel(flat))
            scores = jax.nn.log_softmax(wide.next_logits(now))
            return -jnp.take_along_axis(scores, IDS[-1][:, None], axis=-1)[:, 0]

        def unravel(flat: jax.Array) -> tuple:
            return tuple(LSTMState(h=part[0], c=part[1]) for part in flat)

        for lag in (0, 1, T - 1):
            at = T - 1 - lag
            flat = np.array([[s.h, s.c] for s in states[at + 1]])  # [L, 2, B, H]
            slope = np.zeros_like(flat)
            for place in np.ndindex(L, 2, H):
                nudge = np.zeros_like(flat)
                nudge[place[0], place[1], :, place[2]] = 1e-5
                up, down = (losses(jnp.asarray(flat + n), at) for n in (nudge, -nudge))
                slope[place[0], place[1], :, place[2]] = (up - down) / 2e-5
            norms = np.linalg.norm(slope, axis=-1).mean(axis=-1)
            for depth in range(L):
                pair = (found[depth].h[lag], found[depth].c[lag])
                np.testing.assert_allclose(pair, norms[depth], rtol=1e-6, atol=1e-10)


def test_reach_is_the_last_lag_that_counts() -> None:
    norms = np.array([0.0, 1.0, 0.2, 0.005, 0.02, 0.009])
    assert reach(norms) == 4
    assert reach(norms, 0.1) == 2
    pair = [LSTMState(h=jnp.ones(2), c=jnp.array([3.0, 0.0]))] * 2
    np.testing.assert_allclose(cell_norms(pair), [np.sqrt(18), 0])


def test_dead_and_hidden_units_are_counted() -> None:
    z = jnp.zeros((T, B, 4 * H)).at[..., -1].set(-9.0)  # the last unit's output gate
    h = jnp.ones((T, B, H)).at[..., 0].set(0.009).at[..., 1].set(0.0).at[3, 1, 1].set(1)
    found = find([Layer(z, h)], gradient_by_lag(model(), IDS))
    layer = found.layers[0]
    assert (layer.units, layer.dead, layer.hidden) == (H, 1, 1)
    assert layer.closed == {"i": 0, "f": 0, "o": 0.25}
    assert layer.open == {"i": 0, "f": 0, "o": 0}
    np.testing.assert_allclose(layer.memory, 1 / np.log(2), rtol=1e-5)
    assert found.norms.shape == (T,)


@pytest.mark.parametrize("steps", [3, 9, 10, 50])
@pytest.mark.parametrize("rows", [1, 4])
def test_excerpts_lie_in_the_text(steps: int, rows: int) -> None:
    ids = np.arange(11, dtype=np.uint8)
    found = np.asarray(excerpts(ids, steps, rows))
    assert len(found) == min(steps, 10) + 1 and 1 <= found.shape[1] <= rows
    assert (np.diff(found, axis=0) == 1).all()
    assert found[0, 0] == 0 and (rows == 1 or found[-1, -1] == 10)
    assert len(set(found[0])) == found.shape[1]


def test_a_tied_embedding_is_what_scores_symbols() -> None:
    tied = LanguageModel(6, 8, 1, rngs=nnx.Rngs(0), tie_embedding=True)
    assert symbols_in_time(tied, 1) == 2 * 10**10 // (2 * (2 * 8 * 32 + 6 * 8))
