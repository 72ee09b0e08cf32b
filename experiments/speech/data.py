"""Spoken digits: recordings, and utterances joined from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lstm_jax
from experiments.results import DataFile
from experiments.speech.audio import (
    Sound,
    decode_wav,
    resample,
    trim_silence,
    wav_files,
)
from experiments.speech.augment import join_sounds, with_noise
from experiments.speech.features import LogMelFrontend

FRONTEND = LogMelFrontend(stack=4)  # frames of 40 ms, 160 numbers each
RATE = FRONTEND.bands.rate
FILE_NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")


class Recording(NamedTuple):
    """One spoken digit."""

    speaker: str
    digit: int
    number: int
    samples: np.ndarray


def read_recordings(folder: Path) -> list[Recording]:
    """Every DIGIT_SPEAKER_NUMBER.wav in a folder and in zips there."""
    found = []
    for name, content in wav_files(folder):
        if match := FILE_NAME.fullmatch(name):
            digit, speaker, number = match.groups()
            sound = resample(decode_wav(content, name), RATE)
            found.append(Recording(speaker, int(digit), int(number), sound.samples))
    if not found:
        raise lstm_jax.InputError(
            f"{folder}: expected WAV files like 7_jackson_32.wav, or zips of them, "
            "found none"
        )
    return sorted(found, key=lambda r: r[:3])


def describe_recordings(folder: Path) -> DataFile:
    """All recordings of a folder as one: their checksum does not heed the zips.

    It is that of a line for each, in the order of their names, as sha256sum writes it.
    """
    sums, size = [], 0
    for name, content in wav_files(folder):
        if FILE_NAME.fullmatch(name):
            sums.append((name, hashlib.sha256(content).hexdigest()))
            size += len(content)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums))
    return DataFile(
        f"{folder.name}, {len(sums):,} recordings",
        size,
        hashlib.sha256(lines.encode()).hexdigest(),
    )


def tones() -> list[Recording]:
    """A stand-in for FSDD: each digit is a pair of tones, each speaker a pitch."""
    rng = np.random.default_rng(0)
    made = []
    for pitch, digit, number in np.ndindex(2, 10, 8):
        seconds = np.arange(int(rng.uniform(0.15, 0.3) * RATE)) / RATE
        low, high = 300 * 1.3 ** (digit // 4), 1000 * 1.3 ** (digit % 4)
        turns = 2 * np.pi * (1 + 0.05 * pitch) * seconds
        samples = np.sin(low * turns) + np.sin(high * turns)
        speaker = ("low", "high")[pitch]
        made.append(Recording(speaker, digit, number, samples.astype(np.float32)))
    return made


def words(recordings: Sequence[Recording]) -> list[Recording]:
    """The recordings without the silence before and after the digit."""
    return [
        recording._replace(samples=trim_silence(Sound(recording.samples, RATE)).samples)
        for recording in recordings
    ]


def by_speaker(recordings: Sequence[Recording]) -> dict[str, list[Recording]]:
    """The recordings of each speaker."""
    found: dict[str, list[Recording]] = {}
    for recording in recordings:
        found.setdefault(recording.speaker, []).append(recording)
    return found


def official_split(
    recordings: Sequence[Recording], validate: bool
) -> tuple[list[Recording], list[Recording]]:
    """Those to learn from, and those of the test, or of a validation in its place."""
    held_out = range(5, 10) if validate else range(5)
    known = [r for r in recordings if r.number >= held_out.stop]
    return known, [r for r in recordings if r.number in held_out]


def utterances(
    recordings: Sequence[Recording], rounds: int
) -> tuple[list[np.ndarray], list[tuple[int, ...]]]:
    """The joined digits of a test and their transcripts, the same in every run.

    Each round uses every recording once, but for 1 or 2 that a speaker may have left.
    """
    rng = np.random.default_rng(0)
    sounds, transcripts = [], []
    for mine in list(by_speaker(recordings).values()) * rounds:
        order = rng.permutation(len(mine)).tolist()
        while len(order) >= 3:
            count = min(int(rng.integers(3, 8)), len(order))
            some = [mine[order.pop()] for _ in range(count)]
            parts = [recording.samples for recording in some]
            whole = join_sounds(rng, parts, gap=int(0.4 * RATE), decibels=3.0)
            sounds.append(with_noise(rng, whole, rng.uniform(10, 30)))
            transcripts.append(tuple(recording.digit + 1 for recording in some))
    return sounds, transcripts
