"""WAV files of every kind, and spectrograms against slow sums and SciPy."""

import io
import math
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import ShortTimeFFT, get_window

from lstm_jax.audio import (
    MelBands,
    Sound,
    decode_wav,
    log_mel,
    mel_filters,
    normalize,
    read_wav,
    resample,
    stack_frames,
)
from lstm_jax.errors import InputError

BANDS = MelBands()


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
    sound = read_wav(path)
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
        (b"ID3 this is an mp3 file, not what was asked for", "RIFF"),
        (wav(tone(440), 2)[:30], "PCM samples, found"),
        (broken(20, b"\x03\x00"), "unknown format: 3"),  # IEEE floats
        (wav(np.zeros(0), 2), "expected a sound, found no samples"),
        (broken(34, b"\x28\x00"), "24 or 32 bits, found 40 bits"),
        (broken(24, bytes(4)), "at 0 Hz"),
    ],
)
def test_what_is_no_sound_is_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "it.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_wav(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.wav", tmp_path):
        with pytest.raises(InputError, match="expected a WAV file, found: "):
            read_wav(path)


def test_a_file_cut_short_keeps_its_whole_samples() -> None:
    whole = wav(np.tile(tone(440)[:, None], 2), 2)
    sound = decode_wav(whole[:-401], "cut")
    assert len(sound.samples) == (len(whole) - 44 - 401) // 4


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_resampling_keeps_a_tone(rate: int) -> None:
    sound = resample(Sound(tone(440, rate=rate), rate), 8000)
    assert sound.rate == 8000 and len(sound.samples) == 4000
    middle = slice(200, -200)  # the ends ring
    np.testing.assert_allclose(sound.samples[middle], tone(440)[middle], atol=5e-3)


def test_resampling_removes_what_is_too_high() -> None:
    sound = resample(Sound(tone(6000, rate=16000), 16000), 8000)
    assert np.abs(sound.samples[200:-200]).max() < 0.01  # would be heard at 2000 Hz


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
