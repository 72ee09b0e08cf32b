"""Sounds from files, their rate, and where they are loud. NumPy and SciPy only.

WAV files are read by `wav.py`; FLAC, Ogg, MP3 and others by the soundfile package, if
it is there.
"""

import io
import math
from pathlib import Path

import numpy as np

from experiments.speech.wav import OtherFormat, Sound, check_rate, decode_wav
from lstm_jax import InputError

_LARGEST = 2**32  # bytes of a file; a WAV file has no more


def read_sound(path: Path) -> Sound:
    """A file of sound, its channels averaged.

    Raises:
        InputError: it is missing, no sound, or empty.
    """
    try:
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: expected a sound of 4 GiB at most")
        return decode_sound(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(
            f"{path}: expected a file of sound, found: {error.strerror}"
        ) from None


def decode_sound(content: bytes, name: str) -> Sound:
    """The same from the bytes of a file; `name` is what an error calls it."""
    try:
        return decode_wav(content, name)
    except OtherFormat as error:
        return _decode_other(content, name, error)


def _decode_other(content: bytes, name: str, why: OtherFormat) -> Sound:
    """Read what is no WAV file of samples, by soundfile."""
    try:
        import soundfile
    except (ImportError, OSError):  # or without its library
        raise InputError(f"{why}; pip install '.[audio]' reads other kinds") from None
    try:
        samples, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: expected a sound, found: {reason}") from None
    check_rate(rate, name)
    if not len(samples):
        raise InputError(f"{name}: expected a sound, found no samples")
    return Sound(samples.mean(axis=1).astype(np.float32), rate)


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
