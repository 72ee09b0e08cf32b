"""Symbols made by one call of the engine `native`: those of the loop it stands for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.config import RegularizerConfig
from lstm_jax.decoding import autoregressive
from lstm_jax.decoding.autoregressive import (
    DecoderState,
    generate_from,
    generate_ids,
    read_prompt,
    read_prompts,
    repeat_rows,
    sample_keys,
)
from lstm_jax.decoding.config import GREEDY, SamplingConfig
from lstm_jax.decoding.one_call import stack_of
from lstm_jax.decoding.sampling import rules_of
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.models.language import LanguageModel
from lstm_jax.ops.matmul import rounded_products

DRAWN = SamplingConfig(0.7)
each_choice = pytest.mark.parametrize(
    "sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"]
)


@pytest.fixture(autouse=True)
def needs_a_compiler() -> None:
    if why := why_not_built():
        pytest.skip(f"the engine native {why}")


def random_model(
    symbols: int,
    hidden: int,
    layers: int,
    **options: Any,  # noqa: ANN401
) -> LanguageModel:
    """A model of large weights, whose text goes on changing."""
    rng = np.random.default_rng(hidden)
    model = LanguageModel(symbols, hidden, layers, rngs=nnx.Rngs(0), **options)

    def drawn(a: jax.Array) -> jax.Array:
        scale = 2 / hidden**0.5 if a.shape[0] == hidden else 1.0
        return jnp.asarray(rng.normal(size=a.shape) * scale, a.dtype)

    return jax.tree.map(drawn, model)


def start_of(model: LanguageModel, rows: int) -> DecoderState:
    """A state of its own in every row."""
    rng = np.random.default_rng(0)
    states = jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape) / 2, a.dtype),
        model.initial_state(rows),
    )
    return DecoderState(states, jnp.zeros((rows, 3), jnp.int32), jnp.int32(0))


def continued(
    model: LanguageModel, start: DecoderState, length: int, sampling: SamplingConfig
) -> tuple[NDArray, DecoderState]:
    """Ids [length, rows], and what is known after them."""
    keys = sample_keys(3, len(start.recent))
    chunks = list(generate_from(model, start, length, sampling, keys))
    return np.concatenate([chunk.ids for chunk in chunks]), chunks[-1].after


def by_loop(
    monkeypatch: pytest.MonkeyPatch, found: Callable[[], tuple[NDArray, DecoderState]]
) -> tuple[NDArray, DecoderState]:
    """The same by XLA's loop."""
    with monkeypatch.context() as patch:
        patch.setattr(autoregressive, "stack_of", lambda *_: None)
        return found()


def read_by_numpy(model: LanguageModel, ids: NDArray) -> tuple[NDArray, list, list]:
    """Read symbols by a loop in float64.

    Returns:
        The scores after each, [T, V], and the last h and c of each layer.
    """

    def exact(a: Any) -> NDArray:  # noqa: ANN401
        return np.asarray(a, np.float64)

    def opened(z: NDArray) -> NDArray:
        return 1 / (1 + np.exp(-z))

    embedding = None if model.embedding is None else exact(model.embedding[...])
    layers = [layer.params for layer in model.layers]
    hs = [np.zeros(len(params.w_h)) for params in layers]
    cs = [np.zeros(len(params.w_h)) for params in layers]
    scores = []
    for symbol in ids:
        x = None if embedding is None else embedding[symbol]
        for n, params in enumerate(layers):
            w_x, h = exact(params.w_x), hs[n]
            for k, matrix in enumerate(map(exact, getattr(params, "rounds", ()))):
                if k % 2:
                    h = 2 * opened(x @ matrix) * h
                else:
                    x = 2 * opened(h @ matrix) * x
            z = w_x[symbol] if x is None else x @ w_x
            z = z + exact(params.b) + h @ exact(params.w_h)
            i, f, g, o = np.split(z, 4)
            i, f = opened(i), opened(f)
            i = np.minimum(i, 1 - f) if getattr(model.cell, "capped", False) else i
            cs[n] = f * cs[n] + i * np.tanh(g)
            x = hs[n] = opened(o) * np.tanh(cs[n])
        if model.w_out is None:
            assert embedding is not None
            w_out = embedding.T
        else:
            w_out = exact(model.w_out[...])
        seen = np.concatenate(hs)[-len(w_out) :]
        scores.append(seen @ w_out + exact(model.b_out[...]))
    return np.array(scores), hs, cs


