"""Spectrograms against slow sums and SciPy, and the frames made of them."""

import math

import numpy as np
import pytest
from scipy.signal import ShortTimeFFT, get_window

from experiments.speech.features import (
    LogMelFrontend,
    MelBands,
    log_mel,
    mel_filters,
    normalize,
    stack_frames,
)

BANDS = MelBands()


def tone(hertz: float, seconds: float = 0.5) -> np.ndarray:
    """A sine of amplitude 1/2 at 8 kHz."""
    turns = 2 * np.pi * hertz * np.arange(round(seconds * 8000)) / 8000
    return (0.5 * np.sin(turns)).astype(np.float32)


def slow_log_mel(samples: np.ndarray, bands: MelBands) -> np.ndarray:
    """The definition, sum by sum."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    low, high = mel(bands.lowest), mel(bands.rate / 2)
    step = (high - low) / (bands.bands + 1)
    frames = []
    for start in range(0, len(samples) - bands.window + 1, bands.hop):
        energies = [0.0] * bands.bands
        for k in range(bands.fft // 2 + 1):
            total = 0j
            for n in range(bands.window):
                hann = 0.5 - 0.5 * math.cos(2 * math.pi * n / bands.window)
                turn = -2j * math.pi * k * n / bands.fft
                total += samples[start + n] * hann * np.exp(turn)
            at = (mel(k * bands.rate / bands.fft) - low) / step
            for m in range(bands.bands):
                energies[m] += max(0.0, 1 - abs(at - (m + 1))) * abs(total) ** 2
        frames.append([math.log(energy + 1e-10) for energy in energies])
    loudest = max(map(max, frames))
    return np.maximum(frames, loudest - bands.depth)


def test_log_mel_is_its_definition() -> None:
    small = MelBands(rate=1000, window=20, hop=10, fft=32, bands=6, lowest=50.0)
    samples = np.random.default_rng(2).normal(size=60).astype(np.float32)
    found = log_mel(samples, small)
    np.testing.assert_allclose(found, slow_log_mel(samples, small), atol=1e-4)
    quiet = log_mel(samples, MelBands(1000, 20, 10, 32, 6, 50.0, depth=1.0))
    assert quiet.min() == pytest.approx(found.max() - 1.0)


def test_the_spectrum_is_that_of_scipy() -> None:
    samples = np.random.default_rng(3).normal(size=2000).astype(np.float32)
    window = get_window("hann", BANDS.window)
    judge = ShortTimeFFT(window, BANDS.hop, BANDS.rate, mfft=BANDS.fft)
    first = BANDS.window // 2  # their frames are named by their middle
    count = (2000 - BANDS.window) // BANDS.hop + 1
    power = np.abs(
        [
            judge.stft(samples, p0=0, p1=1, k_offset=first + n * BANDS.hop)[:, 0]
            for n in range(count)
        ]
    )
    expected = np.log(power**2 @ mel_filters(BANDS))
    found = log_mel(samples, BANDS)[:count]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_filters_add_up_to_one_between_the_outer_centres() -> None:
    filters = mel_filters(BANDS)
    assert filters.shape == (129, 40) and filters.min() == 0
    assert filters.max(axis=0).min() > 0.3  # every band hears something
    centres = filters.argmax(axis=0)
    assert (np.diff(centres) >= 0).all()
    inside = filters[centres[0] + 1 : centres[-1]]
    np.testing.assert_allclose(inside.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("hertz", [300, 1000, 3000])
def test_a_tone_is_heard_where_it_is(hertz: float) -> None:
    features = log_mel(tone(hertz), BANDS)
    assert features.shape == (49, 40) and features.dtype == np.float32
    heard = features[:40].mean(axis=0).argmax()
    low, high = (2595 * math.log10(1 + f / 700) for f in (BANDS.lowest, 4000))
    place = (2595 * math.log10(1 + hertz / 700) - low) / (high - low) * 41 - 1
    assert abs(heard - place) <= 0.6
    higher = log_mel(tone(hertz), BANDS, mel_filters(BANDS, warp=1.2))
    assert higher[:40].mean(axis=0).argmax() > heard


def test_short_sounds_and_silence_have_features() -> None:
    assert log_mel(np.ones(1, np.float32), BANDS).shape == (1, 40)
    silence = normalize(log_mel(np.zeros(1000, np.float32), BANDS))
    assert silence.shape == (11, 40) and not silence.any()


def test_loudness_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    samples = rng.normal(size=4000).astype(np.float32) * np.linspace(0.1, 1, 4000)
    features = [normalize(log_mel(samples * gain, BANDS)) for gain in (0.05, 1.0)]
    np.testing.assert_allclose(features[0], features[1], atol=1e-2)
    np.testing.assert_allclose(features[1].mean(axis=0), 0, atol=1e-5)
    assert features[1].std() == pytest.approx(1, abs=1e-5)


def test_frames_are_stacked_in_order() -> None:
    features = np.arange(10.0).reshape(5, 2)
    stacked = stack_frames(features, 3)
    np.testing.assert_array_equal(stacked[0], [0, 1, 2, 3, 4, 5])
    np.testing.assert_array_equal(stacked[1], [6, 7, 8, 9, 8, 9])
    np.testing.assert_array_equal(stack_frames(features, 1), features)


def test_an_ear_makes_frames() -> None:
    frontend = LogMelFrontend(stack=4)
    assert (frontend.features, frontend.seconds) == (160, 0.04)
    frames = frontend.frames(tone(500))
    assert frames.shape == (13, 160)
    np.testing.assert_array_equal(
        frames, stack_frames(normalize(log_mel(tone(500), BANDS)), 4)
    )
