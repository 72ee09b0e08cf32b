"""Learning what a table says of recordings, from the table to what is heard."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.speech import __main__ as speech
from experiments.speech import transcribed
from experiments.speech.data import tones
from experiments.speech.transcribed import Vocabulary
from experiments.speech.transcripts import Clip
from lstm_jax import InputError
from tests.experiments.speech.test_command import write_wav

NAMES = "oh on tw th fo fi si se ei ni".split()  # two characters each
SOUNDS = [r for r in tones() if r.digit < 3 and r.number < 4]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """24 tones, two transcripts of which share a character."""
    lines = ["file,transcript"]
    (tmp_path / "sounds").mkdir()
    for k, recording in enumerate(SOUNDS):
        write_wav(tmp_path / "sounds" / f"{k}.wav", recording.samples, 8000, 1)
        lines.append(f"{k}.wav,{NAMES[recording.digit]}")
    (tmp_path / "words.csv").write_text("\n".join(lines))
    return tmp_path / "words.csv"


@pytest.mark.parametrize(
    "units", ["characters", pytest.param("words", marks=pytest.mark.slow)]
)
def test_own_words_are_learned_scored_and_heard(
    units: str,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = transcribed.Settings(4, steps=4, rows=4, layers=1, members=2)
    monkeypatch.setattr(transcribed, units.upper(), settings)
    run_dir = table.parent / "run"
    words = ["--units", units, "--transcripts", str(table), "--run-dir", str(run_dir)]
    speech.main([*words, "--data", str(table.parent), "--test-fraction", "0.25"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("18 recordings to learn from, 6 to test with, ")
    result = json.loads(lines[-1])
    assert result == json.loads((run_dir / "result.json").read_text())
    assert result["task"] == f"Speech recognition, own {units}"
    assert result["licence"] == result["published"] == "-"
    kept = json.loads((run_dir / "config.json").read_text())["settings"]
    symbols = {"characters": ["h", "n", "o", "t", "w"], "words": ["oh", "on", "tw"]}
    assert kept == {"units": units, "symbols": symbols[units]}

    scored = ["--data", str(table.parent), "--transcripts", str(table), "--json"]
    speech.main(["evaluate", str(run_dir), *scored])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["recordings"] == 24
    assert ("character_error_rate" in found) == (units == "characters")
    heard = [str(run_dir), str(table.parent / "sounds" / "0.wav")]
    speech.main(["predict", *heard])
    out = capsys.readouterr().out
    assert out.startswith("heard: ") and "(probability 0." in out
    if units == "words":
        with pytest.raises(InputError, match="--picture: expected a run that reads ch"):
            speech.main(["predict", *heard, "--picture", str(table.parent / "p.png")])
    with pytest.raises(InputError, match="--transcripts: expected a table, found none"):
        speech.main(["evaluate", str(run_dir), "--data", str(table.parent)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--smoke"], "--smoke: expected no --transcripts beside it"),
        (["--validate"], "--validate: expected no --transcripts beside it"),
        (
            ["--test-fraction", "0.99"],
            "--test-fraction: expected recordings left to",
        ),
        (["--longest", "0.1"], r"words\.csv: expected recordings, found none to use"),
        (["--data", "/nowhere"], "/nowhere: expected a folder of sounds, found none"),
    ],
)
def test_contradictions_are_refused(
    words: list[str], message: str, table: Path
) -> None:
    run_dir = table.parent / "run"
    given = ["--transcripts", str(table), "--run-dir", str(run_dir), *words]
    with pytest.raises(InputError, match=message):
        speech.main(given)
    assert not run_dir.exists()


def test_units_belong_to_transcripts(table: Path) -> None:
    with pytest.raises(InputError, match="--units: expected --transcripts beside it"):
        speech.main(["--smoke", "--units", "words"])
    table.write_text("file,transcript\n0.wav,oh\n1.wav,oh\n")
    with pytest.raises(InputError, match="expected two words or more, found 1"):
        speech.main(["--transcripts", str(table), "--units", "words"])


def clip(seconds: float, transcript: str) -> Clip:
    return Clip("a.wav", transcript, np.ones(int(8000 * seconds), np.float32))


def test_a_transcript_needs_a_frame_for_each_character(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Frames of 20 ms: 0.2 s played 12 % faster are 9 of them.
    fits, doubled, long = clip(0.2, "abcabcabc"), clip(0.2, "abcabcabb"), "abcabcabca"
    found = transcribed.with_room(Path("w.csv"), [fits, doubled, clip(0.2, long)])
    assert found == [fits]
    assert "w.csv: 2 too short for their transcripts, left out: a.wav" in caplog.text
    with pytest.raises(InputError, match="time for their transcripts, found none"):
        transcribed.with_room(Path("w.csv"), [doubled])


def test_what_a_vocabulary_lacks_is_never_right() -> None:
    letters = Vocabulary("characters", ("a", "b"))
    assert letters.encode("bax") == (2, 1, 3) and letters.decode((2, 1)) == "ba"
    score = transcribed.score(letters, [clip(1, "ax"), clip(1, "b")], [(1,), (2,)])
    assert (score.tested, score.right, score.edits.total) == (2, 1, 1)
    assert score.number("characters") == "33.33 (50.0 % of the transcripts without one)"
    whole = Vocabulary("words", ("no", "yes"))
    assert whole.encode("yes") == (1,) and whole.encode("maybe") == (2,)
    assert whole.decode((1,)) == "yes"
    assert (
        transcribed.score(whole, [clip(1, "yes")], [(1,)]).number("words") == "100.00"
    )


def test_a_batch_holds_whole_transcripts() -> None:
    how = dataclasses.replace(transcribed.CHARACTERS, rows=5, seconds=1.3)
    examples = [transcribed.Example((1, 2, 3), np.ones(8000, np.float32))]
    examples += [transcribed.Example((2,), np.ones(4000, np.float32))]
    batch = transcribed.transcribed_batch(how, examples, 0, 0)
    assert batch["frames"].shape == (5, 65, 80) and batch["transcripts"].shape == (5, 3)
    for length, row in zip(batch["lengths"], batch["transcripts"], strict=True):
        assert row.tolist() in ([1, 2, 3], [2, 0, 0])
        assert (length > 40) == (row[1] == 2)
