"""WAV files to samples: a reader of its own, the same on every Python. NumPy only.

RIFF WAVE as "Multimedia Programming Interface" (IBM, Microsoft 1991) and "Multiple
Channel Audio Data and WAVE Files" (Microsoft 2001) describe it, RF64 as EBU Tech 3306:
chunks, each of four letters, a size and that many bytes, one of which says what the
samples are and another has them. Read are integers of 8 to 32 bits, floats of 32 and
64, and A-law and mu-law (ITU-T G.711). Python's `wave` takes the first of these only.
"""

import dataclasses
import functools
import struct
from typing import NamedTuple

import numpy as np

from lstm_jax import InputError

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_WIDTHS = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8), _A_LAW: (1,), _MU_LAW: (1,)}
_NAMES = {2: "ADPCM", 0x11: "IMA ADPCM", 0x31: "GSM 6.10", 0x50: "MPEG", 0x55: "MP3"}
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # behind the format's tag
_FULL_SCALE = {1: 2**7, 2: 2**15, 3: 2**23, 4: 2**31}  # by bytes per sample
_LOUDEST = 2.0**32  # of floats; some programs write integers as floats, unscaled
_RATES = (100, 1_000_000)  # Hz; resampling takes memory with the ratio of the rates
_OPEN = 0xFFFFFFFF  # the size where a writer could not go back to write it
_KNOWN = (b"data", b"fmt ", b"fact", b"LIST", b"PEAK", b"bext", b"cue ")


class OtherFormat(InputError):
    """A sound, perhaps, but no WAV file or one that is compressed in another way."""


@dataclasses.dataclass(frozen=True)
class Sound:
    """`samples`, [N] float32 from -1 to 1, `rate` of them per second; one channel.

    `lost` is how many more the header of the file announced: it was cut short.
    """

    samples: np.ndarray
    rate: int
    lost: int = 0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


class _Format(NamedTuple):
    """What one sample is: the codec's tag, its bytes, and those of all channels."""

    codec: int
    channels: int
    rate: int
    width: int


