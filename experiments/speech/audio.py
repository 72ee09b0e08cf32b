"""Sounds from WAV files, their rate, and where they are loud. NumPy and SciPy only."""

import dataclasses
import io
import math
import wave
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lstm_jax import InputError

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


def trim_silence(sound: Sound, decibels: float = 30.0) -> Sound:
    """The sound from its first loud moment to its last one, and 20 ms more at each end.

    A moment of 10 ms is loud if its power, smoothed over 30 ms, is less than `decibels`
    below that of the loudest one. A sound of zeros stays as it is.
    """
    hop = max(1, sound.rate // 100)
    starts = np.arange(0, len(sound.samples), hop)
    power = np.add.reduceat(np.square(sound.samples), starts)
    power = np.convolve(power, np.ones(3) / 3, "same")
    loud = np.flatnonzero(power >= power.max() * 10 ** (-decibels / 10))
    first, last = max(0, loud[0] - 2) * hop, (loud[-1] + 3) * hop
    return Sound(sound.samples[first:last], sound.rate)


def split_on_silence(sound: Sound, shortest: float = 0.08) -> list[Sound]:
    """What lies between pauses, or the whole sound if nothing stands out.

    A moment of 10 ms is loud if the logarithm of its power, smoothed over 50 ms, is
    more than half-way from the sound's quiet moments (5 %) to its loud ones (95 %).

    Args:
        sound: what to cut.
        shortest: seconds below which a piece is left out.
    """
    hop = max(1, sound.rate // 100)
    whole = sound.samples[: max(1, len(sound.samples) // hop) * hop]
    starts = np.arange(0, len(whole), hop)
    power = np.log(np.add.reduceat(np.square(whole), starts) / hop + 1e-9)
    power = np.convolve(power, np.ones(5) / 5, "same")
    loud = power > np.quantile(power, [0.05, 0.95]).mean()
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False)).reshape(-1, 2)
    pieces = [whole[a * hop : b * hop] for a, b in edges]
    long = [Sound(p, sound.rate) for p in pieces if len(p) >= shortest * sound.rate]
    return long or [sound]
