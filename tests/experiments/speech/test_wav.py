"""WAV files as recorders, editors and tools on pipes write them."""

import struct

import numpy as np
import pytest

from experiments.speech.wav import OtherFormat, decode_wav
from lstm_jax.errors import InputError

SAMPLES = np.random.default_rng(0).uniform(-0.9, 0.9, 300)
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (pad and len(body) % 2)


def header(tag: int, bits: int, channels: int = 1, rate: int = 8000) -> bytes:
    """The body of a fmt chunk."""
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)


def extensible(
    tag: int, bits: int, channels: int = 1, tail: bytes = GUID_TAIL
) -> bytes:
    mask = struct.pack("<HHI", 22, bits, (1 << channels) - 1)
    plain = header(0xFFFE, bits, channels)
    return plain + mask + struct.pack("<H", tag) + tail


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def integers(samples: np.ndarray, bits: int) -> bytes:
    whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i8").reshape(-1, 1)
    return whole.view(np.uint8)[:, : bits // 8].tobytes()


PCM16 = integers(SAMPLES, 16)
FMT = chunk(b"fmt ", header(1, 16))
PLAIN = decode_wav(riff(FMT, chunk(b"data", PCM16)), "plain").samples


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_extensible_headers_hold_what_plain_ones_do(bits: int, channels: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (200, channels))
    data = chunk(b"data", integers(samples.ravel(), bits))
    found = [
        decode_wav(riff(chunk(b"fmt ", fmt), data), "it").samples
        for fmt in (header(1, bits, channels), extensible(1, bits, channels))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], samples.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("fmt", [header, extensible])
@pytest.mark.parametrize("bits", [32, 64])
def test_floats_are_read_as_they_are(fmt: type, bits: int) -> None:
    raw = SAMPLES.astype(f"<f{bits // 8}").tobytes()
    sound = decode_wav(riff(chunk(b"fmt ", fmt(3, bits)), chunk(b"data", raw)), "it")
    np.testing.assert_array_equal(sound.samples, SAMPLES.astype(np.float32))


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e30])
def test_floats_that_are_no_samples_are_refused(wild: float) -> None:
    raw = np.where(np.arange(300) == 17, wild, SAMPLES).astype("<f4").tobytes()
    content = riff(chunk(b"fmt ", header(3, 32)), chunk(b"data", raw))
    with pytest.raises(InputError, match=r"from -1 to 1, found .* at sample 17"):
        decode_wav(content, "it")


@pytest.mark.parametrize(
    ("tag", "codes", "expected"),
    [
        # G.711, tables 1a and 2a: the ends, the middle, and one in between.
        (7, b"\x00\x80\x7f\xff\x01\xa0", [-32124, 32124, 0, 0, -31100, 7932]),
        (6, b"\x2a\xaa\x55\xd5\x80\x00", [-32256, 32256, -8, 8, 5504, -5504]),
    ],
)
def test_telephone_codes_are_read(tag: int, codes: bytes, expected: list[int]) -> None:
    content = riff(chunk(b"fmt ", header(tag, 8)), chunk(b"data", codes))
    samples = decode_wav(content, "it").samples
    np.testing.assert_array_equal(samples, np.array(expected) / 32768)


@pytest.mark.parametrize(
    "before",
    [
        chunk(b"LIST", b"INFOabc"),  # of odd size, padded
        chunk(b"LIST", b"INFOabc", pad=False),  # not padded, as some writers do
        chunk(b"junk", bytes(31)) + chunk(b"bext", bytes(602)),
        chunk(b"LIST", b""),
        chunk(b"LIST", b"data" + bytes(8)),  # no chunk, but what one holds
    ],
)
def test_other_chunks_are_passed_over(before: bytes) -> None:
    after = chunk(b"LIST", b"INFOISFT\4\0\0\0sox\0") + chunk(b"id3 ", bytes(9))
    for content in (
        riff(before, FMT, chunk(b"data", PCM16), after),
        riff(FMT, before, chunk(b"data", PCM16)),
        riff(chunk(b"data", PCM16), before, FMT),
    ):
        sound = decode_wav(content, "it")
        np.testing.assert_array_equal(sound.samples, PLAIN)
        assert sound.lost == 0


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF024, 0x80000000])
def test_a_size_left_open_means_the_rest_of_the_file(size: int) -> None:
    open_data = b"data" + struct.pack("<I", size) + PCM16
    sound = decode_wav(b"RIFF\xff\xff\xff\xffWAVE" + FMT + open_data, "it")
    np.testing.assert_array_equal(sound.samples, PLAIN)
    assert sound.lost == 0


def test_no_samples_are_none_whatever_follows() -> None:
    for after in (b"", chunk(b"LIST", b"INFOabc"), chunk(b"LIST", b"INFOabcd")):
        with pytest.raises(InputError, match="expected a sound, found no samples"):
            decode_wav(riff(FMT, chunk(b"data", b""), after), "it")


def test_large_files_have_their_sizes_in_a_chunk_of_their_own() -> None:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(PCM16), 300, 0))
    data = b"data\xff\xff\xff\xff" + PCM16 + chunk(b"LIST", b"INFO")
    content = b"RF64\xff\xff\xff\xffWAVE" + sizes + FMT + data
    np.testing.assert_array_equal(decode_wav(content, "it").samples, PLAIN)


@pytest.mark.parametrize(
    ("fmt", "found"),
    [
        (header(0x55, 16), "MP3"),
        (header(0x11, 16), "IMA ADPCM"),
        (header(0x1234, 16), "format 0x1234"),
        (extensible(0x55, 16), "MP3"),
    ],
)
def test_other_codecs_are_named(fmt: bytes, found: str) -> None:
    with pytest.raises(OtherFormat, match=f"^it: expected a WAV file .*: {found}$"):
        decode_wav(riff(chunk(b"fmt ", fmt), chunk(b"data", PCM16)), "it")


def test_contradictions_are_refused() -> None:
    other = extensible(1, 16, tail=bytes(14))
    for fmt, message in (
        (other, "an extensible header of an unknown format"),
        (header(0xFFFE, 16), "an extensible header of an unknown format"),
        (header(1, 64), "8 or 16 or 24 or 32 bits, found 64 bits"),
    ):
        with pytest.raises(InputError, match=message):
            decode_wav(riff(chunk(b"fmt ", fmt), chunk(b"data", PCM16)), "it")


def test_no_file_ends_in_a_traceback() -> None:
    """Cut anywhere, and with any byte changed, it is a sound or one line."""
    whole = riff(chunk(b"fmt ", extensible(1, 16)), chunk(b"data", PCM16[:40]))
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(500):
        content = bytearray(whole)
        content[rng.integers(len(whole))] = rng.integers(256)
        changed.append(bytes(content))
    read = 0
    for content in (*(whole[:n] for n in range(len(whole))), *changed):
        try:
            sound = decode_wav(content, "it")
        except InputError as error:
            assert "\n" not in str(error) and str(error).startswith("it: expected")
        else:
            read += 1
            assert sound.samples.ndim == 1 and np.isfinite(sound.samples).all()
    assert 20 < read < len(whole) + 500