def decode_wav(content: bytes, name: str) -> Sound:
    """Read the bytes of a WAV file; its channels are averaged.

    Sizes that a writer left open (0, or all ones) mean the rest of the file. Of a file
    that is cut short, what is there is read.

    Args:
        content: of the file.
        name: what an error calls it.

    Raises:
        InputError: it is damaged or contradicts itself, or there is no sample in it.
        OtherFormat: it is no such file, or its samples are compressed in another way.
    """
    if len(content) < 12:
        raise _refused(name, "a file that ends too early")
    if content[8:12] != b"WAVE" or content[:4] not in (b"RIFF", b"RF64"):
        raise OtherFormat(f"{name}: expected a WAV file, found: no RIFF header")
    chunks = _chunks(content)
    form = _format(chunks.get(b"fmt ", (b"", 0))[0], name)
    if b"data" not in chunks:
        raise _refused(name, "a file that ends too early, without a data chunk")
    raw, announced = chunks[b"data"]
    frame = form.width * form.channels
    whole = len(raw) // frame
    if not whole:
        raise InputError(f"{name}: expected a sound, found no samples")
    samples = _numbers(raw[: whole * frame], form).reshape(-1, form.channels)
    mono = samples.mean(axis=1)
    if form.codec == _FLOAT:
        _refuse_wild(mono, name)
    else:
        mono = mono / _full_scale(form)
    return Sound(mono.astype(np.float32), form.rate, max(0, announced // frame - whole))


def check_rate(rate: int, name: str) -> None:
    """Refuse a rate that no sound has.

    Raises:
        InputError: naming the file.
    """
    if not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(
            f"{name}: expected a rate from {_RATES[0]} to {_RATES[1]:,} Hz, found "
            f"{rate:,} Hz"
        )


def _refused(name: str, found: str) -> InputError:
    return InputError(f"{name}: expected a WAV file, found: {found}")


def _chunks(content: bytes) -> dict[bytes, tuple[bytes, int]]:
    """The first chunk of each name: what is there of it, and the size announced."""
    found: dict[bytes, tuple[bytes, int]] = {}
    place, large = 12, None
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        start = place + 8
        if name == b"data":
            size = large if large is not None and size == _OPEN else size
            if _is_open(content, start, size):
                size = len(content) - start
        body = content[start : start + size]
        if name == b"ds64" and len(body) >= 16:  # of RF64: sizes of 64 bits
            large = struct.unpack_from("<Q", body, 8)[0]
        found.setdefault(name, (body, size))
        place = _behind(content, start + size, size)
    return found


def _behind(content: bytes, end: int, size: int) -> int:
    """Where the next chunk begins: one of odd size is padded, by most writers."""
    return end + (size % 2 and content[end : end + 4] not in _KNOWN)


def _is_open(content: bytes, start: int, size: int) -> bool:
    """Whether a writer that could not go back has left the size of the data open.

    Such files are recorded until somebody stops, so all that follows are samples. A
    size of 0 is meant where whole chunks follow, or nothing.
    """
    if size:
        # sox, arecord and others write a size near 2 or 4 GiB.
        return size >= 0x7FFFF000 and start + size > len(content)
    place = start
    while place + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, place)
        if not (name.isascii() and name.decode().isprintable()):
            return True
        place = _behind(content, place + 8 + length, length)
    return place not in (len(content), len(content) + 1)  # the last one's padding


def _format(body: bytes, name: str) -> _Format:
    if len(body) < 16:
        raise _refused(name, "a file that ends too early, without a whole fmt chunk")
    codec, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    if codec == _EXTENSIBLE:
        if len(body) < 40 or body[26:40] != _GUID_TAIL:
            raise _refused(name, "an extensible header of an unknown format")
        codec = struct.unpack_from("<H", body, 24)[0]
    if codec not in _WIDTHS:
        found = _NAMES.get(codec, f"format {codec:#06x}")
        raise OtherFormat(f"{name}: expected a WAV file of samples, found: {found}")
    if not channels:
        raise _refused(name, "no channels")
    check_rate(rate, name)
    width = -(-bits // 8)
    if width not in _WIDTHS[codec]:
        wanted = " or ".join(str(8 * w) for w in _WIDTHS[codec])
        raise InputError(
            f"{name}: expected samples of {wanted} bits, found {bits} bits"
        )
    if block > width * channels and block % channels == 0:
        raise InputError(
            f"{name}: expected {width * channels} bytes for {channels} samples of "
            f"{bits} bits, found {block}"
        )
    return _Format(codec, channels, rate, width)


def _full_scale(form: _Format) -> int:
    return _FULL_SCALE[form.width if form.codec == _PCM else 2]


def _numbers(raw: bytes, form: _Format) -> np.ndarray:
    """The samples as they are written, float64; those of 8 bits are unsigned."""
    if form.codec == _FLOAT:
        return np.frombuffer(raw, f"<f{form.width}").astype(np.float64)
    if form.codec in (_A_LAW, _MU_LAW):
        table = _a_law() if form.codec == _A_LAW else _mu_law()
        return table[np.frombuffer(raw, np.uint8)]
    if form.width == 1:
        return np.frombuffer(raw, np.uint8).astype(np.float64) - 128
    if form.width == 3:
        # The three bytes become the upper ones of four, which keeps the sign.
        whole = np.zeros((len(raw) // 3, 4), np.uint8)
        whole[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return whole.view("<i4")[:, 0] / 256.0
    return np.frombuffer(raw, f"<i{form.width}").astype(np.float64)


def _refuse_wild(samples: np.ndarray, name: str) -> None:
    with np.errstate(invalid="ignore"):
        tame = np.abs(samples) <= _LOUDEST  # not of a number that is none
    if not tame.all():
        place = int(tame.argmin())
        raise InputError(
            f"{name}: expected samples from -1 to 1, found {samples[place]:.3g} at "
            f"sample {place:,}"
        )


@functools.cache
def _mu_law() -> np.ndarray:
    """The sample of 16 bits that each byte of mu-law stands for, [256]."""
    code = ~np.arange(256) & 0xFF
    size = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.float64)


@functools.cache
def _a_law() -> np.ndarray:
    """The same of A-law."""
    code = np.arange(256) ^ 0x55
    segment, fraction = code >> 4 & 7, (code & 0x0F) << 4
    size = np.where(
        segment > 0, fraction + 0x108 << np.maximum(segment - 1, 0), fraction + 8
    )
    return np.where(code & 0x80, size, -size).astype(np.float64)
