"""Pieces: parts and folders, rolls and symbols, batches, and files that are none."""

import json
from pathlib import Path

import pytest

from experiments.music.data import (
    CHORD_END,
    PARTS,
    describe_data,
    piano_roll,
    read_parts,
    read_pieces,
    symbol_batch,
    transposed,
    write_piece,
)
from lstm_jax import InputError
from lstm_jax.data import IGNORED

FIRST = ((60, 64, 67), (), (59, 67))
SECOND = ((21, 108), (60,))
END = CHORD_END


def test_the_parts_of_a_file(tmp_path: Path) -> None:
    """Chords rise, a pitch counts once, and a piece of one chord predicts nothing."""
    parts = {"train": [[[67, 60, 64, 60], [], [59, 67]]], "test": [SECOND, [[60]]]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(parts | {"valid": [SECOND], "notes": [FIRST]}))
    found = read_parts(path)
    assert found == {"train": [FIRST], "valid": [SECOND], "test": [SECOND]}
    assert read_pieces(path) == [SECOND, ((60,),)]


@pytest.mark.parametrize("whole", [[FIRST, SECOND], FIRST])
def test_pieces_without_parts(whole: list, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(whole))
    expected = [FIRST, SECOND] if len(whole) == 2 else [FIRST]
    assert read_pieces(tmp_path / "a.json") == expected


def test_a_folder_of_midi_files_is_divided(tmp_path: Path) -> None:
    pytest.importorskip("mido")
    (tmp_path / "more").mkdir()
    pieces = [((60 + k, 72), (60, 72 + k)) for k in range(10)]
    for k, piece in enumerate(pieces):
        name = f"more/{k}.MID" if k % 2 else f"{k}.midi"
        write_piece(tmp_path / name, piece, 80.0)
    (tmp_path / "notes.txt").write_text("not read")
    parts = read_parts(tmp_path)
    assert [len(part) for part in parts.values()] == [6, 2, 2]
    divided = [piece for part in parts.values() for piece in part]
    assert sorted(divided) == sorted(read_pieces(tmp_path)) == pieces
    before = describe_data(tmp_path)
    assert before.name == tmp_path.name and before.sha256
    write_piece(tmp_path / "0.midi", SECOND, 80.0)
    assert describe_data(tmp_path).sha256 != before.sha256


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected JSON, found"),
        ("[[[60]", "expected JSON, found"),
        (DEEP, "expected JSON, found"),
        ("7", "expected lists of chords, which are lists of MIDI pitches, found 7"),
        ('{"test": 7}', "expected lists of chords"),
        ('[[["c"]]]', "expected lists of chords"),
        ("[[[60.5]]]", "expected lists of chords"),
        ("[[[true]]]", "expected lists of chords"),
        ("[[[20]]]", "expected pitches from 21 to 108, found 20"),
        ("[[[109]]]", "expected pitches from 21 to 108, found 109"),
        (f"[[{'[60],' * 10_000}[60]]]", "expected at most 10,000 steps, found 10,001"),
        ("[]", "expected a piece with notes, found none"),
        ("[[[], []]]", "expected a piece with notes, found none"),
        ('{"": [[[60]]]}', "expected a piece with notes, found none"),
        ('{"train": [[[60]]]}', "expected a piece with notes, found none"),
    ],
)
def test_what_holds_no_pieces_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.json: {message}") as raised:
        read_pieces(tmp_path / "a.json")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("left", [None, [], [[[60]]]])
def test_every_part_needs_a_piece(part: str, left: list | None, tmp_path: Path) -> None:
    parts: dict = {name: [FIRST] for name in PARTS} | {part: left}
    kept = {name: pieces for name, pieces in parts.items() if pieces is not None}
    (tmp_path / "a.json").write_text(json.dumps(kept))
    with pytest.raises(InputError, match=f"expected pieces in '{part}', found none"):
        read_parts(tmp_path / "a.json")


def test_what_else_an_object_says_is_no_piece(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"name": "x", "test": [FIRST]}))
    assert len(read_pieces(tmp_path / "a.json")) == 1


def test_an_empty_folder_is_no_data(tmp_path: Path) -> None:
    for read in (read_parts, read_pieces):
        with pytest.raises(InputError, match="expected a folder of MIDI files, found"):
            read(tmp_path)


def test_a_roll_has_a_key_for_every_pitch() -> None:
    roll = piano_roll(SECOND)
    assert roll.shape == (2, 88) and roll.sum() == 3
    assert roll[0, 0] == roll[0, 87] == roll[1, 60 - 21] == 1


def test_symbols_fall_within_a_chord_and_the_first_chord_is_given() -> None:
    batch = symbol_batch([FIRST, (), SECOND], 8)
    a, b, c, d = 60 - 21, 64 - 21, 67 - 21, 59 - 21
    symbols = [c, b, a, END, END, c, d, END]
    assert batch["inputs"][0, :7].tolist() == symbols[:-1]
    assert batch["targets"][0].tolist() == [*[IGNORED] * 3, *symbols[4:], IGNORED]
    assert batch["targets"][2, :5].tolist() == [IGNORED, IGNORED, a, END, IGNORED]
    assert (batch["targets"][1] == IGNORED).all()
    assert batch["lengths"].tolist() == [7, 0, 4]
    assert batch["chords"].tolist() == [2, 0, 1]


def test_a_key_that_leaves_the_piano_is_not_gone_to() -> None:
    assert transposed(FIRST, 2) == ((62, 66, 69), (), (61, 69))
    assert transposed(SECOND, 1) == SECOND and transposed(SECOND, -1) == SECOND
