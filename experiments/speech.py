"""Speech recognition: spoken digits, one at a time and joined, by CTC.

Task      Log-mel frames of 40 ms go through two bidirectional LSTM layers, which score
          ten digits and a blank at every frame. A joined utterance is read off by beam
          search; of a recording known to hold one digit, the likeliest one-digit
          transcript is the answer. One network does both.
Data      The Free Spoken Digit Dataset: 6 speakers x 10 digits x 50 recordings, 8 kHz.
          --data is a folder with its WAV files, or zips of them, anywhere below it.
Protocol  official: recordings 0 to 4 of each speaker and digit are the test, 300 files.
          speakers: each speaker in turn is the test, with all 500 files.
          Joined: 3 to 7 test recordings of one speaker, 0 to 0.4 s before each and at
          the end, levels within 3 dB, noise between white and pink at 10 to 30 dB.
Command   python -m experiments.speech --data PATH
          python -m experiments.speech predict FILE.wav
Expected  EXPECTED
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tyro

import lstm_jax

NAMES = "0123456789"  # symbol k + 1 is digit k, symbol 0 the blank
EAR = lstm_jax.Ear()
RATE = EAR.bands.rate
TESTED, VALIDATED = range(5), range(5, 10)  # numbers of recordings
NOISES = (0.0, 0.5, 1.0)  # slopes of the spectrum
BEAM = 8


@dataclasses.dataclass(frozen=True)
class Options:
    """Train on the official split and without each speaker, and report both.

    Args:
        data: a folder with FSDD's recordings.
        run_dir: where the model, the pictures and the results go.
        max_seconds: most seconds of training, all seven fits together.
        seed: decides every random draw.
        validate: only the official split, tested on recordings 5 to 9, without which it
            is trained then: how the settings were chosen.
        smoke: a tiny run on generated tones instead of data.
    """

    data: Path | None = None
    run_dir: Path = Path("runs/speech")
    max_seconds: float = 1500.0
    seed: int = 0
    validate: bool = False
    smoke: bool = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Read digits off a WAV file of any rate, mono or stereo.

    Args:
        file: the recording.
        run_dir: a finished run.
        picture: where to draw what was heard, if anywhere.
    """

    file: tyro.conf.Positional[Path]
    run_dir: Path = Path("runs/speech")
    picture: Path | None = None


@dataclasses.dataclass(frozen=True)
class Settings:
    """The network and how it learns."""

    hidden: int = 96
    layers: int = 2
    dropout: float = 0.2
    steps: int = 1200
    rows: int = 32
    seconds: float = 3.0  # of a row
    learning_rate: float = 4e-3

    @property
    def samples(self) -> int:
        """Of a row."""
        return int(self.seconds * RATE)

    @property
    def frames(self) -> int:
        """Of a row."""
        return math.ceil(self.seconds / EAR.seconds)


SMOKE = Settings(hidden=24, layers=1, dropout=0.0, steps=160, rows=16, seconds=1.5)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One spoken digit."""

    speaker: str
    digit: int
    number: int
    samples: np.ndarray


def read_recordings(folder: Path) -> list[Recording]:
    """Every DIGIT_SPEAKER_NUMBER.wav in a folder and in zips there."""
    found = []
    for name, content in lstm_jax.wav_files(folder):
        if match := re.fullmatch(r"(\d)_(\w+)_(\d+)\.wav", name):
            digit, speaker, number = match.groups()
            sound = lstm_jax.resample(lstm_jax.decode_wav(content, name), RATE)
            found.append(Recording(speaker, int(digit), int(number), sound.samples))
    if not found:
        raise lstm_jax.InputError(
            f"{folder}: expected WAV files like 7_jackson_32.wav, or zips of them, "
            "found none"
        )
    return sorted(found, key=lambda r: (r.speaker, r.digit, r.number))


def tones() -> list[Recording]:
    """A stand-in for FSDD: each digit is a pair of tones, each speaker a pitch."""
    rng = np.random.default_rng(0)
    made = []
    for pitch, digit, number in np.ndindex(3, 10, 8):
        time = np.arange(int(rng.uniform(0.15, 0.3) * RATE)) / RATE
        low, high = 300 * 1.25 ** (digit // 4), 1200 * 1.25 ** (digit % 4)
        turns = 2 * np.pi * (0.97 + 0.03 * pitch) * time
        samples = np.sin(low * turns) + np.sin(high * turns)
        made.append(Recording("abc"[pitch], digit, number, samples.astype(np.float32)))
    return made


@functools.cache
def noise_pool() -> list[np.ndarray]:
    """Long stretches of noise to cut from, from white to pink."""
    rng = np.random.default_rng(0)
    return [lstm_jax.coloured_noise(rng, 2**18, slope) for slope in (0.0, 0.5, 1.0)]


def with_noise(
    rng: np.random.Generator, samples: np.ndarray, decibels: float
) -> np.ndarray:
    """A sound with noise so much weaker than it."""
    noise = noise_pool()[rng.integers(len(noise_pool()))]
    start = rng.integers(len(noise) - len(samples))
    return lstm_jax.add_noise(samples, noise[start : start + len(samples)], decibels)


def by_speaker(recordings: Iterable[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each speaker."""
    found: dict[str, list[Recording]] = {}
    for recording in recordings:
        found.setdefault(recording.speaker, []).append(recording)
    return found


