"""Spoken digits: recordings, and utterances joined from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lstm_jax
from experiments.results import DataFile
from experiments.speech.audio import decode_sound, resample, trim_silence
from experiments.speech.augment import join_sounds, with_noise
from experiments.speech.features import LogMelFrontend
from experiments.speech.files import SOUNDS, SoundFile, sound_files
from experiments.speech.wav import Sound
from lstm_jax.errors import warn

FRONTEND = LogMelFrontend(stack=4)  # frames of 40 ms, 160 numbers each
RATE = FRONTEND.bands.rate
FILE_NAME = re.compile(
    rf"(\d)_(.+)_(\d+)({'|'.join(map(re.escape, SOUNDS))})", re.IGNORECASE | re.DOTALL
)
_HELD_OUT = 5  # recordings of each speaker and digit in a test
_SHOWN = 3  # names in a message
_LONGEST = 200  # bytes of a folder's name, with room for an ending


class Recording(NamedTuple):
    """One spoken digit."""

    speaker: str
    digit: int
    number: int
    samples: np.ndarray


def read_recordings(folder: Path) -> list[Recording]:
    """Every DIGIT_SPEAKER_NUMBER.wav in a folder and in zips there.

    What is there and not read is named in a note.

    Raises:
        InputError: there is none, or one can't be read.
    """
    found, left_out, cut = [], [], []
    for file, match in _digit_files(folder, left_out):
        digit, speaker, number = match.groups()[:3]
        sound = decode_sound(file.content, file.path.name)
        if sound.lost:
            cut.append(f"{file.path.name} ({sound.lost:,} samples missing)")
        samples = resample(sound, RATE).samples
        found.append(Recording(speaker, int(digit), int(number), samples))
    if not found:
        raise lstm_jax.InputError(
            f"{folder}: expected WAV files like 7_jackson_32.wav, or zips of them, "
            f"found none{listed('; left out: ', left_out)}"
        )
    if left_out:
        warn(listed(f"{folder}: left out: ", left_out))
    if cut:
        warn(listed(f"{folder}: cut short: ", cut))
    return sorted(found, key=lambda r: r[:3])


def _digit_files(
    folder: Path, left_out: list[str]
) -> Iterator[tuple[SoundFile, re.Match[str]]]:
    """The files that are named as recordings of digits; of copies, the first."""
    seen = set()
    for file in sound_files(folder, left_out):
        match = FILE_NAME.fullmatch(file.path.name)
        if not match:
            left_out.append(f"{file.path} is not named DIGIT_SPEAKER_NUMBER.wav")
            continue
        mark = file.path.name, hashlib.sha256(file.content).digest()
        if mark in seen:
            left_out.append(f"{file.path} is there twice")
            continue
        seen.add(mark)
        yield file, match


def listed(before: str, names: Sequence[str]) -> str:
    """Tell some names, the first few of them in full; nothing if there are none."""
    more = len(names) - _SHOWN
    shown = [*names[:_SHOWN], *([f"{more:,} more"] if more > 0 else [])]
    return before + ", ".join(shown) if names else ""


def describe_recordings(folder: Path) -> DataFile:
    """All recordings of a folder as one: their checksum does not heed the zips.

    It is that of a line for each, in the order of their names, as sha256sum writes it.
    """
    sums, size = [], 0
    for file, _ in _digit_files(folder, []):
        sums.append((file.path.name, hashlib.sha256(file.content).hexdigest()))
        size += len(file.content)
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
    """Those to learn from, and those of the test, or of a validation in its place.

    The test is recordings 0 to 4 of every speaker. Where they are numbered in another
    way it is the first third of each speaker's recordings of a digit, 5 at most, and 1
    of two. A validation has the next ones; the test is left alone.

    Raises:
        InputError: there are too few to hold some out.
    """
    number = _numbers if is_numbered_officially(recordings) else _ranks
    held_out = 1 if validate else 0
    pairs = list(zip(recordings, number(recordings), strict=True))
    known = [recording for recording, part in pairs if part > held_out]
    tested = [recording for recording, part in pairs if part == held_out]
    if not known or not tested:
        raise lstm_jax.InputError(
            f"--data: expected {3 if validate else 2} or more recordings of one "
            f"speaker's digit, found {len(known)} to learn from and {len(tested)} to "
            "test with"
        )
    return known, tested


def is_numbered_officially(recordings: Sequence[Recording]) -> bool:
    """Whether every speaker has recordings numbered 0 to 4, and others."""
    return all(
        {recording.number < _HELD_OUT for recording in mine} == {True, False}
        for mine in by_speaker(recordings).values()
    )


def held_out_of(recordings: Sequence[Recording]) -> str:
    """Say which recordings are the test."""
    if is_numbered_officially(recordings):
        return f"recordings 0 to {_HELD_OUT - 1}"
    return f"the first third of each speaker's digit, {_HELD_OUT} at most"


def folder_name(speaker: str) -> str:
    """A name for a speaker's folder that leads nowhere else, however one is called."""
    safe = re.sub(r"\W", lambda found: f"%{ord(found[0]):x}%", speaker)
    digest = hashlib.sha256(speaker.encode()).hexdigest()
    return safe if len(safe.encode()) <= _LONGEST else digest


def _numbers(recordings: Sequence[Recording]) -> list[int]:
    """The part that each belongs to by its number."""
    return [recording.number // _HELD_OUT for recording in recordings]


def _ranks(recordings: Sequence[Recording]) -> list[int]:
    """The part that each belongs to by its rank in its speaker's ones of its digit."""
    groups: dict[tuple[str, int], list[int]] = {}
    for k, recording in enumerate(recordings):
        groups.setdefault(recording[:2], []).append(k)
    parts = [2] * len(recordings)
    for mine in groups.values():
        size = min(_HELD_OUT, max(len(mine) // 3, len(mine) // 2 and 1))
        for rank, k in enumerate(sorted(mine, key=lambda k: recordings[k].number)):
            parts[k] = rank // size if size else 2
    return parts


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
