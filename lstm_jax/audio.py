"""Sound to features: WAV files, resampling, log-mel spectrograms. NumPy only.

    WAV file -> Sound [N] at one rate -> frames -> power spectrum -> mel bands -> log

A mel spectrogram looks at short overlapping windows of the sound and keeps the energy
in bands that are as narrow as the ear's: evenly spaced in mel, which is linear below
about 700 Hz and logarithmic above.
"""

import dataclasses
import functools
import io
import math
import wave
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lstm_jax.errors import InputError

_FULL_SCALE = {1: 2**7, 2: 2**15, 3: 2**23, 4: 2**31}  # by bytes per sample


@dataclasses.dataclass(frozen=True)
class Sound:
    """`samples`, [N] float32 from -1 to 1, `rate` of them per second; one channel."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


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


def read_wav(path: Path) -> Sound:
    """A WAV file, its channels averaged.

    Raises:
        InputError: it is missing, no WAV file of PCM samples, or empty.
    """
    try:
        return decode_wav(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"{path}: expected a WAV file, found: {error.strerror}"
        ) from None


def decode_wav(content: bytes, name: str) -> Sound:
    """The same from the bytes of a file; `name` is what an error calls it."""
    try:
        with wave.open(io.BytesIO(content)) as reader:
            channels, width = reader.getnchannels(), reader.getsampwidth()
            rate, raw = reader.getframerate(), reader.readframes(reader.getnframes())
    except (wave.Error, EOFError) as error:
        reason = str(error) or "a file that ends too early"
        raise InputError(
            f"{name}: expected a WAV file of PCM samples, found: {reason}"
        ) from None
    if width not in _FULL_SCALE or rate < 1:
        raise InputError(
            f"{name}: expected samples of 8, 16, 24 or 32 bits, found {8 * width} bits "
            f"at {rate} Hz"
        )
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if not raw:
        raise InputError(f"{name}: expected a sound, found no samples")
    samples = _numbers(raw, width).reshape(-1, channels).mean(axis=1)
    return Sound((samples / _FULL_SCALE[width]).astype(np.float32), rate)


def wav_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every WAV file below a folder, also inside zips there.

    Raises:
        InputError: there is no such folder, or one of the zips is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of WAV files, found none")
    for path in sorted(folder.rglob("*.wav")):
        yield path.name, path.read_bytes()
    for path in sorted(folder.rglob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".wav"):
                        yield Path(name).name, archive.read(name)
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: expected a zip file, found: {error}") from None


def _numbers(raw: bytes, width: int) -> np.ndarray:
    """Little-endian integers of `width` bytes; those of one byte are unsigned."""
    if width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float64) - 128
    if width == 3:
        # The three bytes become the upper ones of four, which keeps the sign.
        whole = np.zeros((len(raw) // 3, 4), np.uint8)
        whole[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return whole.view("<i4")[:, 0] / 256.0
    return np.frombuffer(raw, f"<i{width}").astype(np.float64)


def resample(sound: Sound, rate: int) -> Sound:
    """The same sound at another rate; frequencies above half of it are removed."""
    if sound.rate == rate:
        return sound
    from scipy.signal import resample_poly  # takes half a second to import

    common = math.gcd(sound.rate, rate)
    samples = resample_poly(sound.samples, rate // common, sound.rate // common)
    return Sound(samples.astype(np.float32), rate)


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


def pad_frames(
    rows: Sequence[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [T_b, D] of unlike length as one array.

    Args:
        rows: none longer than `length`.
        length: T.

    Returns:
        Frames [B, T, D], zeros where a row has ended, and the rows' lengths [B].
    """
    frames = np.zeros((len(rows), length, rows[0].shape[1]), np.float32)
    for place, row in zip(frames, rows, strict=True):
        place[: len(row)] = row
    return frames, np.array([len(row) for row in rows], np.int32)