def joined(
    recordings: Sequence[Recording], rounds: int
) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    """The utterances of the test and their transcripts, the same for every run.

    In each round every recording is used once, but for the up to 2 a speaker has left.
    """
    rng = np.random.default_rng(0)
    sounds, transcripts = [], []
    for mine in list(by_speaker(recordings).values()) * rounds:
        order = rng.permutation(len(mine)).tolist()
        while len(order) >= 3:
            count = min(int(rng.integers(3, 8)), len(order))
            some = [mine[order.pop()] for _ in range(count)]
            whole = lstm_jax.join_sounds(
                rng, [r.samples for r in some], gap=int(0.4 * RATE), decibels=3.0
            )
            sounds.append(with_noise(rng, whole, rng.uniform(10, 30)))
            transcripts.append(tuple(r.digit + 1 for r in some))
    return sounds, transcripts


def training_batch(
    recordings: Sequence[Recording], settings: Settings, seed: int, n: int
) -> dict[str, np.ndarray]:
    """Batch n: rows of 1 to 7 varied recordings of one speaker each."""
    rng = np.random.default_rng([seed, n])
    speakers = list(by_speaker(recordings).values())
    frames, transcripts = [], np.zeros((settings.rows, 7), np.int32)
    for row in range(settings.rows):
        mine = speakers[rng.integers(len(speakers))]
        samples, digits = one_row(rng, mine, settings.samples)
        frames.append(varied_frames(rng, samples))
        transcripts[row, : len(digits)] = digits
    frames, lengths = lstm_jax.pad_frames(frames, settings.frames)
    return {"frames": frames, "lengths": lengths, "transcripts": transcripts}


def one_row(
    rng: np.random.Generator, mine: Sequence[Recording], longest: int
) -> tuple[np.ndarray, list[int]]:
    """A third of the rows are single recordings, the others as many as there is room."""
    single = rng.random() < 1 / 3
    gap = int(rng.choice([0.0, 0.4]) * RATE)
    wanted = 1 if single else int(rng.integers(2, 8))
    speed, room = rng.uniform(0.85, 1.15), longest - gap
    sounds, digits = [], []
    while len(digits) < wanted:
        recording = mine[rng.integers(len(mine))]
        varied = lstm_jax.change_speed(
            recording.samples, speed * rng.uniform(0.95, 1.05)
        )
        room -= len(varied) + gap
        if digits and room < 0:
            break
        sounds.append(varied)
        digits.append(recording.digit + 1)
    samples = lstm_jax.join_sounds(rng, sounds, gap=gap, decibels=3.0)[:longest]
    if rng.random() < 0.7:
        samples = with_noise(rng, samples, rng.uniform(8, 40))
    return samples, digits


def varied_frames(rng: np.random.Generator, samples: np.ndarray) -> np.ndarray:
    """Frames as of another speaker's vocal tract, with stripes left out."""
    filters = lstm_jax.mel_filters(EAR.bands, rng.uniform(0.9, 1.1))
    features = EAR.spectrogram(samples, filters)
    return EAR.stacked(lstm_jax.mask(rng, features, bands=8, frames=12))


@dataclasses.dataclass(frozen=True)
class Report:
    """What a method made of one test: digits named right, and edits of the joined."""

    right: int
    tested: int
    greedy: lstm_jax.Edits
    beam: lstm_jax.Edits

    def __add__(self, other: Report) -> Report:
        """Both tests together."""
        return Report(
            self.right + other.right,
            self.tested + other.tested,
            self.greedy + other.greedy,
            self.beam + other.beam,
        )

    def __str__(self) -> str:
        return (
            f"isolated {self.right}/{self.tested} = {self.accuracy:.2f} %, joined "
            f"greedy {100 * self.greedy.error_rate:.2f} %, beam {self.error:.2f} % "
            f"digit errors in {self.beam.length}"
        )

    @property
    def accuracy(self) -> float:
        """Percent of the isolated digits."""
        return 100 * self.right / self.tested

    @property
    def error(self) -> float:
        """Digit error rate with the beam, percent."""
        return 100 * self.beam.error_rate


