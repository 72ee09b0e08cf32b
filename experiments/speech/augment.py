"""Variations of sounds and of their spectrograms, to learn from; NumPy only.

What they change is what a listener is indifferent to: how fast, how loud, how high,
through what noise, with a few moments and bands missing.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from experiments.speech.features import LogMelFrontend, mel_filters, stack_frames


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How far the variations of a sound may go. Each is drawn anew for every sound.

    Attributes:
        speed: share by which it is played faster or slower.
        warp: share by which frequencies move, see `mel_filters`.
        noisy: share of the sounds that get noise.
        quietest: of the noise, decibels below the sound (the SNR).
        loudest: likewise.
        bands: the widest stripe of bands that is masked.
        frames: the longest stripe of spectrogram frames that is masked.
    """

    speed: float = 0.15
    warp: float = 0.1
    noisy: float = 0.7
    quietest: float = 40.0
    loudest: float = 8.0
    bands: int = 8
    frames: int = 12


def vary_speed(
    rng: np.random.Generator, samples: np.ndarray, how: AugmentConfig
) -> np.ndarray:
    """The sound [N], faster or slower."""
    return change_speed(samples, rng.uniform(1 - how.speed, 1 + how.speed))


def varied_frames(
    rng: np.random.Generator,
    samples: np.ndarray,
    how: AugmentConfig,
    frontend: LogMelFrontend,
) -> np.ndarray:
    """The frames [T, D] of a sound [N] with all variations but its speed."""
    if rng.random() < how.noisy:
        samples = with_noise(rng, samples, rng.uniform(how.loudest, how.quietest))
    filters = mel_filters(frontend.bands, rng.uniform(1 - how.warp, 1 + how.warp))
    features = frontend.spectrogram(samples, filters)
    masked = spec_augment(rng, features, bands=how.bands, frames=how.frames)
    return stack_frames(masked, frontend.stack)


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """The sound [N] played `factor` times as fast, higher by the same factor.

    Ko et al. 2015. Linear interpolation between samples, which is good enough for
    factors near 1.
    """
    count = max(1, round(len(samples) / factor))
    places = np.arange(count) * factor
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def coloured_noise(rng: np.random.Generator, count: int, slope: float) -> np.ndarray:
    """Gaussian noise [count] whose power falls as 1 / frequency^slope; its power is 1.

    Slope 0 is white noise, 1 pink.
    """
    spectrum = np.fft.rfft(rng.normal(size=count))
    frequency = np.arange(len(spectrum))
    frequency[0] = 1
    noise = np.fft.irfft(spectrum * frequency ** (-slope / 2), count)
    return (noise / max(noise.std(), 1e-12)).astype(np.float32)


def add_noise(samples: np.ndarray, noise: np.ndarray, decibels: float) -> np.ndarray:
    """The sound [N] with noise [N] that is `decibels` weaker than it (the SNR).

    The power of the sound is its mean over all samples, pauses included.
    """
    power = np.mean(np.square(samples)) / max(np.mean(np.square(noise)), 1e-20)
    return samples + noise * np.float32(np.sqrt(power / 10 ** (decibels / 10)))


def with_noise(
    rng: np.random.Generator, samples: np.ndarray, decibels: float
) -> np.ndarray:
    """The sound [N] with noise, between white and pink, that is `decibels` weaker."""
    noises = _noises()
    noise = noises[rng.integers(len(noises))]
    repeated = np.tile(noise, 1 + len(samples) // len(noise))
    start = rng.integers(len(repeated) - len(samples) + 1)
    return add_noise(samples, repeated[start : start + len(samples)], decibels)


@functools.cache
def _noises() -> list[np.ndarray]:
    """Stretches of noise to cut from: making them anew takes longer than using them."""
    rng = np.random.default_rng(0)
    return [coloured_noise(rng, 2**18, slope) for slope in (0.0, 0.5, 1.0)]


def join_sounds(
    rng: np.random.Generator,
    sounds: Sequence[np.ndarray],
    *,
    gap: int,
    decibels: float,
) -> np.ndarray:
    """Sounds [N_k] one after the other, with silence before, between and after.

    Args:
        rng: where the draws come from.
        sounds: what to join.
        gap: the longest silence, in samples; each is drawn from 0 to this.
        decibels: by how much, up or down, the power of a sound may differ from 1.
    """
    silences = [np.zeros(rng.integers(gap + 1), np.float32) for _ in sounds]
    parts = [np.zeros(rng.integers(gap + 1), np.float32)]
    for samples, silence in zip(sounds, silences, strict=True):
        level = 10 ** (rng.uniform(-decibels, decibels) / 20)
        power = max(float(np.mean(np.square(samples))), 1e-12)
        parts += [samples * np.float32(level / np.sqrt(power)), silence]
    return np.concatenate(parts)


def spec_augment(
    rng: np.random.Generator,
    features: np.ndarray,
    *,
    bands: int,
    frames: int,
    count: int = 1,
) -> np.ndarray:
    """SpecAugment (Park et al. 2019): stripes of features [T, M] set to 0.

    Args:
        rng: where the draws come from.
        features: with mean 0, so that 0 says nothing.
        bands: the widest stripe of bands; the width is drawn from 0 to this.
        frames: the longest stripe of time, likewise.
        count: stripes of each kind.
    """
    masked = features.copy()
    for axis, widest in ((1, bands), (0, frames)):
        for _ in range(count):
            size = features.shape[axis]
            width = int(rng.integers(min(widest, size) + 1))
            start = int(rng.integers(size - width + 1))
            stripe = [slice(None), slice(None)]
            stripe[axis] = slice(start, start + width)
            masked[tuple(stripe)] = 0.0
    return masked
