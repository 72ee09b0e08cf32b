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
    """Train and score on the official split, then with each speaker left out."""

    data: Path | None = None
    """Folder of recordings named DIGIT_SPEAKER_NUMBER.wav, or zip files of them."""
    transcripts: Path | None = None
    """CSV table with the columns file and transcript: train on your own words instead
    of digits; see --units. Files are looked up in --data, by default the folder of the
    table."""
    units: Unit = "characters"
    """What to predict for --transcripts: characters, for free speech (CTC); or words,
    each distinct transcript being a class, for a fixed list of commands."""
    test_fraction: Share = 0.1
    """Fraction of the --transcripts recordings held out as the test set."""
    longest: Annotated[float, Range(0.1, 600.0)] = 20.0
    """Longest --transcripts recording to use, in seconds; longer ones are skipped."""
    validate: bool = False
    """Tune settings without touching the test set: only the official split, tested on
    recordings 5 to 9, with 0 to 4 unused."""
    validation_fraction: Share = 0.0
    """Fraction of the training recordings held out to choose the best step by, and for
    --patience."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    smoke: bool = False
    """Quick trial run on generated tones, in seconds."""
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/speech"), max_seconds=1800.0, steps_per_call=4
        )
    )
    """Training run. Each network gets an equal share of --max-seconds."""

    @property
    def trains_several(self) -> bool:
        """Whether there is a network for each speaker who is left out."""
        return self.transcripts is None and not self.validate


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score trained networks on recordings of your own."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the training run."""
    data: Path | None = None
    """Folder of recordings, or zip files of them, named DIGIT_SPEAKER_NUMBER.wav unless
    --transcripts says what is in them."""
    transcripts: Path | None = None
    """CSV table with the columns file and transcript, for a run trained on one."""
    json: bool = False
    """Print the scores as a last line of JSON."""


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Transcribe a recording, at any sample rate and with any number of channels.

    WAV files need nothing else; FLAC, Ogg, MP3 and others need the extra `audio`.
    """

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Folder of the training run."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """The recording."""
    picture: Path | None = None
    """Draw the spectrogram and what was heard in it to this file."""


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
