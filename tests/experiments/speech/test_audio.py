"""WAV files of every kind, rates, and pauses."""

import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from experiments.speech.audio import (
    decode_sound,
    read_sound,
    resample,
    split_on_silence,
    trim_silence,
)
from experiments.speech.wav import Sound, decode_wav
from lstm_jax.errors import InputError


def tone(hertz: float, seconds: float = 0.5, rate: int = 8000) -> np.ndarray:
    """A sine of amplitude 1/2."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def wav(samples: np.ndarray, width: int, rate: int = 8000) -> bytes:
    """A WAV file of samples [N] or [N, channels] from -1 to 1."""
    whole = np.round(samples * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        whole += 128
    raw = whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(raw)
    return file.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_comes_back(width: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 500)
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(samples, width, rate=16000))
    sound = read_sound(path)
    assert sound.rate == 16000 and sound.seconds == 500 / 16000
    assert sound.samples.dtype == np.float32
    step = 2.0 ** (1 - 8 * width)
    np.testing.assert_allclose(sound.samples, samples, atol=1.6 * step + 1e-7)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_channels_are_averaged(width: int) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (300, 2))
    sound = decode_wav(wav(samples, width), "stereo")
    expected = samples.mean(axis=1)
    np.testing.assert_allclose(sound.samples, expected, atol=2.0 ** (2 - 8 * width))


def broken(place: int, value: bytes) -> bytes:
    """A WAV file with other bytes at a place."""
    whole = bytearray(wav(tone(440), 2))
    whole[place : place + len(value)] = value
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a file that ends too early"),
        (wav(tone(440), 2)[:30], "too early, without a whole fmt chunk"),
        (wav(tone(440), 2)[:36], "without a data chunk"),
        (broken(16, b"\x04"), "ends too early, without a whole fmt chunk"),
        (broken(20, b"\x03\x00"), "32 or 64 bits, found 16 bits"),  # IEEE floats
        (broken(22, bytes(2)), "no channels"),
        (broken(32, b"\x04"), "expected 2 bytes for 1 samples of 16 bits, found 4"),
        (broken(24, b"\xff\xff\xff\xff"), "100 to 1,000,000 Hz, found 4,294,967,295"),
        (wav(np.zeros(0), 2), "expected a sound, found no samples"),
        (broken(34, b"\x28\x00"), "24 or 32 bits, found 40 bits"),
        (broken(24, bytes(4)), "100 to 1,000,000 Hz, found 0 Hz"),
    ],
)
def test_what_is_no_sound_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_sound(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.wav", tmp_path):
        with pytest.raises(InputError, match="expected a file of sound, found: "):
            read_sound(path)


def test_a_file_cut_short_keeps_its_whole_samples() -> None:
    whole = wav(np.tile(tone(440)[:, None], 2), 2)
    sound = decode_wav(whole[:-401], "cut")
    assert len(sound.samples) == (len(whole) - 44 - 401) // 4
    assert sound.lost == 101


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_resampling_keeps_a_tone(rate: int) -> None:
    sound = resample(Sound(tone(440, rate=rate), rate), 8000)
    assert sound.rate == 8000 and len(sound.samples) == 4000
    middle = slice(200, -200)  # the ends ring
    np.testing.assert_allclose(sound.samples[middle], tone(440)[middle], atol=5e-3)


def test_resampling_removes_what_is_too_high() -> None:
    sound = resample(Sound(tone(6000, rate=16000), 16000), 8000)
    assert np.abs(sound.samples[200:-200]).max() < 0.01  # would be heard at 2000 Hz


def test_what_lies_between_pauses_is_cut_out() -> None:
    quiet = 1e-3 * np.random.default_rng(0).normal(size=2400).astype(np.float32)
    words = [tone(f, s) for f, s in ((300, 0.3), (500, 0.2), (700, 0.4))]
    whole = np.concatenate([p for word in words for p in (quiet, word)] + [quiet])
    pieces = split_on_silence(Sound(whole, 8000))
    assert [p.seconds for p in pieces] == pytest.approx([0.3, 0.2, 0.4], abs=0.06)
    assert len(split_on_silence(Sound(whole, 8000), shortest=0.3)) == 2
    for sound in (Sound(tone(440, 0.001), 8000), Sound(np.zeros(1, np.float32), 8000)):
        assert split_on_silence(sound)[0] is sound


@pytest.mark.parametrize("rate", [8000, 16000])
def test_silence_around_a_word_is_cut_off(rate: int) -> None:
    """A murmur 40 dB below the word is silence, one 20 dB below is not."""
    word = tone(440, 0.3, rate)
    before, after = tone(200, 0.5, rate), tone(200, 0.2, rate)
    for level, seconds in ((0.01, 0.34), (0.1, 1.0)):
        whole = np.concatenate([level * before, word, level * after])
        found = trim_silence(Sound(whole.astype(np.float32), rate))
        assert found.seconds == pytest.approx(seconds, abs=0.02) and found.rate == rate
    start = int(0.48 * rate) - rate // 100
    quiet = np.concatenate([0.01 * before, word, 0.01 * after]).astype(np.float32)
    found = trim_silence(Sound(quiet, rate))
    np.testing.assert_array_equal(
        found.samples, quiet[start : start + len(found.samples)]
    )
    for short in (tone(440, 0.001), np.zeros(1, np.float32), np.zeros(900, np.float32)):
        assert len(trim_silence(Sound(short, 8000)).samples) == len(short)


@pytest.mark.parametrize("extra", [[], ["soundfile"]])
def test_what_is_no_wav_file_needs_the_extra(
    extra: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it or without: one line, and the extra's name where it is missing."""
    monkeypatch.setitem(sys.modules, "soundfile", None)
    if extra:
        monkeypatch.delitem(sys.modules, "soundfile")
        pytest.importorskip("soundfile")
    for content in (b"ID3 this is an mp3 file", broken(20, b"\x55\x00")):
        with pytest.raises(InputError, match=r"^it\.mp3: expected a") as caught:
            decode_sound(content, "it.mp3")
        assert ("'.[audio]'" in str(caught.value)) == (not extra)


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "W64"])
def test_other_kinds_are_read_by_the_extra(kind: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    stereo = np.stack([tone(440, rate=16000), tone(300, rate=16000)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, stereo, 16000, format=kind)
    sound = decode_sound(file.getvalue(), "it")
    assert sound.rate == 16000
    close = 0.1 if kind == "OGG" else 1e-4
    np.testing.assert_allclose(sound.samples, stereo.mean(axis=1), atol=close)
