"""Pieces of music: files to chords, chords to piano rolls and to padded batches.

A piece is a sequence of chords, one per quarter note; a chord is the MIDI pitches that
sound, rising, and none if all are silent. NumPy only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from experiments.music.midi import KEYS, LOWEST, SUFFIXES, read_midi, write_midi
from experiments.results import DataFile, describe_file
from lstm_jax import InputError
from lstm_jax.data import IGNORED, Batch, Picked, bytes_of, pad
from lstm_jax.storage import replace_file

PARTS = ("train", "valid", "test")
Chord = tuple[int, ...]
Piece = tuple[Chord, ...]
Roll = NDArray[np.float32]
_MOST_STEPS = 10_000  # of a piece; more is a damaged file
_SHARES = (0.6, 0.8)  # where a folder of MIDI files is cut into three parts
CHORD_END = KEYS  # the symbol after the last note of a chord
SYMBOLS = KEYS + 1


def read_parts(path: Path, seed: int = 0) -> dict[str, list[Piece]]:
    """Read what to learn from, to choose by and to test on.

    A JSON file has an object of "train", "valid" and "test". The MIDI files of a
    folder, in the order of a permutation, are divided into 60, 20 and 20 %.

    Args:
        path: of a JSON file, or of a folder of MIDI files.
        seed: decides which file falls into which part.

    Raises:
        InputError: it is neither, or a part has no piece of two steps or more.
    """
    if path.is_dir():
        pieces = _read_folder(path)
        order = np.random.default_rng(seed).permutation(len(pieces))
        cuts = [round(share * len(pieces)) for share in _SHARES]
        divided = np.split(order, cuts)
        parts = {
            name: [pieces[k] for k in numbers]
            for name, numbers in zip(PARTS, divided, strict=True)
        }
    else:
        parts = _read_json(path)
    for name in PARTS:
        if not any(len(piece) > 1 for piece in parts.get(name, [])):
            raise InputError(f"{path}: expected pieces in {name!r}, found none")
    return {name: _long_enough(parts[name]) for name in PARTS}


def read_pieces(path: Path) -> list[Piece]:
    """Read pieces to be scored or continued.

    Args:
        path: of a MIDI file; of a folder of them; or of JSON: a piece, a list of
            pieces, or an object whose "test" is one.

    Raises:
        InputError: it is none of them, or has no notes.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() in SUFFIXES:
        return [checked_piece(read_midi(path), str(path))]
    parts = _read_json(path)
    pieces = parts.get("test", parts.get("", []))
    if not any(chord for piece in pieces for chord in piece):
        raise InputError(f"{path}: expected a piece with notes, found none")
    return pieces


def describe_data(path: Path) -> DataFile:
    """Describe a JSON file, or all MIDI files of a folder as one.

    Their checksum is that of a line for each, in the order of their names, as sha256sum
    writes it.
    """
    if not path.is_dir():
        return describe_file(path)
    files = [(file, describe_file(file)) for file in _midi_files(path)]
    lines = "".join(
        f"{found.sha256}  {file.relative_to(path).as_posix()}\n"
        for file, found in files
    )
    size = sum(found.bytes or 0 for _, found in files)
    return DataFile(path.name, size, hashlib.sha256(lines.encode()).hexdigest())


def write_piece(path: Path, piece: Piece, tempo: float) -> None:
    """Write a piece as a MIDI file, or as JSON if the name of the file ends so.

    Args:
        path: of the file.
        piece: what to write.
        tempo: quarter notes per minute, in a MIDI file.

    Raises:
        InputError: it can't be written.
    """
    if path.suffix.lower() == ".json":
        replace_file(path, f"{json.dumps(piece)}\n".encode())
    else:
        write_midi(path, piece, tempo)


