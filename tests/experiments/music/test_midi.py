"""MIDI files: what is written is read back, and what is no music is refused."""

import itertools
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.music.midi import read_midi, voices_of, write_midi
from lstm_jax import InputError

mido = pytest.importorskip("mido")
TICKS = 96
chords = st.lists(st.integers(21, 108), max_size=5, unique=True).map(sorted).map(tuple)


def midi_file(
    path: Path, notes: Sequence[tuple[float, float, int]], channel: int = 0
) -> Path:
    """A file of notes: when each begins and ends, in quarters, and its pitch."""
    file, track = mido.MidiFile(ticks_per_beat=TICKS), mido.MidiTrack()
    events = [(begin, 1, pitch) for begin, _, pitch in notes]
    events += [(end, 0, pitch) for _, end, pitch in notes]
    now = 0
    for when, velocity, pitch in sorted(events):
        tick = round(when * TICKS)
        track.append(
            mido.Message(
                "note_on",
                note=pitch,
                velocity=64 * velocity,
                time=tick - now,
                channel=channel,
            )
        )
        now = tick
    file.tracks.append(track)
    file.save(path)
    return path


@given(st.lists(chords, min_size=1, max_size=6).filter(any))
def test_what_is_written_is_read_back(piece: list[tuple[int, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piece.mid"
        write_midi(path, piece, 80.0)
        assert read_midi(path) == piece


def test_a_file_has_a_tempo_four_voices_and_held_notes(tmp_path: Path) -> None:
    path = tmp_path / "piece.mid"
    write_midi(path, [(48, 60, 64, 67), (48, 62, 65, 67)], 90.0)
    file = mido.MidiFile(path)
    assert file.type == 1 and len(file.tracks) == 1 + 4
    assert mido.tempo2bpm(file.tracks[0][0].tempo) == pytest.approx(90, rel=1e-5)
    notes = [
        [message.note for message in track if message.type == "note_on"]
        for track in file.tracks[1:]
    ]
    assert notes == [[67], [64, 65], [60, 62], [48]]
    assert file.length == pytest.approx(2 * 60 / 90, rel=1e-4)


def test_voices_do_not_cross_and_move_as_little_as_can_be() -> None:
    piece = [(48, 60, 64, 67), (48, 60, 67), (47, 62), (), (48, 60, 64, 67, 72)]
    assert voices_of(piece[:4]) == [
        [67, 64, 60, 48],
        [67, 67, 60, 48],
        [62, 62, 62, 47],
        [None] * 4,
    ]
    assert voices_of(piece)[-1] == [72, 67, 64, 60, 48]


@given(st.lists(chords, min_size=1, max_size=4))
def test_voices_move_as_little_as_in_any_other_way(
    piece: list[tuple[int, ...]],
) -> None:
    """All ways are tried, as is done here for few voices only."""
    count = max([4, *map(len, piece)])
    before: list[int | None] = [None] * count
    for chord, found in zip(piece, voices_of(piece), strict=True):
        ways = [
            way
            for way in itertools.combinations_with_replacement(chord[::-1], count)
            if set(way) == set(chord)
        ]
        if not chord:
            assert found == [None] * count
            continue
        moved = [
            sum(abs(a - b) for a, b in zip(before, way, strict=True) if a is not None)
            for way in ways
        ]
        assert tuple(found) in dict(zip(ways, moved, strict=True))
        assert dict(zip(map(str, ways), moved, strict=True))[str((*found,))] == min(
            moved
        )
        before = found


def test_chords_of_any_number_of_notes_are_written(tmp_path: Path) -> None:
    """There are more than 10^25 ways to share half of a piano among 88 voices."""
    piece = [tuple(range(21, 109)), tuple(range(21, 65)), (60,)]
    write_midi(tmp_path / "a.mid", piece, 80.0)
    assert read_midi(tmp_path / "a.mid") == piece


def test_a_beat_has_what_sounds_then(tmp_path: Path) -> None:
    """A late note is of its beat; what comes and goes between two beats is left out."""
    notes = [(0.1, 1, 60), (0.5, 0.9, 62), (1.05, 3, 64), (1.9, 3, 67), (1.0, 2.05, 48)]
    found = read_midi(midi_file(tmp_path / "a.mid", notes))
    assert found == [(60,), (48, 64), (64, 67)]


@pytest.mark.parametrize(("pitch", "channel"), [(60, 9), (20, 0), (109, 0)])
def test_percussion_and_what_no_piano_has_are_left_out(
    pitch: int, channel: int, tmp_path: Path
) -> None:
    path = midi_file(tmp_path / "a.mid", [(0, 1, pitch)], channel)
    with pytest.raises(InputError, match=r"a\.mid: expected notes, found none"):
        read_midi(path)


def test_a_note_that_begins_again_is_held_on(tmp_path: Path) -> None:
    """Two voices of one channel do that; a note without an end lasts to the end."""
    track = mido.MidiTrack()
    for kind, pitch, time in (
        ("note_on", 60, 0),
        ("note_on", 60, TICKS),
        ("note_on", 64, 0),
        ("note_off", 60, 2 * TICKS),
    ):
        track.append(mido.Message(kind, note=pitch, time=time))
    file = mido.MidiFile(ticks_per_beat=TICKS)
    file.tracks.append(track)
    file.save(tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid") == [(60,), (60, 64), (60, 64)]


def header(division: int, tracks: int = 1) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, 1, tracks, division)


def track_of(events: bytes) -> bytes:
    return b"MTrk" + struct.pack(">I", len(events)) + events


NOTE = b"\x00\x90\x3c\x40\x60\x80\x3c\x00\x00\xff\x2f\x00"
BETWEEN = b"\x30\x90\x3c\x40\x0a\x80\x3c\x00\x60\xff\x2f\x00"
FOR_EVER = b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x80\x3c\x00\x00\xff\x2f\x00"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a MIDI file, found: its end, too early"),
        (
            b"MThd" + struct.pack(">IHHH", 6, 2, 1, 96) + track_of(NOTE),
            "expected MIDI of",
        ),
        (header(96) + track_of(BETWEEN), "expected notes on a beat, found all between"),
        (b"no music at all, but text", "expected a MIDI file, found"),
        (header(96) + track_of(NOTE)[:-5], "expected a MIDI file, found"),
        (header(96) + track_of(NOTE)[:12], "expected a MIDI file, found"),
        (header(0xE250) + track_of(NOTE), "expected ticks per quarter note, found SM"),
        (header(0) + track_of(NOTE), "expected ticks per quarter note, found SM"),
        (header(96) + track_of(NOTE[-4:]), "expected notes, found none"),
        (header(96, 0), "expected notes, found none"),
        (header(1) + track_of(FOR_EVER), "expected 1 to 10,000 quarter notes, found 2"),
    ],
)
def test_what_is_no_music_is_refused_in_one_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mid: {message}") as raised:
        read_midi(tmp_path / "a.mid")
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a MIDI file, found nothing"):
        read_midi(tmp_path / "none.mid")


def test_without_mido_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = midi_file(tmp_path / "a.mid", [(0, 1, 60)])
    monkeypatch.setattr("experiments.music.midi.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"expected mido: pip install -e '\.\[music\]"):
        read_midi(path)
    with pytest.raises(InputError, match="expected mido"):
        write_midi(tmp_path / "b.mid", [(60,)], 80.0)
    assert not (tmp_path / "b.mid").exists()
