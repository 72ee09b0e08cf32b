"""The language model: three ways to read that agree, and a loss with carried states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.metrics.losses import loss_sums
from lstm_jax.models.language import (
    LanguageModel,
    States,
    language_loss,
    with_more_symbols,
)
from lstm_jax.nn.recurrence import lstm
from lstm_jax.ops import lookup
from lstm_jax.ops.lookup import embedding_lookup
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.step import init_state, train_step

V, H, L, T, B = 6, 5, 2, 7, 3
RNG = np.random.default_rng(0)
IDS = jnp.asarray(RNG.integers(V, size=(B, T)), jnp.int32)
TARGETS = jnp.asarray(RNG.integers(V, size=(B, T)), jnp.int32)
forward = jax.jit(LanguageModel.__call__)
loss_of = jax.jit(language_loss)
each_depth = pytest.mark.parametrize("layers", [1, L])


@functools.cache
def make(
    layers: int = L, dropout: float = 0.0, dtype: str = "float32"
) -> LanguageModel:
    """A model whose scores are far from equal, so that mistakes show."""
    rngs = nnx.Rngs(0)
    model = LanguageModel(V, H, layers, rngs=rngs, dropout=dropout, dtype=dtype)
    model.b_out[...] = jnp.linspace(-1, 1, V)
    model.w_out[...] *= 3
    return model


def some_states(model: LanguageModel) -> States:
    """States in the middle of a text."""
    return forward(model, IDS[:, ::-1])[1]


def batch(ids: jax.Array, targets: jax.Array, resets: list[bool]) -> dict:
    return {"inputs": ids, "targets": targets, "resets": jnp.array(resets)}


def assert_close(actual: object, expected: object, tolerance: float = 1e-5) -> None:
    compare = functools.partial(
        np.testing.assert_allclose, rtol=tolerance, atol=tolerance
    )
    as_float = functools.partial(jax.tree.map, lambda a: np.asarray(a, np.float32))
    jax.tree.map(compare, as_float(actual), as_float(expected))


# Reading.


@each_depth
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)]
)
def test_reading_at_once_is_reading_step_by_step(
    layers: int, dtype: str, tolerance: float
) -> None:
    """The scores of a place are those of the state there, and the last state agrees."""
    model = make(layers, dtype=dtype)
    before = some_states(model)
    logits, after = forward(model, IDS, before)
    step = jax.jit(LanguageModel.step)
    states, found = before, []
    for ids in IDS.T:
        states = step(model, ids, states)
        found.append(model.next_logits(states))
    assert logits.shape == (B, T, V)
    assert logits.dtype == dtype
    assert_close(jnp.stack(found, axis=1), logits, tolerance)
    assert_close(states, after, tolerance)


def test_nothing_read_is_the_blank_state() -> None:
    model = make()
    assert_close(forward(model, IDS, model.initial_state(B)), forward(model, IDS), 0)
    assert not any(a.any() for a in jax.tree.leaves(model.initial_state(B)))


@each_depth
def test_scores_depend_on_what_was_read_and_on_nothing_else(layers: int) -> None:
    """Causality by gradient: every place reads its own row of the input table.

    The score at place t changes with the row of place s if and only if s is not later
    and in the same text. Zeros are exact, as there is no path; the others can't be
    zero by chance.
    """
    model = LanguageModel(T * B, H, layers, rngs=nnx.Rngs(0))
    ids = jnp.arange(T * B, dtype=jnp.int32).reshape(B, T)
    slopes = jax.jit(jax.jacrev(lambda model: model(ids)[0].sum(axis=-1)))(model)
    depends = np.asarray(slopes.layers[0].w_x[...] != 0).any(axis=-1)  # [B, T, BT]
    b, t = np.arange(B)[:, None, None, None], np.arange(T)[:, None, None]
    same_text, not_later = b == np.arange(B)[:, None], t >= np.arange(T)
    expected = (same_text & not_later).reshape(B, T, B * T)
    np.testing.assert_array_equal(depends, expected)


@pytest.mark.parametrize("limit", [0, 10**6], ids=["added up", "one-hot"])
def test_gradient_of_taken_rows(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """That of plain indexing; ids come several times, and one not at all."""
    monkeypatch.setattr(lookup, "_ONE_HOT_LIMIT", limit)
    table = jnp.asarray(RNG.normal(size=(V, H)), jnp.float32)
    weights = jnp.asarray(RNG.normal(size=(B, T, H)), jnp.float32)
    ids = jnp.where(IDS == 2, 3, IDS)

    def ours(table: jax.Array) -> jax.Array:
        return (weights * embedding_lookup(table, ids) ** 2).sum()

    def plain(table: jax.Array) -> jax.Array:
        return (weights * table[ids] ** 2).sum()

    np.testing.assert_array_equal(embedding_lookup(table, ids), table[ids])
    program = jax.make_jaxpr(jax.grad(ours))(table)
    assert ("scatter" in str(program)) == (limit == 0)
    found = jax.grad(ours)(table)
    assert_close(found, jax.grad(plain)(table))
    assert not found[2].any()
    assert found[3].any()


def test_tensor_cores_get_whole_vectors_of_symbols() -> None:
    """A product of 65 symbols, joined to one of 512 units, is the slower by half."""
    table, ids = jnp.ones((65, 8)), jnp.arange(6).reshape(2, 3)
    gradient = jax.grad(lambda table: embedding_lookup(table, ids).sum())
    traced = jax.jit(gradient).trace(table)
    for platform, symbols in (("cuda", 72), ("cpu", 65)):
        lowered = traced.lower(lowering_platforms=(platform,))
        (product,) = [
            line for line in lowered.as_text().splitlines() if "dot_general" in line
        ]
        assert f"-> tensor<{symbols}x8xf32>" in product


# Dropout.


def test_dropout_needs_a_key() -> None:
    model, plain = make(dropout=0.5), make()
    assert_close(forward(model, IDS), forward(plain, IDS), 0)
    key = jax.random.key(0)
    assert_close(forward(plain, IDS, key=key), forward(plain, IDS), 0)
    dropped, again = (forward(model, IDS, key=key)[0] for _ in range(2))
    other = forward(model, IDS, key=jax.random.key(1))[0]
    np.testing.assert_array_equal(dropped, again)
    assert not np.isclose(dropped, other).all(axis=-1).any()


def test_dropout_is_in_front_of_every_layer_but_the_first() -> None:
    """With a single layer it leaves the states alone; above that it reaches them."""
    key = jax.random.key(0)
    for layers, reached in ((1, [False]), (L, [False, True])):
        model = make(layers, dropout=0.5)
        states, plain = forward(model, IDS, key=key)[1], forward(model, IDS)[1]
        pairs = zip(states, plain, strict=True)
        assert [not np.allclose(a.h, b.h) for a, b in pairs] == reached


def test_dropout_differs_from_step_to_step_of_training() -> None:
    """At a learning rate of 0 nothing else changes."""
    model = make(1, dropout=0.5)
    optimizer = make_optimizer(0.0, 1.0, 0.99)
    step = jax.jit(functools.partial(train_step, language_loss, optimizer))
    state = init_state(model, optimizer, model.initial_state(B), jax.random.key(0))
    resets = batch(IDS, TARGETS, [True] * B)
    losses = []
    for _ in range(3):
        _, repeated = step(state, resets, jnp.float32(0))
        state, report = step(state, resets, jnp.float32(0))
        assert repeated.sums.loss == report.sums.loss
        losses.append(float(report.sums.loss))
    assert len(set(losses)) == 3


# The loss.


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "mogrifier"])
def test_new_symbols_share_the_probability_of_one(cell: str, tied: bool) -> None:
    model = LanguageModel(5, 4, 2, rngs=nnx.Rngs(0), cell=cell, tie_embedding=tied)
    wider = with_more_symbols(model, 7, 0)
    ids = jnp.array([[0, 3, 1, 4]])
    before, after = (jax.nn.softmax(each(ids)[0]) for each in (model, wider))
    assert_close(after[..., 1:5], before[..., 1:])
    for symbol in (0, 5, 6):
        assert_close(after[..., symbol], before[..., 0] / 3)
    assert_close(
        wider(jnp.array([[5, 3, 6, 4]]))[0], wider(jnp.array([[0, 3, 0, 4]]))[0]
    )
    assert len(model.b_out[...]) == 5


def test_loss_is_the_cross_entropy_of_the_scores() -> None:
    model = make()
    logits, states = forward(model, IDS)
    chances = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(chances, np.asarray(TARGETS)[..., None], axis=-1)
    sums, after = loss_of(
        model, model.initial_state(B), batch(IDS, TARGETS, [False] * B), None
    )
    assert_close(sums.loss, -np.log(chosen).sum())
    assert sums.count == T * B
    assert_close(after, states)


def test_fresh_rows_start_from_zero_and_others_go_on() -> None:
    model = make()
    before, resets = some_states(model), [True, False, True]
    no_row, every_row = [False] * B, [True] * B

    def rows(chosen: list[bool]) -> dict:
        targets = jnp.where(jnp.array(chosen)[:, None], TARGETS, IGNORED)
        return batch(IDS, targets, no_row)

    mixed, after = loss_of(model, before, batch(IDS, TARGETS, resets), None)
    anew, started = loss_of(model, model.initial_state(B), rows(resets), None)
    on, went_on = loss_of(model, before, rows([not f for f in resets]), None)
    assert_close(mixed, anew + on)
    expected = jax.tree.map(
        lambda a, b: jnp.where(jnp.array(resets)[:, None], a, b), started, went_on
    )
    assert_close(after, expected)
    whole, _ = loss_of(model, before, batch(IDS, TARGETS, every_row), None)
    assert abs(whole.loss - mixed.loss) > 1e-3  # the states do matter


@pytest.mark.parametrize("cut", [1, 4])
def test_two_segments_are_one_long_one(cut: int) -> None:
    model = make()
    rows = [False] * B
    whole = loss_of(model, some_states(model), batch(IDS, TARGETS, rows), None)
    states, total = (
        some_states(model),
        loss_sums(*[jnp.float32(0)] * 2, accuracy=jnp.float32(0)),
    )
    for part in (slice(cut), slice(cut, None)):
        segment = batch(IDS[:, part], TARGETS[:, part], rows)
        sums, states = loss_of(model, states, segment, None)
        total = total + sums
    assert_close((total, states), whole)


def test_gradients_stop_where_a_segment_begins() -> None:
    """A step learns from its own segment: the carried state is a constant to it."""
    model, rows = make(1), [False] * B
    first = batch(IDS[:, :4], TARGETS[:, :4], rows)
    second = batch(IDS[:, 4:], TARGETS[:, 4:], rows)
    optimizer = make_optimizer(0.0, 1.0, 0.99)
    step = jax.jit(functools.partial(train_step, language_loss, optimizer))
    state = init_state(model, optimizer, model.initial_state(B), jax.random.key(0))
    state, _ = step(state, first, jnp.float32(0))
    _, report = step(state, second, jnp.float32(0))

    def truncated(model: LanguageModel) -> jax.Array:
        sums, _ = language_loss(model, state.carry, second, None)
        return sums.loss / sums.count

    def whole(model: LanguageModel) -> jax.Array:
        _, states = language_loss(model, model.initial_state(B), first, None)
        sums, _ = language_loss(model, states, second, None)
        return sums.loss / sums.count

    @jax.jit
    def norms(model: LanguageModel) -> list[jax.Array]:
        return [optax.tree.norm(jax.grad(loss)(model)) for loss in (truncated, whole)]

    expected, other = norms(model)
    assert_close(report.gradient_norm, expected)
    assert abs(other - expected) > 1e-3


def test_the_softmax_may_see_the_last_layer_alone() -> None:
    model = LanguageModel(V, H, L, rngs=nnx.Rngs(0), top_only=True)
    assert model.w_out.shape == (H, V)
    logits, states = forward(model, IDS)
    hs, _ = jax.jit(LanguageModel.read)(model, IDS)
    expected = hs[..., -H:] @ model.w_out[...] + model.b_out[...]
    assert_close(logits, expected)
    assert_close(model.next_logits(states), expected[:, -1])
    loud = jax.tree.map(lambda a: a, model)
    loud.w_out[...] *= 2  # nothing else reaches the scores
    assert_close(forward(loud, IDS)[0], 2 * expected)


def test_a_tied_embedding_reads_and_scores() -> None:
    """Its gradient is the sum of those of two matrices that are not tied."""
    model = LanguageModel(V, H, L, rngs=nnx.Rngs(0), tie_embedding=True)
    assert model.w_out is None and model.embedding is not None
    model.b_out[...] = jnp.linspace(-1, 1, V)
    assert model.embedding.shape == (V, H)

    def apart(table: jax.Array, readout: jax.Array) -> jax.Array:
        xs = table[IDS.T]
        for layer in model.layers:
            xs, _ = lstm(layer.params, xs, engine="scan")
        return (xs @ readout + model.b_out[...]).swapaxes(0, 1)

    shared = model.embedding[...]
    logits, states = forward(model, IDS)
    assert_close(logits, jax.jit(apart)(shared, shared.T))
    assert_close(model.next_logits(states), logits[:, -1])
    assert_close(model.step(IDS[:, -1], forward(model, IDS[:, :-1])[1]), states)

    @jax.jit
    def slopes(model: LanguageModel) -> tuple:
        tied = jax.grad(lambda model: (model(IDS)[0] ** 2).sum())(model)
        two = jax.grad(lambda *pair: (apart(*pair) ** 2).sum(), argnums=(0, 1))
        return tied.embedding[...], two(shared, shared.T)

    tied, (reading, scoring) = slopes(model)
    assert_close(tied, reading + scoring.T, 1e-4)


@pytest.mark.parametrize("cell", ["gru", "mogrifier", "coupled"])
def test_a_tied_embedding_with_any_cell(cell: str) -> None:
    model = LanguageModel(V, H, L, rngs=nnx.Rngs(0), tie_embedding=True, cell=cell)
    logits, states = forward(model, IDS)
    assert_close(model.next_logits(states), logits[:, -1])
    assert_close(model.step(IDS[:, -1], forward(model, IDS[:, :-1])[1]), states)
    assert float(jnp.abs(logits).max()) < 3  # nobody is sure of anything yet
