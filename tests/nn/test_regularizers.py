"""Regularizers: their means, their absence, and what they cost when they are off."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.config import PLAIN, RegularizerConfig
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, TrainConfig, check
from lstm_jax.metrics.losses import LossSums, cross_entropy
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM
from lstm_jax.nn.recurrence import lstm
from lstm_jax.nn.regularizers import (
    candidate_factors,
    check_rate,
    drop_connect,
    dropout,
    loop_masks,
    objective_terms,
    symbol_factors,
    weight_penalty,
    zoneout_shares,
)
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.step import StepReport, init_state, train_step
from tests.helpers.reference_lstm import random_case

T, B, D, H, V = 5, 3, 2, 4, 6
RATE, DRAWS = 0.3, 10_000
SPREAD = 5 * np.sqrt(RATE / (1 - RATE) / DRAWS)  # five deviations of a mean of factors
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, DRAWS)
CASE = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), random_case(0, T, B, D, H))
PARAMS = LSTMParams(CASE.w_x, CASE.w_h, CASE.b)
STATE = LSTMState(CASE.h, CASE.c)
IDS = jnp.asarray(np.random.default_rng(0).integers(V, size=(B, T)), jnp.int32)


def close(actual: object, expected: object, tolerance: float = 1e-6) -> None:
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance),
        actual,
        expected,
    )


def same(actual: object, expected: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


# Dropout.


def test_dropout_keeps_the_mean() -> None:
    """Every element is dropped at its rate, and the others make up for it."""
    xs = jnp.arange(1.0, 7.0).reshape(2, 3)
    ys = jax.vmap(lambda key: dropout(key, xs, RATE))(KEYS)
    np.testing.assert_allclose(ys.mean(axis=0), xs, rtol=SPREAD)
    np.testing.assert_allclose(ys.max(axis=0), xs / (1 - RATE), rtol=1e-6)
    share = np.asarray(ys == 0).mean(axis=0)
    np.testing.assert_allclose(share, RATE, atol=5 * np.sqrt(RATE * (1 - RATE) / DRAWS))
    dropped = np.asarray(ys == 0).reshape(DRAWS, -1)
    assert np.abs(np.corrcoef(dropped.T) - np.eye(6)).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize("axis", [0, 1])
def test_variational_dropout_has_one_mask_for_all_steps(axis: int) -> None:
    xs = jnp.arange(1.0, 25.0).reshape(2, 3, 4)
    ys = np.asarray(jax.vmap(lambda key: dropout(key, xs, RATE, axis))(KEYS))
    np.testing.assert_allclose(ys.mean(axis=0), xs, rtol=SPREAD)
    factors = np.moveaxis(ys / xs, axis + 1, 0)
    same(factors == 0, np.broadcast_to(factors[0] == 0, factors.shape))
    dropped = (factors[0] == 0).reshape(DRAWS, -1)  # but each of the others its own
    assert np.abs(np.corrcoef(dropped.T) - np.eye(24 // xs.shape[axis])).max() < 0.06


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_that_are_no_share(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout: .* in \[0, 1\), found {rate}"):
        check_rate("dropout", rate)
    with pytest.raises(ValueError, match=rf"--weight-drop: .*, found {rate}"):
        LSTM(D, H, rngs=nnx.Rngs(0), regularizer=with_rates(weight_drop=rate))


@pytest.mark.parametrize("variational", [False, True])
def test_dropped_symbols(variational: bool) -> None:
    """The mean is 1; with a variational mask, alike where the symbol is alike."""
    draw = functools.partial(
        symbol_factors, ids=IDS, symbols=V, rate=RATE, variational=variational
    )
    factors = np.asarray(jax.vmap(draw)(KEYS))
    assert factors.shape == (DRAWS, B, T, 1)
    np.testing.assert_allclose(factors.mean(axis=0), 1, rtol=SPREAD)
    flat = factors.reshape(DRAWS, -1) == 0
    related = np.corrcoef(flat.T) > 0.5
    row = np.repeat(np.arange(B), T)
    symbol = np.asarray(IDS).ravel()
    alike = (row[:, None] == row) & (symbol[:, None] == symbol)
    same(related, alike if variational else np.eye(T * B, dtype=bool))
    assert variational or not (alike == np.eye(T * B)).all()  # the example has some


# Inside the recurrence.


def test_dropped_weights_have_the_mean_of_the_weights() -> None:
    mean = jax.vmap(lambda key: drop_connect(key, PARAMS.w_h, RATE))(KEYS).mean(axis=0)
    np.testing.assert_allclose(mean, PARAMS.w_h, rtol=SPREAD)


def by_hand(masks: dict[str, NDArray]) -> NDArray:
    """Every h, by the equations of the two papers."""
    w_x, w_h, b = (np.asarray(a, np.float64) for a in (CASE.w_x, CASE.w_h, CASE.b))
    h, c = np.asarray(CASE.h, np.float64), np.asarray(CASE.c, np.float64)
    hs = []
    for t in range(T):
        i, f, g, o = np.split(np.asarray(CASE.xs[t]) @ w_x + h @ w_h + b, 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        new_c = f * c + i * (np.tanh(g) * masks["candidate"][t])
        new_h = o * np.tanh(new_c)
        c = masks["zoneout_c"][t] * c + (1 - masks["zoneout_c"][t]) * new_c
        h = masks["zoneout_h"][t] * h + (1 - masks["zoneout_h"][t]) * new_h
        hs.append(h)
    return np.stack(hs)


def test_the_loop_obeys_its_masks() -> None:
    rng = np.random.default_rng(1)
    masks = {
        "candidate": rng.uniform(0, 2, (T, B, H)),
        "zoneout_h": rng.integers(2, size=(T, B, H)),
        "zoneout_c": rng.integers(2, size=(T, B, H)),
    }
    given = LoopMasks(**{k: jnp.asarray(m, jnp.float32) for k, m in masks.items()})
    ys, _ = lstm(PARAMS, CASE.xs, STATE, masks=given)
    close(ys, by_hand(masks), 1e-5)


def one_step(masks: LoopMasks | None) -> LSTMState:
    """The state after the first step."""
    return lstm(PARAMS, CASE.xs[:1], STATE, engine="scan", masks=masks)[1]


@pytest.mark.parametrize("variational", [False, True])
def test_recurrent_dropout_keeps_the_mean_of_the_cell(variational: bool) -> None:
    """What is written is dropped, what is remembered is not: c is linear in it."""
    rates = RegularizerConfig(recurrent_dropout=RATE, variational=variational)
    cells = jax.vmap(lambda key: one_step(loop_masks(key, (1, B, H), rates)).c)(KEYS)
    np.testing.assert_allclose(cells.mean(axis=0), one_step(None).c, atol=SPREAD)
    factors = np.asarray(candidate_factors(KEY, (T, B, H), 0.5, variational))
    assert (factors == factors[0]).all() == variational
    assert loop_masks(None, (1, B, H), rates) is None


def test_zoneout_at_evaluation_is_its_mean() -> None:
    """Of a step, over many masks: a share of the old state and the rest of the new."""
    rates = RegularizerConfig(zoneout_hidden=0.1, zoneout_cell=RATE)
    draw = jax.vmap(lambda key: one_step(loop_masks(key, (1, B, H), rates)))
    drawn = draw(KEYS)
    expected = one_step(loop_masks(None, (1, B, H), rates))
    close(jax.tree.map(lambda a: a.mean(axis=0), drawn), expected, 0.03)
    plain = one_step(None)
    close(expected.h, 0.1 * STATE.h + 0.9 * plain.h)
    close(expected.c, RATE * STATE.c + (1 - RATE) * plain.c)
    # A unit keeps its value or does not: nothing between.
    kept = np.asarray(drawn.c == STATE.c)
    np.testing.assert_allclose(kept.mean(axis=0), RATE, atol=0.03)
    close(np.where(kept, plain.c, drawn.c), np.broadcast_to(plain.c, kept.shape))


def test_what_is_not_asked_for_is_not_there() -> None:
    assert loop_masks(KEY, (T, B, H), RegularizerConfig(weight_drop=0.5)) is None
    assert zoneout_shares(KEY, (T, B, H), 0.0) is None
    same(dropout(KEY, CASE.xs, 0.0), CASE.xs)


def test_padding_and_resets_hold_under_masks() -> None:
    """Steps of padding change nothing; a reset hides the past, held or not."""
    rates = RegularizerConfig(zoneout_hidden=0.5, zoneout_cell=0.5)
    masks = loop_masks(KEY, (T, B, H), rates)
    lengths = jnp.array([T, 0, 2])
    ys, last = lstm(PARAMS, CASE.xs, STATE, lengths=lengths, masks=masks)
    close((last.h[1], last.c[1]), (STATE.h[1], STATE.c[1]))
    close(last.h[2], ys[1, 2])
    resets = jnp.zeros((T, B), bool).at[2].set(True)
    ys, _ = lstm(PARAMS, CASE.xs, STATE, resets=resets, masks=masks)
    rest = jax.tree.map(lambda a: a[2:], masks)
    close(ys[2:], lstm(PARAMS, CASE.xs[2:], masks=rest)[0])


# Which engine can.


def test_the_fused_engine_has_no_masks() -> None:
    masks = LoopMasks(zoneout_h=jnp.zeros((T, 1, 1)))
    message = "engine 'fused': .*recurrent dropout or zoneout, .* that can: scan$"
    with pytest.raises(ValueError, match=message):
        lstm(PARAMS, CASE.xs, engine="fused", masks=masks)
    noisy = RegularizerConfig(recurrent_dropout=0.1)
    with pytest.raises(ValueError, match=message):
        LSTM(D, H, rngs=nnx.Rngs(0), engine="fused", regularizer=noisy)
    config = TrainConfig(regularizer=noisy, model=ModelConfig(engine="fused"))
    with pytest.raises(InputError, match=r"--engine: expected scan, .* found fused"):
        check(config)
    for engine in ("auto", "scan"):
        check(dataclasses.replace(config, model=ModelConfig(engine=engine)))


@pytest.mark.parametrize("name", ["weight_drop", "input_dropout"])
def test_every_engine_has_the_others(name: str) -> None:
    losses = [
        float(loss(make(engine=engine, **{name: 0.5}), KEY))
        for engine in ("scan", "fused")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(float(loss(make(), KEY)), rel=1e-4)


# In the language model.


def with_rates(**rates: float) -> RegularizerConfig:
    """Some of the rates by their names."""
    changes: dict[str, Any] = {**rates}
    return dataclasses.replace(PLAIN, **changes)


BATCH = {"inputs": IDS, "targets": IDS[:, ::-1], "resets": jnp.zeros(B, bool)}


@functools.cache
def make(engine: str = "auto", dropout: float = 0.0, **rates: float) -> LanguageModel:
    """A model of two layers."""
    return LanguageModel(
        V,
        H,
        2,
        rngs=nnx.Rngs(0),
        engine=engine,
        dropout=dropout,
        regularizer=with_rates(**rates),
    )


@jax.jit
def loss(model: LanguageModel, key: jax.Array | None = None) -> jax.Array:
    """The plain loss, as it is reported."""
    return language_loss(model, model.initial_state(B), BATCH, key)[0].loss


NOISES = {
    "dropout": {"dropout": 0.5},
    "variational": {"dropout": 0.5, "variational": True},
    "input": {"input_dropout": 0.5},
    "variational input": {"input_dropout": 0.5, "variational": True},
    "weights": {"weight_drop": 0.5},
    "candidate": {"recurrent_dropout": 0.5},
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_needs_a_key_and_is_decided_by_it(name: str) -> None:
    """Without one the model is the plain one, bit for bit."""
    engine = "scan" if name == "candidate" else "auto"
    noisy, plain = make(engine, **NOISES[name]), make(engine)
    same(loss(noisy), loss(plain))
    found = [float(loss(noisy, jax.random.key(seed))) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert float(loss(plain)) not in found


def test_zoneout_is_the_same_read_at_once_and_step_by_step() -> None:
    """What generation does is what evaluation measured."""
    model = make(zoneout_hidden=0.2, zoneout_cell=0.4)
    logits, states = jax.jit(LanguageModel.__call__)(model, IDS)
    step = jax.jit(LanguageModel.step)
    walked, found = model.initial_state(B), []
    for ids in IDS.T:
        walked = step(model, ids, walked)
        found.append(model.next_logits(walked))
    close(jnp.stack(found, axis=1), logits, 1e-5)
    close(walked, states, 1e-5)
    assert abs(loss(model) - loss(make())) > 0.01
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    one, again, other = (float(loss(model, key)) for key in keys)
    assert one == again != other


def test_what_is_off_costs_nothing() -> None:
    """With a key the program is the one without: no draw, no other operation."""

    def program(model: LanguageModel, key: jax.Array | None) -> str:
        def measure(model: LanguageModel) -> jax.Array:
            return language_loss(model, model.initial_state(B), BATCH, key)[0].loss

        return str(jax.make_jaxpr(jax.grad(measure))(model))

    assert program(make(), KEY) == program(make(), None)
    assert "random" not in program(make(), KEY)
    for name, rates in NOISES.items():
        noisy = program(make("scan", **rates), KEY)
        assert "random_bits" in noisy, name


# Penalties.


@pytest.mark.parametrize(("l1", "l2"), [(0.5, 0.0), (0.0, 0.5), (0.2, 0.7)])
def test_weight_penalty_is_for_matrices(l1: float, l2: float) -> None:
    w = np.asarray(CASE.w_h, np.float64)
    params = {"w": CASE.w_h, "b": CASE.b}
    value, slope = jax.value_and_grad(weight_penalty)(params, l1, l2)
    close(value, l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum(), 1e-5)
    close(slope["w"], l1 * np.sign(w) + l2 * w)
    assert not slope["b"].any()


@pytest.mark.parametrize("counted", [1.0, 0.5])
def test_label_smoothing_is_that_of_optax(counted: float) -> None:
    rng = np.random.default_rng(2)
    logits = jnp.asarray(3 * rng.normal(size=(B, T, V)), jnp.float32)
    targets = jnp.where(rng.random((B, T)) < counted, IDS, IGNORED)

    def theirs(logits: jax.Array) -> jax.Array:
        labels = optax.smooth_labels(jax.nn.one_hot(targets, V), 0.2)
        nats = optax.softmax_cross_entropy(logits, labels)
        return jnp.where(targets == IGNORED, 0, nats).sum()

    def ours(logits: jax.Array) -> jax.Array:
        sums = cross_entropy(logits, targets, 0.2)
        assert sums.penalty is not None
        return sums.loss + sums.penalty

    close(jax.value_and_grad(ours)(logits), jax.value_and_grad(theirs)(logits), 1e-5)
    plain = cross_entropy(logits, targets)
    assert plain.penalty is None
    same(cross_entropy(logits, targets, 0.2).loss, plain.loss)


def expected_terms(name: str, shown: NDArray, hs: NDArray) -> float:
    """A penalty of rate 1 by its definition, in nats per position."""
    w = np.asarray(CASE.w_h, np.float64)
    return {
        "l1": np.abs(w).sum(),
        "l2": (w**2).sum() / 2,
        "activation_penalty": (shown**2).mean(),
        "temporal_penalty": ((hs[1:] - hs[:-1]) ** 2).mean(),
    }[name]


@pytest.mark.parametrize(
    "names",
    [
        ("l1",),
        ("l2",),
        ("activation_penalty",),
        ("temporal_penalty",),
        ("l1", "l2", "activation_penalty", "temporal_penalty"),
    ],
    ids=len,
)
def test_terms_of_the_objective(names: tuple[str, ...]) -> None:
    shown, hs = np.random.default_rng(3).normal(size=(2, T, B, H))
    rates = {name: 0.1 * (k + 1) for k, name in enumerate(names)}
    found = objective_terms(
        {"w": CASE.w_h, "b": CASE.b},
        jnp.float32(shown),
        jnp.float32(hs),
        with_rates(**rates),
    )
    close(found, sum(r * expected_terms(n, shown, hs) for n, r in rates.items()), 1e-5)


def test_a_single_step_has_no_change_to_punish() -> None:
    hs = jnp.ones((1, B, H))
    assert objective_terms({}, hs, hs, with_rates(temporal_penalty=1.0)) is None


def test_scores_are_divided_by_the_training_temperature_in_training_only() -> None:
    model = make(training_temperature=0.8)
    logits = np.asarray(model(IDS)[0], np.float64)

    def nats(logits: NDArray) -> float:
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return -np.take_along_axis(logs, np.asarray(IDS[:, ::-1])[..., None], -1).sum()

    close(loss(model), nats(logits), 1e-5)
    close(loss(model, KEY), nats(logits / 0.8), 1e-5)


def test_penalties_are_in_the_objective_and_in_no_report() -> None:
    """Together: the step's gradient is that of loss and penalty, its report plain."""
    rates = {
        "label_smoothing": 0.1,
        "l1": 0.01,
        "l2": 0.02,
        "activation_penalty": 2.0,
        "temporal_penalty": 1.0,
    }
    model = make(dropout=0.3, **rates)
    optimizer = make_optimizer(0.0, 1e9, 0.99)

    @jax.jit
    def step(model: LanguageModel) -> StepReport:
        state = init_state(model, optimizer, model.initial_state(B), KEY)
        zero = jnp.float32(0)
        return train_step(language_loss, optimizer, state, BATCH, zero)[1]

    def objective(model: LanguageModel) -> tuple[jax.Array, LossSums]:
        key = jax.random.fold_in(KEY, 0)  # of step 0
        hs, _ = model.read_over_time(IDS.T, key=key)
        shown = model.drop(hs, key, 0)
        sums = cross_entropy(model.logits(shown), BATCH["targets"].T, 0.1)
        assert sums.penalty is not None
        terms = objective_terms(model, shown, hs, model.regularizer)
        assert terms is not None
        return (sums.loss + sums.penalty) / (T * B) + terms, sums

    found = step(model)
    assert found.sums.penalty is None
    gradient, sums = jax.jit(jax.grad(objective, has_aux=True))(model)
    close(found.gradient_norm, optax.tree.norm(gradient), 1e-5)
    close(found.sums.loss, sums.loss, 1e-5)
    close(sums.loss, loss(make(dropout=0.3), jax.random.fold_in(KEY, 0)), 1e-5)
    assert language_loss(model, model.initial_state(B), BATCH, None)[0].penalty is None