def _long_enough(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces in which there is something to predict."""
    return [piece for piece in pieces if len(piece) > 1]


def _read_folder(path: Path) -> list[Piece]:
    files = _midi_files(path)
    if not files:
        raise InputError(f"{path}: expected a folder of MIDI files, found none in it")
    return [checked_piece(read_midi(file), str(file)) for file in files]


def _midi_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)


def _read_json(path: Path) -> dict[str, list[Piece]]:
    """The parts of a JSON file; one without parts has the nameless one."""
    raw = b"".join(bytes_of(path))
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deeply"])[0]
        raise InputError(f"{path}: expected JSON, found: {reason:.80}") from None
    parts = {"": found}
    if isinstance(found, dict):
        parts = {name: found[name] for name in PARTS if name in found}
    return {name: _pieces_of(part, f"{path}") for name, part in parts.items()}


def _pieces_of(found: object, where: str) -> list[Piece]:
    """Pieces from what JSON made of them: a list of them, or one alone."""
    if is_piece(found):
        return [checked_piece(found, where)]
    if isinstance(found, list) and all(map(is_piece, found)):
        return [checked_piece(piece, where) for piece in found]
    raise InputError(
        f"{where}: expected lists of chords, which are lists of MIDI pitches, "
        f"found {found!r:.60}"
    )


def is_piece(found: object) -> TypeGuard[list[list[int]]]:
    """Tell lists of whole numbers, one list at least, from all else JSON may hold."""
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(chord, list) for chord in found)
        and all(type(pitch) is int for chord in found for pitch in chord)
    )


def checked_piece(piece: Sequence[Sequence[int]], where: str) -> Piece:
    """The piece, if a piano could play it; its chords rise, without repetitions."""
    if len(piece) > _MOST_STEPS:
        raise InputError(
            f"{where}: expected at most {_MOST_STEPS:,} steps, found {len(piece):,}"
        )
    for pitch in (pitch for chord in piece for pitch in chord):
        if not LOWEST <= pitch < LOWEST + KEYS:
            highest = LOWEST + KEYS - 1
            raise InputError(
                f"{where}: expected pitches from {LOWEST} to {highest}, "
                f"found {pitch!s:.20}"
            )
    return tuple(tuple(sorted(set(chord))) for chord in piece)


def piano_roll(piece: Piece) -> Roll:
    """Which of the 88 keys sound at each step, [T, 88] of zeros and ones."""
    roll = np.zeros((len(piece), KEYS), np.float32)
    for step, chord in enumerate(piece):
        roll[step, [pitch - LOWEST for pitch in chord]] = 1
    return roll


def transposed(piece: Piece, semitones: int) -> Piece:
    """The piece in another key; as it was where it would leave the keyboard."""
    moved = tuple(tuple(pitch + semitones for pitch in chord) for chord in piece)
    pitches = [pitch for chord in moved for pitch in chord]
    inside = all(LOWEST <= pitch < LOWEST + KEYS for pitch in pitches)
    return moved if inside else piece


def symbols_of(piece: Piece) -> list[int]:
    """The keys of each chord from the highest down, and a symbol for its end."""
    symbols = []
    for chord in piece:
        symbols += [pitch - LOWEST for pitch in reversed(chord)]
        symbols.append(CHORD_END)
    return symbols


def symbol_batch(pieces: Sequence[Piece], steps: int) -> Batch:
    """A batch for `chord_loss`: each note is predicted from all that were before it.

    Args:
        pieces: a row each; one without chords is an empty row.
        steps: T, to which rows are padded.

    Returns:
        `inputs` and `targets` [B, T], the latter IGNORED in each piece's first chord,
        `lengths` [B], and `chords` [B], how many of them are predicted.
    """
    symbols = [symbols_of(piece) for piece in pieces]
    known = [len(piece[0]) if piece else 0 for piece in pieces]
    targets = [
        [IGNORED] * first + row[1:][first:]
        for first, row in zip(known, symbols, strict=True)
    ]
    return {
        "inputs": pad([row[:-1] for row in symbols], len(pieces), steps, CHORD_END),
        "targets": pad(targets, len(pieces), steps, IGNORED),
        "lengths": np.array([max(0, len(row) - 1) for row in symbols], np.int32),
        "chords": np.array([max(0, len(piece) - 1) for piece in pieces], np.int32),
    }


def picked_pieces(pieces: Sequence[Piece], picked: Picked) -> list[Piece]:
    """The pieces of a batch; those of empty rows have no chords."""
    return [pieces[k] if k >= 0 else () for k in picked.rows]


def describe_pieces(parts: Mapping[str, Sequence[Piece]]) -> str:
    """How many pieces and steps each part has."""
    return " / ".join(
        f"{len(pieces)} ({sum(map(len, pieces)):,} steps)" for pieces in parts.values()
    )