@pytest.mark.parametrize(
    ("symbols", "hidden", "layers", "rows", "options"),
    [
        (65, 1, 1, 1, {}),
        (6, 17, 3, 2, {}),
        (33, 16, 2, 3, {"top_only": True}),
        (7, 31, 2, 4, {"tie_embedding": True}),
        (70, 33, 2, 18, {}),
        (9, 17, 2, 3, {"cell": MogrifierCell(3, capped=True)}),
        (9, 40, 2, 7, {"cell": MogrifierCell(2), "tie_embedding": True}),
        (9, 16, 2, 5, {"cell": MogrifierCell(0, capped=True)}),
    ],
)
def test_every_symbol_is_the_likeliest(
    symbols: int, hidden: int, layers: int, rows: int, options: dict
) -> None:
    """Of a loop in NumPy, but for rounding."""
    model = random_model(symbols, hidden, layers, **options)
    assert stack_of(model) is not None
    rng = np.random.default_rng(1)
    prompts = [rng.integers(symbols, size=1 + 3 * n % 5) for n in range(rows)]
    made, after = continued(model, read_prompts(model, prompts), 40, GREEDY)
    for row in {0, rows // 2, rows - 1}:
        text = np.concatenate([prompts[row], made[:, row]])
        scores, hs, cs = read_by_numpy(model, text)
        scores = scores[len(prompts[row]) - 1 : -1]
        chosen = scores[np.arange(40), made[:, row]]
        assert (chosen > scores.max(axis=1) - 1e-4).all()
        for state, h, c in zip(after.states, hs, cs, strict=True):
            np.testing.assert_allclose(state.h[row], h, atol=1e-4)
            np.testing.assert_allclose(state.c[row], c, atol=1e-4)


@each_choice
@pytest.mark.parametrize(
    ("rows", "layers", "options"),
    [
        (1, 2, {}),
        (3, 1, {"tie_embedding": True}),
        (18, 2, {}),
        (5, 1, {"cell": MogrifierCell(3, capped=True)}),
    ],
)
def test_it_makes_what_the_loop_makes(
    sampling: SamplingConfig,
    rows: int,
    layers: int,
    options: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same symbols of the same key; the states but for rounding."""
    model = random_model(6, 8, layers, **options)

    def both() -> tuple[NDArray, DecoderState]:
        return continued(model, start_of(model, rows), 90, sampling)

    made, after = both()
    expected, expected_after = by_loop(monkeypatch, both)
    np.testing.assert_array_equal(made, expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), after, expected_after
    )


@pytest.mark.parametrize(
    ("hidden", "cell", "sampling"),
    [(13, "lstm", GREEDY), (272, "lstm", DRAWN), (272, "mogrifier", GREEDY)],
)
def test_a_row_does_not_depend_on_its_company(
    hidden: int, cell: str, sampling: SamplingConfig
) -> None:
    """Few rows read the weights where they lie, many share packed ones."""
    model = random_model(9, hidden, 2, cell=cell)
    start, keys = start_of(model, 20), sample_keys(0, 20)
    (all_of_them,) = generate_from(model, start, 30, sampling, keys)
    for rows in (slice(0, 1), slice(4, 7), slice(7, 19)):
        states, recent, some = jax.tree.map(
            lambda a, rows=rows: a[rows], (start.states, start.recent, keys)
        )
        some_start = DecoderState(states, recent, start.place)
        (found,) = generate_from(model, some_start, 30, sampling, some)
        np.testing.assert_array_equal(found.ids, all_of_them.ids[:, rows])
        jax.tree.map(
            lambda a, b, rows=rows: np.testing.assert_array_equal(a, b[rows]),
            found.after.states,
            all_of_them.after.states,
        )


def test_the_first_of_equal_scores_is_chosen() -> None:
    model = random_model(40, 3, 1)
    model.w_out[...] *= 0
    model.b_out[...] = jnp.zeros(40).at[jnp.array([7, 18, 39])].set(1.0)
    made = np.concatenate(list(generate_ids(model, [0], 5, samples=2)))
    assert (made == 7).all()
    allowed = np.arange(40) > 7
    made = np.concatenate(list(generate_ids(model, [0], 5, allowed=allowed)))
    assert (made == 18).all()


def test_scores_that_are_no_numbers_choose_some_symbol() -> None:
    model = random_model(40, 3, 1)
    model.b_out[...] *= jnp.nan
    for sampling in (GREEDY, DRAWN):
        made = np.concatenate(list(generate_ids(model, [0], 5, sampling)))
        assert ((made >= 0) & (made < 40)).all()


def test_other_lengths_and_temperatures_compile_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced = []
    write = autoregressive.write_ids
    monkeypatch.setattr(
        autoregressive, "write_ids", lambda *args: (traced.append(1), write(*args))[1]
    )
    model = random_model(11, 7, 1)
    for sampling in (GREEDY, SamplingConfig(0.5)):
        traced.clear()
        for length in (1, 64, 65, 400):
            list(generate_ids(model, [1, 2], length, sampling))
        assert len(traced) == 1
    list(generate_ids(model, [1] * 70, 3, SamplingConfig(2.0), seed=9))
    assert len(traced) == 1


def test_noise_of_many_rows_and_symbols_is_made_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The memory that drawing takes has a bound, and the text does not show it."""
    model = random_model(5000, 3, 1)

    def made_by(samples: int) -> NDArray:
        made = generate_ids(model, [1], 5, DRAWN, samples=samples, seed=4)
        return np.concatenate(list(made))

    expected = made_by(2)
    noise = autoregressive.gumbel_noise

    def noise_of_few(keys: Any, place: Any, count: int, symbols: int) -> Any:  # noqa: ANN401
        assert len(keys) * count * symbols <= 2**22
        return noise(keys, place, count, symbols)

    monkeypatch.setattr(autoregressive, "gumbel_noise", noise_of_few)
    np.testing.assert_array_equal(made_by(300)[:, :2], expected)


class Other(LanguageModel):
    """A language model of somebody else's, whose steps may be any."""


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({"engine": "fused"}, GREEDY),
        ({"cell": "gru"}, GREEDY),
        ({"cell": "peephole"}, GREEDY),
        ({"dtype": jnp.bfloat16}, GREEDY),
        ({"regularizer": RegularizerConfig(zoneout_cell=0.1)}, GREEDY),
        ({}, SamplingConfig(1.0, top_k=2)),
        ({}, SamplingConfig(1.0, top_p=0.5)),
        ({}, SamplingConfig(1.0, min_p=0.5)),
        ({}, SamplingConfig(repetition_penalty=1.5)),
        ({}, SamplingConfig(no_repeat_ngram=2)),
    ],
    ids=str,
)
def test_the_loop_does_what_the_call_can_not(
    options: dict, sampling: SamplingConfig
) -> None:
    model = LanguageModel(5, 4, 1, rngs=nnx.Rngs(0), **options)
    assert stack_of(model, rules_of(sampling, 5)[0]) is None


