"""A recurrence that all keys share: what a key sees, and that it knows no key."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.config import RegularizerConfig
from lstm_jax.models.keyboard import KeyboardModel, around, notes, voices
from lstm_jax.models.multilabel import multilabel_loss

B, T, K, H = 2, 5, 30, 4
RNG = np.random.default_rng(0)
ROLLS = jnp.asarray(RNG.random((B, T, 2 * K)) < 0.2, jnp.float32)
INPUTS = jnp.concatenate([ROLLS, jnp.asarray(RNG.random((B, T, 3)), jnp.float32)], -1)
LENGTHS = jnp.array([T, 3])
SPAN = 3, 28


@functools.cache
def small(features: int = INPUTS.shape[-1], **options: Any) -> KeyboardModel:  # noqa: ANN401
    """Shown two rolls and three numbers at each step; no weight is zero."""
    options = {"reach": (3, 1)} | options
    build = functools.partial(KeyboardModel, features, K, 3, 1, H, **options)
    model = jax.jit(lambda: build(rngs=nnx.Rngs(0)))()
    assert model.whole.w_skip is not None
    model.whole.w_skip[...] = model.whole.w_skip[...] + 0.1
    return model


read = jax.jit(KeyboardModel.__call__)


def test_a_key_sees_its_neighbours_and_the_notes_by_their_distance() -> None:
    roll = np.asarray(ROLLS[..., :K])
    near, anywhere = around(ROLLS[..., :K], SPAN, 2), notes(ROLLS[..., :K], SPAN)
    assert near.shape == (B, 25, T, 5) and anywhere.shape == (B, 25, T, 12)
    padded = np.pad(roll[1], ((0, 0), (2, 2)))
    for key in (3, 13, 27):
        np.testing.assert_array_equal(near[1, key - 3], padded[:, key : key + 5])
        sums = [roll[1][:, (key + n) % 12 :: 12].sum(axis=1) for n in range(12)]
        np.testing.assert_array_equal(anywhere[1, key - 3], np.stack(sums, axis=-1))


def test_a_key_knows_how_many_sound_below_and_above() -> None:
    roll = np.asarray(ROLLS[..., :K])
    seen = voices(ROLLS[..., :K] * 3, SPAN)
    for key in (3, 13, 27):
        below, above = roll[0, :, :key].sum(1), roll[0, :, key + 1 :].sum(1)
        least = np.arange(1, 5)
        expected = [count[:, None] >= least for count in (below, above)]
        np.testing.assert_array_equal(
            seen[0, key - 3], np.concatenate(expected, axis=-1)
        )


def test_all_keys_share_what_is_learned() -> None:
    """Without what is known of a key by itself, and then of a note of the scale."""
    model = nnx.clone(small(features=K, reach=(4,)))
    assert model.whole.w_skip is not None
    for part in (model.whole.w_out, model.whole.w_skip, model.of_key):
        part[...] = jnp.zeros_like(part)
    chords = jnp.zeros((1, T, K)).at[:, :, 8:14].set(ROLLS[:1, :, :6])
    here, fourth, octave = (read(model, jnp.roll(chords, n, -1))[0] for n in (0, 5, 12))
    np.testing.assert_allclose(octave[..., 12:], here[..., :-12], atol=1e-5)
    assert float(jnp.abs(fourth[..., 5:] - here[..., :-5]).max()) > 0.01
    model.of_class[...] = jnp.zeros_like(model.of_class)
    here, fourth = (read(model, jnp.roll(chords, n, -1))[0] for n in (0, 5))
    np.testing.assert_allclose(fourth[..., 5:], here[..., :-5], atol=1e-5)


def test_keys_outside_the_span_have_nothing_of_it() -> None:
    model = small(span=SPAN)
    whole, logits = model.whole(INPUTS[..., :K])[0], read(model, INPUTS)[0]
    outside = np.r_[0:3, 28:K]
    np.testing.assert_allclose(logits[..., outside], whole[..., outside], atol=1e-5)
    assert float(jnp.min(jnp.abs(logits - whole)[..., 3:28])) > 0


def test_step_by_step_is_all_at_once() -> None:
    whole, last = read(small(), INPUTS)
    states = None
    for t in range(T):
        logits, states = read(small(), INPUTS[:, t : t + 1], states)
        np.testing.assert_allclose(logits[:, 0], whole[:, t], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), states, last)


def test_no_output_knows_what_comes_later() -> None:
    @jax.jit
    @jax.grad
    def slope(inputs: jax.Array) -> jax.Array:
        return small()(inputs)[0][0, 2].sum()

    steps = jnp.any(slope(INPUTS)[0] != 0, axis=-1)
    assert steps.tolist() == [True] * 3 + [False] * (T - 3)


def test_what_stands_in_the_padding_does_not_matter() -> None:
    late = jnp.arange(T)[:, None] >= LENGTHS[:, None, None]
    batch = {"targets": ROLLS[..., :K], "lengths": LENGTHS}

    @jax.jit
    @jax.value_and_grad
    def loss(model: KeyboardModel, inputs: jax.Array) -> jax.Array:
        sums, _ = multilabel_loss(model, (), batch | {"inputs": inputs}, None)
        return sums.loss

    value, slope = loss(small(), INPUTS)
    same, other = loss(small(), jnp.where(late, 7.0, INPUTS))
    np.testing.assert_allclose(value, same, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), slope, other)


def test_noise_needs_a_key() -> None:
    rates = RegularizerConfig(input_dropout=0.3, weight_drop=0.3)
    model = small(dropout=0.3, regularizer=rates)
    keys = None, jax.random.key(0)
    quiet, noisy = (read(model, INPUTS, key=key)[0] for key in keys)
    np.testing.assert_allclose(quiet, read(small(), INPUTS)[0], atol=1e-5)
    assert float(jnp.abs(quiet - noisy).max()) > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": (0, K + 1)}, r"a roll of 30 keys .* the span \(0, 31\)"),
        ({"span": (5, 5)}, r"the span \(5, 5\)"),
        ({"reach": (2, 2)}, r"found 30 features, the reach \(2, 2\)"),
        ({"reach": ()}, r"the reach \(\)"),
        ({"prior": (0.5,) * 3}, "prior: expected 30 of them, found 3"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeyboardModel(K, K, 3, 1, H, rngs=nnx.Rngs(0), **options)