# In the Flax layers.


@pytest.mark.parametrize("name", ["weight_drop", "zoneout_cell"])
@pytest.mark.parametrize("kind", [LSTM, Bidirectional])
def test_layers_have_them(kind: type, name: str) -> None:
    rates = with_rates(**{name: 0.5})
    layer = kind(D, H, rngs=nnx.Rngs(0), engine="scan", regularizer=rates)
    plain = kind(D, H, rngs=nnx.Rngs(0), engine="scan")
    xs = jnp.swapaxes(CASE.xs, 0, 1)
    one, again, other, quiet = (
        np.asarray(layer(xs, key=key)[0]) for key in (KEY, KEY, jax.random.key(1), None)
    )
    same(one, again)
    assert np.abs(one - other).max() > 1e-3
    unchanged = np.abs(quiet - plain(xs)[0]).max() == 0
    assert unchanged == (name != "zoneout_cell")


def test_a_stack_drops_its_inputs_with_one_mask_for_all_steps() -> None:
    """What the first layer does not read has no gradient, at all steps or at none."""
    rates = RegularizerConfig(input_dropout=0.5, variational=True)
    stack = StackedLSTM(D, H, 2, rngs=nnx.Rngs(0), regularizer=rates)
    xs = jnp.swapaxes(CASE.xs, 0, 1)

    @jax.jit
    @jax.grad
    def slope(xs: jax.Array) -> jax.Array:
        return (stack(xs, key=jax.random.key(2))[0] ** 2).sum()

    read = slope(xs)
    unread = np.asarray(read == 0)
    assert unread.any() and not unread.all()
    same(unread, np.broadcast_to(unread[:, :1], unread.shape))
