"""Tables of recordings and of what is said in them."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from experiments.speech.transcripts import read_clips, read_table
from lstm_jax import InputError
from tests.experiments.speech.test_audio import tone, wav


def lines_of(path: Path, content: str | bytes) -> list[tuple[int, str, str]]:
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(raw)
    return [(n, str(file), said) for n, file, said in read_table(path)]


@pytest.mark.parametrize(
    "content",
    [
        "file,transcript\na.wav,hello there\nb.wav,ja\n",
        "\ufefffile,transcript\r\na.wav,hello there\r\nb.wav,ja\r\n",
        "file,transcript\ra.wav,hello there\rb.wav,ja",
        "id;Path;Sentence\n1;a.wav;hello there\n2;b.wav;ja\n",
        "transcription\tfile_name\nhello  there\ta.wav\nja \tb.wav\n\n",
        '"file","transcript"\n"a.wav","hello\nthere"\n"b.wav"," ja"\n',
        "file|text|more\na.wav|hello there|\nb.wav|ja|x\n",
        "file,transcript\na.wav,hello there\nb.wav,ja\n".encode("utf-16"),
    ],
)
def test_tables_of_many_makings_say_the_same(
    content: str | bytes, tmp_path: Path
) -> None:
    found = lines_of(tmp_path / "words.csv", content)
    assert [line[1:] for line in found] == [("a.wav", "hello there"), ("b.wav", "ja")]


def test_a_cell_may_hold_what_separates_cells(tmp_path: Path) -> None:
    content = 'file,transcript\nd/a.wav,"well, ""yes"""\n'
    assert lines_of(tmp_path / "w.csv", content) == [(2, "d/a.wav", 'well, "yes"')]
    content = 'file\ttranscript\na.wav\t"no, she said\nb\\c.wav\tcafe\u0301\n'
    assert lines_of(tmp_path / "w.tsv", content) == [
        *[(2, "a.wav", '"no, she said'), (3, "b/c.wav", "caf\xe9")]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "first line with columns file and transcript, found ''"),
        ("a.wav,yes\nb.wav,no\n", "columns file and transcript, found 'a.wav,yes'"),
        ("file,transcript\n", "expected a line for each recording, found none"),
        (
            "file,transcript\na.wav,b,c\n",
            "line 2: expected 2 cells, found 3; a cell",
        ),
        ("file,transcript\n\na.wav\n", "line 3: expected 2 cells, found 1"),
        ("file,transcript\na.wav, \n", "line 2: expected a file and a transcript"),
        ("file,transcript\n,yes\n", "line 2: expected a file and a transcript"),
        ("file,transcript\na.wav,x\na.wav,y\n", r"line 3: a\.wav was there in line 2"),
        ('file,transcript\na.wav,"x\nb.wav,y\n', "line 3: unexpected end of data"),
        (b"\xff\xfef", "expected a text in utf-16"),
    ],
)
def test_what_a_table_lacks_is_told_by_line(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        lines_of(tmp_path / "words.csv", content)


def clips_of(folder: Path, *files: str, longest: float = 20.0) -> tuple[list, dict]:
    """Names and lengths of the clips of a table of these files, and the notes."""
    table = folder.parent / "words.csv"
    table.write_text("file,transcript\n" + "".join(f"{name},x\n" for name in files))
    notes: dict[str, list[str]] = {}
    clips = read_clips(table, folder, longest, 8000, notes)
    return [(clip.name, len(clip.samples)) for clip in clips], notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sounds that differ in length: two beside each other, two of a name, one packed.

    One more is outside.
    """
    below = tmp_path / "sounds"
    (below / "d").mkdir(parents=True)
    for k, name in enumerate(("a.wav", "B.WAV", "d/a.wav", "d/c.wav", "../out.wav")):
        (below / name).write_bytes(wav(tone(440)[: 100 + k], 2))
    with ZipFile(below / "some.zip", "w") as archive:
        archive.writestr("e/packed.wav", wav(tone(440, rate=16000)[:400], 2, 16000))
    return below


def test_clips_are_found_by_the_end_of_their_path(folder: Path) -> None:
    found, notes = clips_of(folder, "packed.wav", "c", "a.wav", "B", "../out.wav")
    assert found == [
        *[("packed.wav", 200), ("c", 103), ("a.wav", 100), ("B", 101)],
        ("../out.wav", 104),
    ]
    assert notes == {"of a name that was there, left out": ["d/a.wav"]}
    found, notes = clips_of(folder, "d/a.wav", "e/packed.wav")
    assert found == [("d/a.wav", 102), ("e/packed.wav", 200)]
    assert notes == {"not in the table, left out": ["B.WAV", "a.wav", "d/c.wav"]}


def test_what_cannot_be_told_or_found_is_refused(folder: Path) -> None:
    (folder / "f").mkdir()
    (folder / "f" / "c.wav").write_bytes(wav(tone(300), 2))
    with pytest.raises(InputError, match=r"c\.wav: expected one such file, found d/c"):
        clips_of(folder, "a.wav", "c.wav")
    (folder / "f" / "c.wav").write_bytes((folder / "d" / "c.wav").read_bytes())
    found, notes = clips_of(folder, "c.wav")
    assert found == [("c.wav", 103)]
    assert notes["of a name that was there, left out"] == ["f/c.wav"]
    with pytest.raises(InputError, match=r"line 3: expected g\.wav in .*\(1 missing"):
        clips_of(folder, "a.wav", "g.wav")


def test_long_and_cut_clips_are_told(folder: Path) -> None:
    (folder / "a.wav").write_bytes(wav(tone(440), 2)[:-2])
    (folder / "B.WAV").write_bytes(wav(np.tile(tone(440), 2), 2))
    found, notes = clips_of(folder, "a.wav", "B.WAV", "d/a.wav", longest=0.9)
    assert found == [("a.wav", 3999), ("d/a.wav", 102)]
    assert notes.pop("cut short") == ["a.wav"]
    assert notes.pop("longer than 0.9 s, left out") == ["B.WAV"]