def examine(
    name: Callable[[list[np.ndarray]], np.ndarray],
    read: Callable[[list[np.ndarray]], tuple[list, list]],
    tested: Sequence[Recording],
    rounds: int,
) -> Report:
    """Test a method.

    Args:
        name: from sounds of one digit each to digits.
        read: from joined sounds to transcripts, found greedily and by beam search.
        tested: the recordings to test with.
        rounds: how often each of them is joined.
    """
    digits = np.array([r.digit for r in tested])
    right = int((name([r.samples for r in tested]) == digits).sum())
    sounds, references = joined(tested, rounds)
    greedy, beam = read(sounds)
    count = lstm_jax.count_all_edits
    return Report(
        right, len(digits), count(references, greedy), count(references, beam)
    )


def network_report(
    model: lstm_jax.Transcriber, tested: Sequence[Recording], rounds: int
) -> Report:
    """The network's."""

    def name(sounds: list[np.ndarray]) -> np.ndarray:
        heard = lstm_jax.hear(model, EAR, sounds)
        return np.array([h.symbols.argmax() for h in heard])

    def read(sounds: list[np.ndarray]) -> tuple[list, list]:
        scores = [h.scores for h in lstm_jax.hear(model, EAR, sounds)]
        best = [lstm_jax.prefix_beam_search(s, BEAM)[0].symbols for s in scores]
        return [lstm_jax.greedy_decode(s) for s in scores], best

    return examine(name, read, tested, rounds)


def template_report(
    trained: Sequence[Recording], tested: Sequence[Recording], rounds: int
) -> Report:
    """The floor: the nearest training recording, all stretched to one length.

    Joined utterances are cut where they are quiet.
    """
    templates = np.stack([template(r.samples) for r in trained])
    digits = np.array([r.digit for r in trained])

    def name(sounds: list[np.ndarray]) -> np.ndarray:
        vectors = np.stack([template(s) for s in sounds])
        return digits[(vectors @ templates.T).argmax(axis=1)]

    def read(sounds: list[np.ndarray]) -> tuple[list, list]:
        found = [tuple(name(loud_pieces(s)) + 1) for s in sounds]
        return found, found

    return examine(name, read, tested, rounds)


def template(samples: np.ndarray) -> np.ndarray:
    """A spectrogram of 16 moments as a vector of length 1."""
    features = EAR.spectrogram(samples)
    moments = np.linspace(0, len(features) - 1, 16)
    places = np.arange(len(features))
    vector = np.concatenate([np.interp(moments, places, f) for f in features.T])
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def loud_pieces(samples: np.ndarray) -> list[np.ndarray]:
    """What lies between pauses: where the loudness is half-way up or more."""
    hop, shortest = EAR.bands.hop, 8
    loudness = np.log(np.square(samples[: len(samples) // hop * hop]) + 1e-6)
    loudness = loudness.reshape(-1, hop).mean(axis=1)
    loudness = np.convolve(loudness, np.ones(5) / 5, "same")
    loud = loudness > np.quantile(loudness, [0.05, 0.95]).mean()
    edges = np.flatnonzero(np.diff(loud, prepend=False, append=False)).reshape(-1, 2)
    pieces = [(a, b) for a, b in edges if b - a >= shortest] or [(0, len(loud))]
    return [samples[a * hop : b * hop] for a, b in pieces]


def train(
    recordings: Sequence[Recording],
    settings: Settings,
    programs: lstm_jax.Programs,
    options: Options,
    seconds: float,
    run_dir: Path | None = None,
) -> lstm_jax.Transcriber:
    """A network that has learned from some recordings."""
    task = lstm_jax.Task(
        loss=lstm_jax.transcribe_loss,
        batch=functools.partial(training_batch, recordings, settings, options.seed),
        row_axes={"frames": 0, "lengths": 0, "transcripts": 0},
        rows=settings.rows,
        steps_per_epoch=max(1, len(recordings) // (3 * settings.rows)),
        symbols_per_step=settings.rows * settings.frames,
    )
    plan = lstm_jax.Plan(
        settings.steps, seconds, settings.learning_rate, warmup=0.05, final_rate=0.0
    )
    trained = lstm_jax.train_model(
        task,
        build(settings, options.seed),
        plan,
        programs,
        seed=options.seed,
        steps_per_call=4,
        run_dir=run_dir,
        unit="nats per digit",
    )
    last = trained.lines[-1]
    print(
        f"  {last['step']} steps in {last['seconds']:.0f} s, "
        f"last loss {last['train_loss']:.3f} nats per digit"
    )
    return trained.model


def build(settings: Settings, seed: int = 0) -> lstm_jax.Transcriber:
    """An untrained network."""
    return lstm_jax.make_transcriber(
        EAR.features,
        1 + len(NAMES),
        settings.hidden,
        settings.layers,
        dropout=settings.dropout,
        seed=seed,
    )
