"""The Mogrifier: its equations one number at a time, its gradients, its model."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.lstm import LSTMParams, LSTMState, apply_gates
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams, init_rounds
from lstm_jax.config import RunConfig
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.text_model import load_text_model, save
from lstm_jax.lm.training import fit_text
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.nn.recurrence import lstm, unroll
from lstm_jax.report.inspection import layers_of
from tests.helpers.jaxprs import equations
from tests.helpers.reference_lstm import assert_close, cast, loss, slopes

T, B, D, H, V = 5, 3, 2, 4, 7
LENGTHS = np.array([T, 0, 2])
Tree = Any
Numbers = dict[str, Any]  # w_x, w_h, b, rounds, xs, h, c
each_cap = pytest.mark.parametrize("capped", [False, True], ids=["free", "capped"])
each_count = pytest.mark.parametrize("count", [0, 1, 2, 5])


def numbers(count: int) -> Numbers:
    """Random numbers everywhere, for `count` rounds."""
    rng = np.random.default_rng(count)
    shapes = [(H, D), (D, H)]
    return {
        "w_x": rng.normal(size=(D, 4 * H)),
        "w_h": rng.normal(size=(H, 4 * H)),
        "b": rng.normal(size=4 * H),
        "rounds": tuple(rng.normal(size=shapes[n % 2]) for n in range(count)),
        "xs": rng.normal(size=(T, B, D)),
        "h": rng.normal(size=(B, H)),
        "c": rng.normal(size=(B, H)),
    }


def sigmoid(z: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-z))


def by_hand(given: Numbers, capped: bool, lengths: NDArray | None = None) -> tuple:
    """The paper's equations on one vector at a time, in NumPy."""
    lengths = np.full(B, T) if lengths is None else lengths
    ys, last_h, last_c = np.zeros((T, B, H)), np.zeros((B, H)), np.zeros((B, H))
    for row in range(B):
        h, c = given["h"][row], given["c"][row]
        for t in range(lengths[row]):
            x, held = given["xs"][t, row], h
            for n, matrix in enumerate(given["rounds"], 1):
                if n % 2:
                    x = 2 * sigmoid(held @ matrix) * x
                else:
                    held = 2 * sigmoid(x @ matrix) * held
            z = x @ given["w_x"] + held @ given["w_h"] + given["b"]
            i, f, g, o = np.split(z, 4)
            i, f = sigmoid(i), sigmoid(f)
            if capped:
                i = np.minimum(i, 1 - f)
            c = f * c + i * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            ys[t, row] = h
        last_h[row], last_c[row] = h, c
    return ys, last_h, last_c


def ours(given: Numbers, capped: bool, lengths: NDArray | None = None) -> tuple:
    """The same by the library."""
    params = MogrifierParams(*(given[name] for name in ("w_x", "w_h", "b", "rounds")))
    state = LSTMState(given["h"], given["c"])
    jax_lengths = None if lengths is None else jnp.asarray(lengths)
    cell = MogrifierCell(len(params.rounds), capped)
    ys, last = unroll(cell, params, given["xs"], state, lengths=jax_lengths)
    return ys, last.h, last.c


@each_cap
@each_count
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
def test_it_is_the_paper_and_so_are_its_gradients(
    count: int, capped: bool, lengths: NDArray | None, x64: None
) -> None:
    """Outputs, last state, and the gradient of everything by central differences."""
    given = numbers(count)
    expected = by_hand(given, capped, lengths)
    weights = np.random.default_rng(9).normal(size=(T, B, H))
    slope = slopes(lambda g: float(loss(weights, by_hand(g, capped, lengths))), given)

    both = jax.jit(
        jax.value_and_grad(lambda g: loss(weights, ours(g, capped, lengths)))
    )
    there = cast(given, jnp.float64)
    assert_close(ours(there, capped, lengths), expected, 1e-12)
    value, gradient = both(there)
    assert_close(value, loss(weights, expected), 1e-12)
    assert_close(gradient, slope, 1e-7)


@each_cap
def test_a_step_is_a_sequence_of_one(capped: bool) -> None:
    given = cast(numbers(3), jnp.float32)
    params = MogrifierParams(*(given[name] for name in ("w_x", "w_h", "b", "rounds")))
    state, cell = LSTMState(given["h"], given["c"]), MogrifierCell(3, capped)
    _, last = unroll(cell, params, given["xs"][:1], state)
    step = cell.step(params, state, given["xs"][0])
    assert_close(last, step, 1e-6)


def test_without_rounds_it_is_the_plain_layer() -> None:
    given = cast(numbers(0), jnp.float32)
    weights = given["w_x"], given["w_h"], given["b"]
    state = LSTMState(given["h"], given["c"])
    params = MogrifierParams(*weights, ())
    found = unroll(MogrifierCell(0), params, given["xs"], state)
    assert_close(found, lstm(LSTMParams(*weights), given["xs"], state), 1e-6)


