"""The Mogrifier: what it is without rounds, its loop, its model.

Its equations and gradients are held to NumPy in `tests/engines/test_cells.py`.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTMParams, LSTMState, apply_gates
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams, init_rounds
from lstm_jax.config import RunConfig
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.text_model import load_text_model, save
from lstm_jax.lm.training import fit_text
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.recurrence import lstm, unroll
from lstm_jax.report.inspection import layers_of
from tests.helpers.jaxprs import equations
from tests.helpers.reference_lstm import assert_close, cast, loss

T, B, D, H, V = 5, 3, 2, 4, 7
Numbers = dict[str, Any]  # w_x, w_h, b, rounds, xs, h, c
each_cap = pytest.mark.parametrize("capped", [False, True], ids=["free", "capped"])


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


def ours(given: Numbers, capped: bool) -> tuple:
    """The layer by the library."""
    params = MogrifierParams(*(given[name] for name in ("w_x", "w_h", "b", "rounds")))
    state = LSTMState(given["h"], given["c"])
    cell = MogrifierCell(len(params.rounds), capped)
    ys, last = unroll(cell, params, given["xs"], state)
    return ys, last.h, last.c


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
def model() -> LanguageModel:
    cell = MogrifierCell(3, capped=True)
    return LanguageModel(V, H, 2, rngs=nnx.Rngs(0), cell=cell)


def test_gates_that_are_inspected_are_those_of_the_steps() -> None:
    """Opened one after the other, they give the outputs."""
    for layer in layers_of(model(), IDS):
        c = jnp.zeros((B, H))
        for z, h in zip(layer.z, layer.h, strict=True):
            state = apply_gates(z, c, capped=True)
            assert_close(state.h, h, 1e-5)
            c = state.c


def test_no_table_is_left() -> None:
    made = model()
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