def test_the_loop_does_what_is_not_as_it_seems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Subclasses, rounded factors, and a machine without a compiler."""
    assert stack_of(Other(5, 4, 1, rngs=nnx.Rngs(0))) is None
    model = LanguageModel(5, 4, 1, rngs=nnx.Rngs(0))
    assert stack_of(model) is not None
    assert rounded_products(stack_of)(model) is None
    monkeypatch.setattr(
        "lstm_jax.decoding.one_call.why_not_built", lambda: "needs a C++ compiler"
    )
    assert stack_of(model) is None


def test_rows_on_several_devices_stay_there() -> None:
    """What follows a snapshot that the loop has spread is made by the loop."""
    model = random_model(6, 8, 1)
    start = repeat_rows(read_prompt(model, [1, 2, 3]), 16)
    penalized = SamplingConfig(repetition_penalty=1.5)
    _, spread = continued(model, start, 5, penalized)
    assert len(spread.recent.devices()) == 2
    alone = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), spread)
    made, after = continued(model, spread, 20, GREEDY)
    expected, _ = continued(model, alone, 20, GREEDY)
    np.testing.assert_array_equal(made, expected)
    assert len(after.recent.devices()) == 2


def test_a_snapshot_may_have_been_on_disk() -> None:
    """Its arrays are then NumPy's."""
    model = random_model(6, 8, 1)
    snapshot = read_prompt(model, [1, 2, 3])
    kept = jax.tree.map(np.asarray, snapshot)
    made, _ = continued(model, kept, 20, GREEDY)
    expected, _ = continued(model, snapshot, 20, GREEDY)
    np.testing.assert_array_equal(made, expected)


def test_a_model_that_was_just_trained_is_read_by_the_call() -> None:
    """Its arrays are NumPy's, too."""
    model = random_model(6, 8, 1)
    trained = jax.tree.map(np.asarray, model)
    assert stack_of(trained) is not None
    made, expected = (
        np.concatenate(list(generate_ids(each, [1, 2, 3], 20, GREEDY)))
        for each in (trained, model)
    )
    np.testing.assert_array_equal(made, expected)


def test_a_compiled_function_reads_on_from_a_snapshot() -> None:
    model = random_model(6, 8, 1)
    read_on = jax.jit(lambda before: read_prompt(model, [4, 5], before))
    found = read_on(read_prompt(model, [1, 2, 3]))
    expected = read_prompt(model, [1, 2, 3, 4, 5])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected
    )
