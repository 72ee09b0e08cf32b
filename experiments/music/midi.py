"""Standard MIDI files: to chords per quarter note, and back to four voices.

The files are read and written by mido; without it all else works.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax import InputError
from lstm_jax.storage import open_regular, replace_file

if TYPE_CHECKING:
    import mido

SUFFIXES = (".mid", ".midi")
LOWEST, KEYS = 21, 88  # the keys of a piano: A0 to C8
_TICKS = 480  # of a quarter note, in files that are written
_LATE = 1 / 8  # quarters that a note may come after its beat
_PERCUSSION = 9  # the channel that has no pitches, counted from 0
_ORGAN, _VELOCITY = 19, 80
_MOST_QUARTERS = 10_000  # of a file; more is a damaged one
Chord = tuple[int, ...]
Note = tuple[int, int, int]  # pitch, and the ticks at which it begins and ends


def read_midi(path: Path) -> list[Chord]:
    """Read which pitches sound at each quarter note of a standard MIDI file.

    All tracks and channels but percussion count, and the pitches of a piano. What
    sounds an eighth of a quarter after the beat belongs to it, so that a player may be
    late; what comes and goes between two beats is left out.

    Returns:
        The chords, rising pitches each, up to the end of the file.

    Raises:
        InputError: it can't be read, is no MIDI file, has tracks that are pieces of
            their own (type 2), counts time in seconds (SMPTE), has no notes on a beat,
            or is longer than 10,000 quarters.
    """
    file = _parsed(path)
    ticks = file.ticks_per_beat
    notes, end = _notes_of(file)
    if not notes:
        raise InputError(f"{path}: expected notes, found none")
    quarters = round(end / ticks)
    if not 0 < quarters <= _MOST_QUARTERS:
        raise InputError(
            f"{path}: expected 1 to {_MOST_QUARTERS:,} quarter notes, "
            f"found {quarters:,}"
        )
    sounding: list[set[int]] = [set() for _ in range(quarters)]
    for pitch, begin, stop in notes:
        first = _beats_before(begin, ticks)
        for chord in sounding[first : _beats_before(stop, ticks)]:
            chord.add(pitch)
    if not any(sounding):
        raise InputError(f"{path}: expected notes on a beat, found all between two")
    return [tuple(sorted(chord)) for chord in sounding]


def _beats_before(tick: int, ticks: int) -> int:
    """How many beats have passed by more than an eighth of a quarter."""
    return max(0, -(-(tick - round(ticks * _LATE)) // ticks))


def _parsed(path: Path) -> mido.MidiFile:
    """The messages of a file, read by mido."""
    need_mido()
    import mido

    try:
        with open_regular(path) as file:
            found = mido.MidiFile(file=file)
    except FileNotFoundError:
        raise InputError(f"{path}: expected a MIDI file, found nothing") from None
    except Exception as error:  # of the many that a hostile file can cause
        reason = (str(error).splitlines() or ["its end, too early"])[0]
        raise InputError(f"{path}: expected a MIDI file, found: {reason:.80}") from None
    if found.type not in (0, 1):
        raise InputError(f"{path}: expected MIDI of type 0 or 1, found {found.type}")
    if found.ticks_per_beat <= 0:
        raise InputError(
            f"{path}: expected ticks per quarter note, found SMPTE time or none"
        )
    return found


def _notes_of(file: mido.MidiFile) -> tuple[list[Note], int]:
    """The notes of all tracks in ticks, and when the longest track is over."""
    notes, last = [], 0
    for track in file.tracks:
        now, begun = 0, {}
        for message in track:
            now += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            if message.channel == _PERCUSSION or not _on_piano(message.note):
                continue
            key = message.channel, message.note
            if key in begun:  # a note that begins again has ended
                notes.append((message.note, begun.pop(key), now))
            if message.type == "note_on" and message.velocity:
                begun[key] = now
        notes += [(pitch, begin, now) for (_, pitch), begin in begun.items()]
        last = max(last, now)
    return notes, last


def _on_piano(pitch: int) -> bool:
    return LOWEST <= pitch < LOWEST + KEYS


def write_midi(path: Path, piece: Sequence[Chord], tempo: float) -> None:
    """Write a standard MIDI file of type 1: a track of the tempo, and one per voice.

    There are four voices, or as many as the fullest chord has notes. A pitch that a
    voice keeps is held.

    Args:
        path: of the file.
        piece: chords, one per quarter note.
        tempo: quarter notes per minute.

    Raises:
        InputError: the file can't be written.
    """
    need_mido()
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=_TICKS)
    head = mido.MidiTrack()
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    head.append(mido.MetaMessage("end_of_track", time=_TICKS * len(piece)))
    file.tracks.append(head)
    channels = [channel for channel in range(16) if channel != _PERCUSSION]
    for number, line in enumerate(zip(*voices_of(piece), strict=True)):
        channel = channels[number % len(channels)]
        file.tracks.append(_track(line, channel, f"voice {number + 1}"))
    whole = io.BytesIO()
    file.save(file=whole)
    replace_file(path, whole.getvalue())


def _track(line: Sequence[int | None], channel: int, name: str) -> mido.MidiTrack:
    """One voice: a pitch per quarter note, or None where it rests."""
    import mido

    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name=name))
    track.append(mido.Message("program_change", program=_ORGAN, channel=channel))
    waited = 0
    for pitch, same in itertools.groupby(line):
        ticks = _TICKS * len(list(same))
        if pitch is None:
            waited += ticks
            continue
        sound = {"note": pitch, "channel": channel}
        on = mido.Message("note_on", velocity=_VELOCITY, time=waited, **sound)
        off = mido.Message("note_off", velocity=0, time=ticks, **sound)
        track.extend([on, off])
        waited = 0
    track.append(mido.MetaMessage("end_of_track", time=waited))
    return track


def voices_of(piece: Sequence[Chord], least: int = 4) -> list[list[int | None]]:
    """Divide chords among voices, the highest first: [T, voices].

    No voice crosses another. Where a chord has fewer notes than there are voices, some
    sing the same note, so chosen that all move as little as can be.

    Args:
        piece: chords, rising.
        least: how many voices there are at least.
    """
    count = max([least, *map(len, piece)])
    lines: list[list[int | None]] = []
    before: list[int | None] = [None] * count
    for chord in piece:
        if chord:
            before = [*_nearest(before, sorted(chord, reverse=True))]
        lines.append(before if chord else [None] * count)
    return lines


def _nearest(before: Sequence[int | None], notes: Sequence[int]) -> Iterator[int]:
    """Notes for all voices, in order, none left out, that they move least to sing.

    By dynamic programming from the last voice back: what it takes from voice v on if it
    sings note k. Of ways that are as near, the upper voices go down first.

    Args:
        before: what each voice sang.
        notes: falling, no more than there are voices.
    """
    last = len(notes) - 1
    rest = [math.inf] * last + [0, math.inf]  # of no voices: all notes are sung
    ways = [rest]
    for old in reversed(before):
        moved = [0 if old is None else abs(old - note) for note in notes]
        on = [min(rest[k], rest[k + 1]) for k in range(last + 1)]
        if len(ways) == 1:  # the last voice
            on = rest[:-1]
        rest = [cost + more for cost, more in zip(moved, on, strict=True)] + [math.inf]
        ways.append(rest)
    ways.reverse()
    k = 0
    for voice in range(len(before)):
        yield notes[k]
        if voice + 1 < len(before) and ways[voice + 1][k + 1] <= ways[voice + 1][k]:
            k += 1


def need_mido() -> None:
    """Refuse to go on without the library that reads and writes MIDI files.

    Raises:
        InputError: it is not installed.
    """
    if find_spec("mido") is None:
        raise InputError("MIDI files: expected mido: pip install -e '.[music]'")