def test_a_capped_cell_never_holds_more_than_one() -> None:
    """And a free one does, with gates as open as these."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(D, 4 * H)), rng.normal(size=(H, 4 * H)))
    w_x, w_h = (jnp.asarray(w, jnp.float32) for w in weights)
    params = MogrifierParams(w_x, w_h, jnp.full(4 * H, 3.0), ())
    xs = jnp.asarray(rng.normal(size=(50, B, D)), jnp.float32)
    blank = LSTMState(jnp.zeros((B, H)), jnp.zeros((B, H)))
    most = [
        float(jnp.abs(unroll(MogrifierCell(0, capped), params, xs, blank)[1].c).max())
        for capped in (False, True)
    ]
    assert most[0] > 1 >= most[1]


def test_the_first_round_changes_nothing_at_zero() -> None:
    """2 σ(0) = 1: without weights the rounds are not there."""
    given = cast(numbers(4), jnp.float32)
    given["rounds"] = jax.tree.map(jnp.zeros_like, given["rounds"])
    plain = given | {"rounds": ()}
    assert_close(ours(given, False), ours(plain, False), 1e-6)


def test_no_loop_carries_the_gradient_of_a_matrix() -> None:
    """They are products after the loop, whatever the step does."""
    given = cast(numbers(2), jnp.float32)
    weights = jnp.ones((T, B, H))
    gradient = jax.grad(lambda g: loss(weights, ours(g, True)))
    made = {
        variable.aval.shape  # pyrefly: ignore[missing-attribute]
        for equation in equations(jax.make_jaxpr(gradient)(given))
        if equation.primitive.name == "scan"
        for variable in equation.outvars
    }
    matrices = {(D, H), (H, D), (D, 4 * H), (H, 4 * H), (D + H, 4 * H)}
    assert {(B, H), (T, B, 4 * H)} <= made and not made & matrices


# The model.

IDS = jnp.asarray(np.random.default_rng(1).integers(V, size=(T, B)), jnp.int32)


@functools.cache
def model(dtype: str = "float32") -> LanguageModel:
    cell = MogrifierCell(3, capped=True)
    return LanguageModel(V, H, 2, rngs=nnx.Rngs(0), cell=cell, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_reading_is_step_by_step(dtype: str) -> None:
    made = model(dtype)
    hs, states = jax.jit(LanguageModel.read)(made, IDS.T)
    walked, step = made.initial_state(B), jax.jit(LanguageModel.step)
    for ids in IDS:
        walked = step(made, ids, walked)
    tolerance = 1e-5 if dtype == "float32" else 0.05
    assert_close(walked, states, tolerance)
    assert_close(hs[:, -1, H:], walked[-1].h, tolerance)
    assert states[0].c.dtype == jnp.float32


def test_gates_that_are_inspected_are_those_of_the_steps() -> None:
    """Opened one after the other, they give the outputs."""
    for layer in layers_of(model(), IDS):
        c = jnp.zeros((B, H))
        for z, h in zip(layer.z, layer.h, strict=True):
            state = apply_gates(z, c, capped=True)
            assert_close(state.h, h, 1e-5)
            c = state.c


def test_every_parameter_learns_and_no_table_is_left() -> None:
    made = model()
    batch = {"inputs": IDS.T, "targets": IDS[::-1].T, "resets": jnp.zeros(B, bool)}
    gradient = jax.grad(
        lambda m: (
            language_loss(m, made.initial_state(B), batch, jax.random.key(0))[0].loss
        )
    )(made)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(gradient))
    assert made.layers[0].w_x.shape == (H, 4 * H)
    assert made.embedding is not None and made.embedding.shape == (V, H)


def test_rounds_begin_with_glorot() -> None:
    matrices = init_rounds(jax.random.key(0), 3, 30, 50)
    assert [m.shape for m in matrices] == [(50, 30), (30, 50), (50, 30)]
    assert all(0.9 < jnp.abs(m).max() / (6 / 80) ** 0.5 <= 1 for m in matrices)
    assert bool(jnp.any(matrices[0] != matrices[2]))


TEXT = "to be or not to be, that is the question. " * 8
CONFIG = TrainConfig(
    model=ModelConfig(layers=2, hidden=16, dropout=0.1, mogrifier=2, capped_gate=True),
    optimizer=OptimizerConfig(batch=4, length=8),
    run=RunConfig(epochs=40, evaluations=2),
)


def test_a_run_learns_is_kept_and_speaks(tmp_path: Path) -> None:
    trained = fit_text(TEXT, CONFIG)
    assert trained.model.cell == MogrifierCell(2, capped=True)
    said = generate_text(trained, "to be", 60)
    assert " or not to be" in said
    save(trained, tmp_path / "run")
    again = load_text_model(tmp_path / "run")
    assert generate_text(again, "to be", 60) == said
