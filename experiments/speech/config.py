"""The flags of the commands."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.runs import RunOptions
from lstm_jax.config import CellName, Range, RunConfig, Share

Unit = Literal["characters", "words"]


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train on the official split and without each speaker, and report both."""

    data: Path | None = None
    """Folder with the recordings, FSDD's or your own: DIGIT_SPEAKER_NUMBER.wav files,
    or zips of them."""
    transcripts: Path | None = None
    """CSV table of your own recordings, with columns `file` and `transcript`, to train
    on instead of digits; see --units. Files are looked up in --data, by default the
    table's folder."""
    units: Unit = "characters"
    """How to read --transcripts: as characters, for free speech (CTC), or as words,
    each whole transcript being a class, for a fixed list of commands."""
    test_fraction: Share = 0.1
    """Share of the recordings of --transcripts held out as the test."""
    longest: Annotated[float, Range(0.1, 600.0)] = 20.0
    """Longest recording of --transcripts, in seconds; longer ones are left out."""
    validate: bool = False
    """How the settings were chosen: only the official split, with recordings 5 to 9 as
    the test and 0 to 4 left alone."""
    validation_fraction: Share = 0.0
    """Share of the recordings to learn from that is held out to choose the best step
    by, for --patience."""
    cell: CellName = "lstm"
    """What a layer repeats over time."""
    smoke: bool = False
    """A tiny run on generated tones."""
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/speech"), max_seconds=1800.0, steps_per_call=4
        )
    )
    """How long, and where it is kept. Every network gets its share of --max-seconds."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the networks of a run on recordings of your own."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the run."""
    data: Path | None = None
    """Folder with the recordings, or zips of them: DIGIT_SPEAKER_NUMBER.wav files
    unless there are --transcripts."""
    transcripts: Path | None = None
    """Table with columns `file` and `transcript`, for a run that has learned from
    one."""
    json: bool = False
    """End with one line of JSON."""


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Transcribe a recording, at any sample rate and with any number of channels.

    WAV files need nothing else; FLAC, Ogg, MP3 and others need the extra `audio`.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of a training run."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The recording."""
    picture: Path | None = None
    """Where to draw the spectrogram and what was heard in it."""


def former_order(words: Sequence[str]) -> list[str]:
    """`predict FILE [--run-dir RUN_DIR]`, as it once was, as `predict RUN_DIR FILE`.

    Args:
        words: of the command line. What is in order is returned as it is.
    """
    if words[:1] != ["predict"]:
        return [*words]
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    reader.add_argument("--run-dir", "--run_dir", nargs="?")
    reader.add_argument("--picture", nargs="?")
    found, others = reader.parse_known_args(words[1:])
    plain = [word for word in others if not word.startswith("-")]
    folder, file = found.run_dir, Path(plain[0]) if plain else None
    if file is None or len(plain) > 2 or (folder and len(plain) > 1):
        return [*words]
    if len(plain) == 2:
        swapped = file.is_file() and Path(plain[1]).is_dir()
        others = plain[::-1] if swapped else others
    elif folder or not file.is_dir():
        others = [folder or str(Options().run.run_dir), *others]
    shown = ["--picture", found.picture] if found.picture else []
    return ["predict", *others, *shown]
