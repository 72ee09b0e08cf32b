"""The flags of the commands."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.runs import RunOptions
from lstm_jax.config import CellName, Range, RunConfig, Share

Unit = Literal["characters", "words"]
INPUT_FILE = tyro.conf.arg(metavar="FILE.wav")


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
    """Read digits off a file of sound, of any rate and any number of channels.

    WAV files are read as they are, FLAC, Ogg, MP3 and others with the extra `audio`.
    """

    file: Annotated[tyro.conf.Positional[Path], INPUT_FILE]
    """The sound."""
    run_dir: Path = Path("runs/speech")
    """Folder of a finished run."""
    picture: Path | None = None
    """Where to draw what was heard."""
