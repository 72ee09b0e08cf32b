"""The sequence classifier against a slow one in NumPy, and what padding must not do."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from lstm_jax.cells.lstm import LSTMParams
from lstm_jax.config import RegularizerConfig
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.models.classifier import (
    Pooling,
    SequenceClassifier,
    classifier_loss,
    classifier_measures,
)
from lstm_jax.nn.layers import LSTM, Bidirectional
from tests.helpers import reference_lstm
from tests.helpers.reference_lstm import Case, assert_close

T, B, D, H, V, CLASSES = 5, 4, 3, 2, 7, 3
LENGTHS = np.array([5, 0, 3, 1], np.int32)
ALL: tuple[Pooling, ...] = ("mean", "max", "last")


def classifier(
    *,
    vocab_size: int | None = V,
    layers: int = 2,
    pooling: Sequence[Pooling] = ALL,
    bidirectional: bool = True,
    dropout: float = 0.0,
    regularizer: RegularizerConfig | None = None,
    side_features: int = 0,
) -> SequenceClassifier:
    """A small one with random numbers everywhere, no two alike."""
    model = SequenceClassifier(
        D,
        H,
        layers,
        CLASSES,
        rngs=nnx.Rngs(0),
        vocab_size=vocab_size,
        pooling=pooling,
        bidirectional=bidirectional,
        dropout=dropout,
        regularizer=regularizer or RegularizerConfig(),
        side_features=side_features,
    )
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda a: jnp.asarray(0.7 * rng.normal(size=a.shape), a.dtype), model
    )


@jax.jit
def logits_of(
    model: SequenceClassifier, inputs: jax.Array, lengths: jax.Array | None = None
) -> jax.Array:
    return model(inputs, lengths)


def some_ids(steps: int = T) -> NDArray[np.int32]:
    return np.random.default_rng(2).integers(0, V, (B, steps)).astype(np.int32)


def table_of(model: SequenceClassifier) -> NDArray[np.float64]:
    assert model.table is not None
    return np.asarray(model.table[...], np.float64)


def case_of(params: LSTMParams, xs: NDArray) -> Case:
    weights = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    return Case(weights.w_x, weights.w_h, weights.b, xs, None, None)


def slow_scores(model: SequenceClassifier, xs: NDArray, length: int) -> NDArray:
    """The scores of one row [T, D]: only its real steps exist at all."""
    if length == 0:
        return np.asarray(model.b_out[...], np.float64)
    xs, ends = xs[:length, None], []
    for layer in model.stack.layers:
        assert isinstance(layer, Bidirectional)
        both = (layer.forward, False), (layer.backward, True)
        read = [
            reference_lstm.sequence(case_of(face.params, xs), reverse=reverse)
            for face, reverse in both
        ]
        xs = np.concatenate([ys for ys, _, _ in read], axis=-1)
        ends = [h[0] for _, h, _ in read]
    hs = xs[:, 0]
    pooled = {"mean": hs.mean(0), "max": hs.max(0), "last": np.concatenate(ends)}
    seen = np.concatenate([pooled[kind] for kind in model.pooling])
    return seen @ np.float64(model.w_out[...]) + np.float64(model.b_out[...])


def test_scores_are_those_of_a_slow_reference() -> None:
    model = classifier()
    ids = some_ids()
    vectors = table_of(model)[ids]
    expected = [slow_scores(model, vectors[b], LENGTHS[b]) for b in range(B)]
    assert_close(logits_of(model, ids, LENGTHS), np.stack(expected), 1e-5)


def test_dense_inputs_are_read_as_they_are() -> None:
    model = classifier(vocab_size=None, layers=1, pooling=("last", "mean"))
    xs = np.random.default_rng(3).normal(size=(B, T, D))
    expected = [slow_scores(model, xs[b], T) for b in range(B)]
    assert_close(logits_of(model, jnp.float32(xs)), np.stack(expected), 1e-5)


def some_beside(steps: int = T) -> jax.Array:
    drawn = np.random.default_rng(6).normal(size=(B, steps, 2))
    return jnp.asarray(drawn, jnp.float32)


def test_side_features_stand_behind_the_embedding() -> None:
    model, beside = classifier(side_features=2), some_beside()
    ids, lengths = jnp.asarray(some_ids()), jnp.asarray(LENGTHS)
    xs = np.concatenate([table_of(model)[some_ids()], np.float64(beside)], axis=-1)
    expected = [slow_scores(model, xs[b], LENGTHS[b]) for b in range(B)]
    read = jax.jit(lambda model: model(ids, lengths, beside=beside))
    assert_close(read(model), np.stack(expected), 1e-5)
    batch = some_batch()
    sums, _ = loss_of(model, (), batch | {"beside": beside}, None)
    logits = np.stack(expected)[ROWS]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert_close(sums.loss, -logs[[0, 1, 2], TARGETS].sum(), 1e-5)


def test_side_features_are_those_that_were_announced() -> None:
    with pytest.raises(ValueError, match="beside: expected 2 side features, found 0"):
        classifier(side_features=2)(jnp.asarray(some_ids()))
    with pytest.raises(ValueError, match="beside: expected 0 side features, found 2"):
        classifier()(jnp.asarray(some_ids()), beside=some_beside())


def test_side_features_are_dropped_with_their_symbol_alone() -> None:
    """Of a zero embedding only they are seen: gone, or there and scaled up."""
    rates = RegularizerConfig(input_dropout=0.5)
    model = classifier(layers=1, regularizer=rates, side_features=2)
    assert model.table is not None
    model.table[...] = jnp.zeros_like(model.table[...])
    ids, beside = jnp.asarray(some_ids()[:, :1]), some_beside(1)
    keys = jax.random.split(jax.random.key(0), 32)
    read = jax.jit(lambda b, key: model(ids, key=key, beside=b))
    noisy = np.stack([read(beside, key) for key in keys])
    gone, there = (read(factor * beside, None) for factor in (0.0, 2.0))
    for row in range(B):
        near = [
            np.abs(noisy[:, row] - out[row]).max(-1) < 1e-5 for out in (gone, there)
        ]
        assert (near[0] ^ near[1]).all() and near[0].any() and near[1].any()


def test_one_direction_alone() -> None:
    model = classifier(bidirectional=False, layers=1, pooling=("last",))
    layer = model.stack.layers[0]
    assert isinstance(layer, LSTM)
    xs = table_of(model)[some_ids().T]  # time first, as the recurrence has it
    _, last, _ = reference_lstm.sequence(case_of(layer.params, xs), LENGTHS.astype(int))
    expected = last @ np.float64(model.w_out[...]) + np.float64(model.b_out[...])
    assert_close(logits_of(model, some_ids(), LENGTHS), expected, 1e-5)


def test_padding_never_counts() -> None:
    """Other ids in the padding, more of it, and rows of nothing: the same scores."""
    model, ids = classifier(), some_ids()
    longer = (some_ids(T + 3) + 1) % V
    for b, length in enumerate(LENGTHS):
        longer[b, :length] = ids[b, :length]
    expected = logits_of(model, ids, LENGTHS)
    assert_close(logits_of(model, longer, LENGTHS), expected, 1e-6)


def test_no_gradient_reaches_the_padding() -> None:
    model = classifier(vocab_size=None)
    xs = jnp.float32(np.random.default_rng(4).normal(size=(B, T, D)))
    weights = jnp.float32(np.random.default_rng(5).normal(size=(B, CLASSES)))

    def total(xs: jax.Array) -> jax.Array:
        return (weights * model(xs, jnp.asarray(LENGTHS))).sum()

    moved = np.abs(jax.jit(jax.grad(total))(xs)).max(axis=-1)
    real = np.arange(T) < LENGTHS[:, None]
    assert (moved[real] > 0).all() and (moved[~real] == 0).all()


def some_batch() -> dict[str, jax.Array]:
    return {
        "inputs": jnp.asarray(some_ids()),
        "lengths": jnp.asarray(LENGTHS),
        "targets": jnp.array([2, IGNORED, 0, 1]),
    }


def log_probabilities(model: SequenceClassifier) -> NDArray[np.float64]:
    logits = np.float64(logits_of(model, some_ids(), LENGTHS))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


ROWS, TARGETS = [0, 2, 3], [2, 0, 1]  # those of the batch that count
loss_of = jax.jit(classifier_loss)


def test_the_loss_is_that_of_the_rows_that_count() -> None:
    model, batch = classifier(), some_batch()
    logs = log_probabilities(model)[ROWS]
    sums, carry = loss_of(model, (), batch, None)
    assert carry == () and int(sums.count) == 3 and sums.penalty is None
    assert_close(sums.loss, -logs[[0, 1, 2], TARGETS].sum(), 1e-6)
    assert int(sums.metrics["accuracy"].total) == (logs.argmax(-1) == TARGETS).sum()
    measures = jax.jit(classifier_measures)(model, batch)
    assert_close(measures.sums, sums, 1e-6)


def test_scores_are_divided_by_the_training_temperature_in_training_only() -> None:
    model = classifier(regularizer=RegularizerConfig(training_temperature=0.5))
    logits = 2 * log_probabilities(model)[ROWS]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    sums, _ = loss_of(model, (), some_batch(), jax.random.key(0))
    assert_close(sums.loss, -logs[[0, 1, 2], TARGETS].sum(), 1e-5)
    plain, _ = loss_of(classifier(), (), some_batch(), None)
    assert_close(loss_of(model, (), some_batch(), None)[0].loss, plain.loss, 1e-6)


def test_the_objective_has_its_penalties_and_the_loss_does_not() -> None:
    model = classifier(regularizer=RegularizerConfig(l2=0.1, label_smoothing=0.2))
    sums, _ = loss_of(model, (), some_batch(), jax.random.key(0))
    logs = log_probabilities(model)[ROWS]
    plain = logs[[0, 1, 2], TARGETS]
    assert_close(sums.loss, -plain.sum(), 1e-6)
    matrices = [np.float64(a) for a in jax.tree.leaves(model) if a.ndim > 1]
    squares = 0.1 / 2 * sum((a**2).sum() for a in matrices) * len(ROWS)
    smoothing = 0.2 * (plain - logs.mean(-1)).sum()
    assert_close(sums.penalty, squares + smoothing, 1e-5)
    assert loss_of(model, (), some_batch(), None)[0].penalty is None


@pytest.mark.parametrize("noise", ["dropout", "input_dropout", "variational"])
def test_noise_needs_a_key_and_differs_between_keys(noise: str) -> None:
    rates = RegularizerConfig(
        input_dropout=0.5 * (noise != "dropout"), variational=noise == "variational"
    )
    model = classifier(layers=1, dropout=0.5 * (noise == "dropout"), regularizer=rates)
    ids, lengths = jnp.asarray(some_ids()), jnp.asarray(LENGTHS)
    keys = jax.random.split(jax.random.key(1), 8)
    noisy = jax.jit(jax.vmap(lambda key: model(ids, lengths, key=key)))(keys)
    spread = np.ptp(noisy, axis=0).max(axis=-1)
    assert (spread[LENGTHS > 0] > 0.01).all()
    assert spread[1] == 0  # a row of nothing has nothing to drop


def test_symbols_are_dropped_whole() -> None:
    """A single symbol is either gone or there, scaled up: two outcomes, no others."""
    model = classifier(layers=1, regularizer=RegularizerConfig(input_dropout=0.5))
    ids = jnp.asarray(some_ids()[:, :1])
    keys = jax.random.split(jax.random.key(0), 32)
    noisy = jax.jit(jax.vmap(lambda key: model(ids, key=key)))(keys)

    def scaled(factor: float) -> jax.Array:
        changed = classifier(layers=1)
        assert changed.table is not None
        changed.table[...] = factor * changed.table[...]
        return logits_of(changed, ids)

    gone, there = scaled(0.0), scaled(2.0)
    for row in range(B):
        near = [
            np.abs(noisy[:, row] - out[row]).max(-1) < 1e-5 for out in (gone, there)
        ]
        assert (near[0] ^ near[1]).all() and near[0].any() and near[1].any()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pooling": ()}, r"pooling: expected some of mean, max, last, found \(\)"),
        ({"dropout": 1.0}, "dropout: expected a share"),
        ({"vocab_size": None, "side_features": 2}, "side_features: expected a vocab"),
        ({"regularizer": RegularizerConfig(activation_penalty=0.1)}, "for language"),
        ({"regularizer": RegularizerConfig(temporal_penalty=0.1)}, "for language"),
    ],
)
def test_what_it_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier(**changed)
