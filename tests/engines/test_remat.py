"""Chunks of time change the memory a gradient takes, and nothing else."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState, init_lstm
from lstm_jax.config import RegularizerConfig
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM
from lstm_jax.nn.recurrence import lstm, unroll_projected
from lstm_jax.nn.regularizers import loop_masks
from tests.helpers.reference_lstm import Case, assert_close, cast, random_case

B, D, H = 4, 2, 3
Result = Any


@functools.partial(jax.jit, static_argnames=("engine", "reverse", "remat", "gates"))
def measure(
    case: Case,
    lengths: jax.Array | None,
    resets: jax.Array | None,
    reverse: bool,
    engine: str,
    remat: bool,
    gates: bool,
) -> Result:
    """Outputs, last state, and the gradient of a loss of them."""

    def loss(case: Case) -> tuple[jax.Array, Result]:
        state = None if case.h is None else LSTMState(case.h, case.c)
        options: dict[str, Any] = {
            "lengths": lengths,
            "resets": resets,
            "reverse": reverse,
            "engine": engine,
            "remat": remat,
        }
        if gates:
            z = case.xs @ case.w_x + case.b
            weights = (LSTM_CELL, z, case.w_h, case.w_h)
            ys, last = unroll_projected(*weights, state, **options)
        else:
            params = LSTMParams(case.w_x, case.w_h, case.b)
            ys, last = lstm(params, case.xs, state, **options)
        return (ys**2).sum() + (last.h**3).sum() + (last.c * last.h).sum(), (ys, last)

    (_, outcome), gradient = jax.value_and_grad(loss, has_aux=True)(case)
    return outcome, gradient


@pytest.mark.parametrize(
    ("engine", "steps", "reverse", "masks", "gates"),
    [
        ("fused", 9, False, True, False),
        ("fused", 11, True, True, False),
        ("fused", 1, False, False, True),
        ("scan", 9, True, False, True),
        ("scan", 11, False, True, False),
        ("cudnn", 11, True, True, False),
    ],
)
@pytest.mark.usefixtures("cudnn")
def test_remat_changes_no_number(
    engine: str, steps: int, reverse: bool, masks: bool, gates: bool
) -> None:
    """Whether or not √T divides T, whichever way; the state is left out with masks."""
    case = cast(random_case(0, steps, B, D, H), "float32")
    lengths = resets = None
    if masks:
        case = case._replace(h=None, c=None)
        lengths = jnp.array([steps, 0, steps // 2, 1])
        resets = jnp.asarray(np.random.default_rng(0).random((steps, B)) < 0.3)
        resets = None if engine == "cudnn" else resets
    options = {"engine": engine, "reverse": reverse, "gates": gates}
    plain, chunked = (
        measure(case, lengths, resets, remat=remat, **options)
        for remat in (False, True)
    )
    assert_close(chunked, plain, 2e-6)


@pytest.mark.parametrize(("steps", "reverse"), [(9, False), (11, True)])
def test_regularizers_inside_the_loop_are_cut_too(steps: int, reverse: bool) -> None:
    """Every step meets the mask it would meet without chunks."""
    case = cast(random_case(0, steps, B, D, H), "float32")
    rates = RegularizerConfig(
        recurrent_dropout=0.4, zoneout_hidden=0.3, zoneout_cell=0.2
    )
    masks = loop_masks(jax.random.key(1), (steps, B, H), rates)

    def loss(w_h: jax.Array, remat: bool) -> tuple[jax.Array, Result]:
        params = LSTMParams(case.w_x, w_h, case.b)
        ys, last = lstm(params, case.xs, reverse=reverse, remat=remat, masks=masks)
        return (ys**2).sum() + (last.h * last.c).sum(), (ys, last)

    run = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    assert_close(run(case.w_h, True), run(case.w_h, False), 2e-6)


@pytest.mark.parametrize("engine", ["fused", "scan"])
def test_memory_grows_like_the_root(engine: str) -> None:
    """Four times the steps take about twice the memory; without, four times.

    The loss depends on the last state alone: outputs would be T steps by themselves.
    """
    params = init_lstm(jax.random.key(0), 8, 32)

    def bytes_of(steps: int, remat: bool) -> int:
        def loss(params: LSTMParams, xs: jax.Array) -> jax.Array:
            _, last = lstm(params, xs, engine=engine, remat=remat)
            return (last.h**2).sum()

        xs = jax.ShapeDtypeStruct((steps, 8, 8), "float32")
        compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    small, large = bytes_of(256, remat=True), bytes_of(1024, remat=True)
    assert large < 2.2 * small
    assert 10 * large < bytes_of(1024, remat=False)


@pytest.mark.parametrize("kind", ["LSTM", "Bidirectional", "StackedLSTM", "language"])
def test_every_layer_passes_it_on(kind: str) -> None:
    """A checkpoint stands in the program exactly when it was asked for."""
    makers = {
        "LSTM": functools.partial(LSTM, D, H),
        "Bidirectional": functools.partial(Bidirectional, D, H),
        "StackedLSTM": functools.partial(StackedLSTM, D, H, 2, bidirectional=True),
        "language": functools.partial(LanguageModel, 5, H, 2),
    }
    ids, xs = jnp.zeros((9, 2), int), jnp.zeros((2, 9, D))

    def program(remat: bool) -> str:
        model: Any = makers[kind](rngs=nnx.Rngs(0), remat=remat)
        read = ids if kind == "language" else xs
        return str(jax.make_jaxpr(lambda model, read: model(read)[0])(model, read))

    layers = {"LSTM": 1, "Bidirectional": 2, "StackedLSTM": 4, "language": 2}[kind]
    assert program(False).count("prevent_cse") == 0
    assert program(True).count("prevent_cse") == layers
