"""Variations keep what they promise: pitch, power, and what they leave alone."""

import numpy as np
import pytest

from experiments.speech.augment import (
    AugmentConfig,
    add_noise,
    change_speed,
    coloured_noise,
    join_sounds,
    spec_augment,
    varied_frames,
    vary_speed,
    with_noise,
)
from experiments.speech.features import LogMelFrontend


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in cycles per sample."""
    return float(np.abs(np.fft.rfft(samples)).argmax() / len(samples))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_changes_length_and_pitch(factor: float) -> None:
    samples = np.sin(2 * np.pi * 0.05 * np.arange(2000)).astype(np.float32)
    changed = change_speed(samples, factor)
    assert len(changed) == round(2000 / factor) and changed.dtype == np.float32
    assert pitch(changed) == pytest.approx(0.05 * factor, abs=1 / len(changed))
    if factor == 1:
        np.testing.assert_array_equal(changed, samples)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_has_its_colour_and_power(slope: float) -> None:
    noise = coloured_noise(np.random.default_rng(0), 2**16, slope)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[512:1024].mean(), power[8192:16384].mean()
    assert np.log2(low / high) / 4 == pytest.approx(slope, abs=0.05)  # 4 octaves


def test_noise_is_as_much_weaker_as_asked() -> None:
    rng = np.random.default_rng(1)
    samples, noise = rng.normal(size=(2, 5000)).astype(np.float32)
    added = add_noise(samples, 7 * noise, 20.0) - samples
    ratio = np.mean(samples**2) / np.mean(added**2)
    assert 10 * np.log10(ratio) == pytest.approx(20, abs=1e-3)
    assert np.corrcoef(added, noise)[0, 1] > 0.999
    silence = np.zeros(10, np.float32)
    assert not add_noise(silence, silence, 10.0).any()


def test_stripes_are_masked_and_nothing_else() -> None:
    features = np.ones((30, 8), np.float32)
    widths = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        zero = spec_augment(rng, features, bands=3, frames=5) == 0
        bands, frames = zero.all(axis=0), zero.all(axis=1)
        np.testing.assert_array_equal(zero, bands[None] | frames[:, None])
        for found in (bands, frames):
            assert np.count_nonzero(np.diff(found.astype(int)) == 1) <= 1  # one stripe
        widths.append((bands.sum(), frames.sum()))
    assert {w for w, _ in widths} == set(range(4))
    assert {t for _, t in widths} == set(range(6))
    assert (features == 1).all(), "what was given is left as it is"


def test_a_stripe_may_be_wider_than_what_there_is() -> None:
    rng = np.random.default_rng(2)
    short = np.ones((2, 3), np.float32)
    assert spec_augment(rng, short, bands=9, frames=9, count=3).shape == (2, 3)


def test_sounds_are_joined_in_order_with_pauses_and_like_levels() -> None:
    rng = np.random.default_rng(3)
    sounds = [np.full(100 * k, 0.1**k, np.float32) for k in (1, 2, 3)]
    pauses, levels = [], []
    for _ in range(200):
        whole = join_sounds(rng, sounds, gap=5, decibels=6.0)
        loud = np.flatnonzero(np.diff(whole != 0, prepend=False, append=False))
        starts, ends = loud[::2], loud[1::2]
        pauses += [starts[0], len(whole) - ends[-1]]
        if len(starts) == 3:  # no pause of length 0 in between
            np.testing.assert_array_equal(ends - starts, [100, 200, 300])
            pauses += (starts[1:] - ends[:-1]).tolist()
            levels += [20 * np.log10(whole[start]) for start in starts]
    assert set(pauses) == set(range(6))
    assert -6 <= min(levels) < -5 and 5 < max(levels) <= 6
    whole = join_sounds(rng, sounds, gap=0, decibels=0.0)
    np.testing.assert_allclose(whole, np.ones(600), rtol=1e-5)


def test_noise_is_found_for_any_length() -> None:
    samples = np.ones(2**18 + 10, np.float32)
    noisy = with_noise(np.random.default_rng(4), samples, 10.0)
    assert np.mean((noisy - samples) ** 2) == pytest.approx(0.1, rel=0.01)


def test_variations_are_drawn_and_can_be_none_at_all() -> None:
    samples = np.random.default_rng(5).normal(size=4000).astype(np.float32)
    frontend = LogMelFrontend(stack=2)
    still = AugmentConfig(speed=0.0, warp=0.0, noisy=0.0, bands=0, frames=0)
    rng = np.random.default_rng(6)
    np.testing.assert_array_equal(vary_speed(rng, samples, still), samples)
    plain = varied_frames(rng, samples, still, frontend)
    np.testing.assert_allclose(plain, frontend.frames(samples), atol=1e-5)
    lively = AugmentConfig()
    lengths = {len(vary_speed(rng, samples, lively)) for _ in range(50)}
    assert 4000 / 1.15 <= min(lengths) < 3700 and 4400 < max(lengths) <= 4000 / 0.85
    one, other = (varied_frames(rng, samples, lively, frontend) for _ in range(2))
    assert one.shape == other.shape == plain.shape and not np.allclose(one, other)
