"""Log-mel spectrograms: sounds to features. NumPy only.

    samples [N] -> windows -> power spectrum -> mel bands -> log -> frames [T, D]

A mel spectrogram looks at short overlapping windows of the sound and keeps the energy
in bands that are as narrow as the ear's: evenly spaced in mel, which is linear below
about 700 Hz and logarithmic above.
"""

import dataclasses
import functools
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class MelBands:
    """How a sound is looked at: windows of time, bands of frequency.

    Attributes:
        rate: samples per second of the sounds, which bounds the frequencies at half.
        window: samples that a frame looks at.
        hop: samples from frame to frame.
        fft: points of the Fourier transform, at least `window`.
        bands: M, how many bands.
        lowest: where the first band begins, in Hz.
        depth: nats below the loudest band of a sound at which everything counts as
            silence, so that digital silence is no louder a signal than speech.
    """

    rate: int = 8000
    window: int = 200
    hop: int = 80
    fft: int = 256
    bands: int = 40
    lowest: float = 60.0
    depth: float = 14.0


def mel(hertz: np.ndarray) -> np.ndarray:
    """Hertz to mel, O'Shaughnessy's formula: 1000 Hz are 1000 mel."""
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def mel_corners(bands: MelBands) -> np.ndarray:
    """Where each band begins, is centred and ends, in Hz: [M + 2], band k at k + 1."""
    low, high = mel(np.array([bands.lowest, bands.rate / 2]))
    return 700.0 * (10.0 ** (np.linspace(low, high, bands.bands + 2) / 2595.0) - 1.0)


def mel_filters(bands: MelBands, warp: float = 1.0) -> np.ndarray:
    """Triangles over the Fourier points, [fft // 2 + 1, M].

    Each rises from the centre of the band before it to its own, 1, and falls to the
    next one's; so between the outer centres they add up to 1.

    Args:
        bands: see `MelBands`.
        warp: moves all frequencies by a factor, as a vocal tract of another length
            does (Jaitly & Hinton 2013); 1 leaves them.
    """
    corners = mel(mel_corners(bands))
    points = np.arange(bands.fft // 2 + 1) * bands.rate / bands.fft
    place = np.interp(mel(points * warp), corners, np.arange(len(corners)), -1.0)
    distance = np.abs(place[:, None] - np.arange(1, bands.bands + 1))
    return np.maximum(1.0 - distance, 0.0).astype(np.float32)


_cached_filters = functools.lru_cache(maxsize=8)(mel_filters)


def log_mel(
    samples: np.ndarray, bands: MelBands, filters: np.ndarray | None = None
) -> np.ndarray:
    """Logarithms of the energy in each band, in nats: [frames, M], float32.

    Args:
        samples: [N] at the rate of the bands. The first frame begins with the first
            sample, and what is too short for the last one is filled up with zeros.
        bands: see `MelBands`.
        filters: of `mel_filters`, if not the plain ones.
    """
    filters = _cached_filters(bands) if filters is None else filters
    count = max(1, math.ceil((len(samples) - bands.window) / bands.hop) + 1)
    padded = np.zeros((count - 1) * bands.hop + bands.window, np.float32)
    padded[: len(samples)] = samples
    views = np.lib.stride_tricks.sliding_window_view(padded, bands.window)
    window = np.hanning(bands.window + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(views[:: bands.hop] * window, bands.fft)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    energy = np.log(power @ filters + np.float32(1e-10))
    return np.maximum(energy, energy.max() - np.float32(bands.depth))


def normalize(features: np.ndarray) -> np.ndarray:
    """Each band [T, M] with mean 0, and all of them with variance 1.

    The mean of a band over an utterance holds the microphone and how loud it was.
    """
    centred = features - features.mean(axis=0)
    return centred / max(float(centred.std()), 1e-3)


def stack_frames(features: np.ndarray, count: int) -> np.ndarray:
    """`count` frames side by side as one step: [T, M] to [ceil(T / count), count M].

    The last frame is repeated where there are too few.
    """
    missing = -len(features) % count
    whole = np.concatenate([features, np.repeat(features[-1:], missing, axis=0)])
    return whole.reshape(-1, count * features.shape[1])


@dataclasses.dataclass(frozen=True)
class LogMelFrontend:
    """From a sound to the frames a network reads.

    Attributes:
        stack: frames of the spectrogram side by side in one frame of the network.
        bands: of the spectrogram.
    """

    stack: int
    bands: MelBands = dataclasses.field(default_factory=MelBands)

    @property
    def features(self) -> int:
        """D, the width of a frame."""
        return self.stack * self.bands.bands

    @property
    def seconds(self) -> float:
        """From frame to frame."""
        return self.stack * self.bands.hop / self.bands.rate

    def spectrogram(
        self, samples: np.ndarray, filters: np.ndarray | None = None
    ) -> np.ndarray:
        """The normalised spectrogram [T, M] of a sound [N] at the rate of the bands."""
        return normalize(log_mel(samples, self.bands, filters))

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """The frames [T, D] of a sound [N] at the rate of the bands."""
        return stack_frames(self.spectrogram(samples), self.stack)
