"""The translator against NumPy, sentence by sentence; at once and step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.models.seq2seq import Seq2Seq, build_seq2seq, seq2seq_loss
from lstm_jax.nn.layers import LSTM, Bidirectional
from tests.helpers import reference_lstm

B, S, T, V_SOURCE, V, D, H = 4, 6, 5, 9, 7, 4, 6
RNG = np.random.default_rng(0)
SOURCES = RNG.integers(V_SOURCE, size=(B, S)).astype(np.int32)
LENGTHS = np.array([6, 3, 1, 0], np.int32)
INPUTS = RNG.integers(V, size=(B, T)).astype(np.int32)
TARGETS = RNG.integers(V, size=(B, T)).astype(np.int32)
TARGETS[1, 3:] = TARGETS[2, 1:] = TARGETS[3] = IGNORED
BATCH = {"sources": SOURCES, "lengths": LENGTHS, "inputs": INPUTS, "targets": TARGETS}
forward = jax.jit(Seq2Seq.__call__)
encode, decode = jax.jit(Seq2Seq.encode), jax.jit(Seq2Seq.decode)
loss_of = jax.jit(seq2seq_loss, static_argnames="smoothing")
assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)


@functools.cache
def make() -> Seq2Seq:
    """A model whose scores are far from equal, so that mistakes show."""
    sizes = {"embedding": D, "hidden": H, "layers": 1}
    model = build_seq2seq(V_SOURCE, V, 0, **sizes, dropout=0.5)
    assert model.sizes == sizes
    for layer in (model.lower, model.upper, *(_directions(model))):
        layer.b[...] += jnp.asarray(RNG.normal(size=layer.b.shape), jnp.float32)
    model.b_out[...] = jnp.linspace(-1, 1, V)
    return jax.tree.map(lambda a: a * 2, model)


def _directions(model: Seq2Seq) -> tuple[LSTM, LSTM]:
    (layer,) = model.encoder.layers
    assert isinstance(layer, Bidirectional)
    return layer.forward, layer.backward


def run(
    layer: LSTM, xs: np.ndarray, h: np.ndarray, c: np.ndarray, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs [T, H] and the last h of the slow LSTM on one sentence."""
    w_x, w_h, b = (
        np.asarray(w[...], np.float64) for w in (layer.w_x, layer.w_h, layer.b)
    )
    case = reference_lstm.Case(w_x, w_h, b, xs[:, None], h[None], c[None])
    ys, last, _ = reference_lstm.sequence(case, reverse=reverse)
    return ys[:, 0], last[0]


def slow_scores(model: Seq2Seq, row: int) -> np.ndarray:
    """Scores [T, V] of one sentence, of its real symbols alone."""
    tables = {
        name: np.asarray(getattr(model, name)[...], np.float64)
        for name in ("source_table", "target_table", "w_key", "w_start", "w_out")
    }
    words = SOURCES[row, : LENGTHS[row]]
    xs, zero = tables["source_table"][words], np.zeros(H // 2)
    ahead, back = _directions(model)
    (ys, last), (zs, first) = (
        run(ahead, xs, zero, zero),
        run(back, xs, zero, zero, True),
    )
    memory = np.concatenate([ys, zs], axis=1)
    starts = np.tanh(np.concatenate([last, first]) @ tables["w_start"]).reshape(4, H)
    below, _ = run(model.lower, tables["target_table"][INPUTS[row]], *starts[:2])
    contexts = []
    for query in below:
        match = np.exp([query @ (value @ tables["w_key"]) for value in memory])
        contexts.append(match @ memory / match.sum())
    above, _ = run(model.upper, np.hstack([below, contexts]), *starts[2:])
    out = np.tanh(np.hstack([above, contexts]) @ tables["w_out"])
    return out @ tables["target_table"].T + np.asarray(model.b_out[...])


def test_scores_are_those_of_slow_numpy() -> None:
    logits = forward(make(), SOURCES, LENGTHS, INPUTS)
    for row in range(3):
        assert_close(logits[row], slow_scores(make(), row))
    assert np.all(np.isfinite(logits[3]))  # an empty sentence is no reason for NaN


def test_teacher_forcing_is_writing_step_by_step() -> None:
    memory, states = encode(make(), SOURCES, LENGTHS)
    logits, weights, last = decode(make(), INPUTS, states, memory)
    for k in range(T):
        ids = INPUTS[:, k : k + 1]
        one, looked, states = decode(make(), ids, states, memory)
        assert_close(one[:, 0], logits[:, k])
        assert_close(looked[:, 0], weights[:, k])
    jax.tree.map(assert_close, states, last)


def test_beams_share_the_memory_of_their_sentence() -> None:
    memory, states = encode(make(), SOURCES, LENGTHS)
    ids = RNG.integers(V, size=(2 * B, T)).astype(np.int32)
    noise = RNG.normal(size=(2 * B, 1)).astype(np.float32)
    states = jax.tree.map(lambda a: jnp.repeat(a, 2, 0) + noise, states)
    shared = decode(make(), ids, states, memory)
    copies = jax.tree.map(lambda a: jnp.repeat(a, 2, 0), memory)
    copied = decode(make(), ids, states, copies)
    jax.tree.map(assert_close, shared, copied)


def test_the_loss_counts_real_symbols_only() -> None:
    sums, _ = loss_of(make(), (), BATCH, None, smoothing=0.1)
    nats = 0.0
    for row in range(3):
        logits = slow_scores(make(), row)
        for k in np.flatnonzero(TARGETS[row] != IGNORED):
            nats -= logits[k, TARGETS[row, k]] - np.log(np.exp(logits[k]).sum())
    assert_close(sums.loss, nats)
    assert sums.count == np.sum(TARGETS != IGNORED) and sums.penalty is None


def test_what_is_padding_does_not_matter() -> None:
    other = SOURCES.copy()
    other[1, 3:] = other[2, 1:] = 0
    longer = np.pad(other, ((0, 0), (0, 2)), constant_values=5)
    expected = forward(make(), SOURCES, LENGTHS, INPUTS)
    assert_close(forward(make(), longer, LENGTHS, INPUTS), expected)


def test_noise_and_smoothing_are_for_training_only() -> None:
    plain, _ = loss_of(make(), (), BATCH, None, smoothing=0.1)
    key = jax.random.key(0)
    noisy, _ = loss_of(make(), (), BATCH, key, smoothing=0.1)
    again, _ = loss_of(make(), (), BATCH, key, smoothing=0.1)
    assert noisy.loss == again.loss != plain.loss
    assert noisy.penalty is not None and plain.penalty is None


def test_every_parameter_learns() -> None:
    batch = jax.tree.map(jnp.asarray, BATCH)
    gradient = jax.jit(jax.grad(lambda m: seq2seq_loss(m, (), batch, None)[0].loss))
    for array in jax.tree.leaves(gradient(make())):
        assert np.any(array != 0)


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an even width, found 5"):
        build_seq2seq(5, 5, 0, embedding=2, hidden=5, layers=1)
