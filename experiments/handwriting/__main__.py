"""Handwriting recognition: pen trajectories of digits, isolated ones and lines of them.

Task      Isolated digits, 8 points each, go through a bidirectional LSTM and are pooled
          into the scores of ten classes; a few such networks vote. A line of digits is
          read point by point by two such layers, trained by CTC on lines made while it
          learns; prefix beam search says what it is.
Data      PenDigits (Alimoglu 1996), CC BY 4.0: 7,494 digits of 30 writers and 3,498 of
          14 others. --data is the folder of PenDigits_TRAIN.ts and PenDigits_TEST.ts.
Protocol  The official split: the writers of the test are unknown. Lines: 2 to 6 digits
          of the test side by side, of varying size, width, slant and gap, in 3 rounds
          through it. The pen is lifted between digits, and within half of the 4s, 5s
          and 7s that have two strokes as far as their points tell (`lift`). The data do
          not say who wrote what: the digits of a line are not of one writer. Settings
          were chosen by a quarter of the training data, those of styles that the rest
          does not have (`without_styles`); --validate does that.
Command   python -m experiments.handwriting --data FOLDER
          python -m experiments.handwriting --resume --run-dir runs/handwriting
          python -m experiments.handwriting evaluate runs/handwriting --data FILE.ts
          python -m experiments.handwriting page draw.html
          python -m experiments.handwriting predict runs/handwriting strokes.json
Published On this split 97.7 by DTW, 97.8 by MLSTM-FCN, 98.0 by TapNet (Zhang et al.
          2020, cited from memory). Means above 99 over other splits mix the writers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

import lstm_jax
from experiments import digits
from experiments.cli import command_line, run_experiment
from experiments.digits import NAMES, Networks, Settings, load_networks, names
from experiments.handwriting.data import (
    PARTS,
    Digits,
    hold_out,
    read_digits,
    scribbles,
    without_styles,
)
from experiments.handwriting.evaluation import examine, examine_floor, write_results
from experiments.handwriting.ink import read_strokes
from experiments.handwriting.lines import Line, write_lines
from experiments.handwriting.page import write_page
from experiments.handwriting.strokes import digit_features, line_features, one_digit
from experiments.handwriting.task import APPLICATION, isolated_setup, joined_setup
from experiments.results import describe_file
from experiments.runs import Clock, RunOptions, begun, check_options
from lstm_jax.cli import run_command
from lstm_jax.config import CellName, RunConfig, Share
from lstm_jax.decoding import prefix_beam_search
from lstm_jax.training import Stop, interruptible

if TYPE_CHECKING:
    from experiments.results import DataFile

ISOLATED = Settings(64, steps=2000, rows=64, layers=1, dropout=0.3, members=5)
JOINED = Settings(64, steps=1500, rows=32, dropout=0.1)
TINY = Settings(8, 40, 16, 1, dropout=0.0, learning_rate=2e-2, members=2)
_LONGEST = 4096  # points of a line that is read, some 300 digits
_LOOKED_AT = 200  # lines of the test, of which the picture shows some
RunFolder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]


@dataclasses.dataclass(frozen=True)
class Options(RunOptions):
    """Train on the writers of one part of PenDigits, and test on those of the other."""

    data: Path | None = None
    """Folder with PenDigits_TRAIN.ts and PenDigits_TEST.ts."""
    validate: bool = False
    """How the settings were chosen: the test is a part of the training data, of styles
    that the rest does not have."""
    validation_fraction: Share = 0.0
    """Share of the digits to learn from that is held out to choose the best step by,
    for --patience."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    smoke: bool = False
    """A tiny run on generated scribbles."""
    run: RunConfig = dataclasses.field(
        default_factory=lambda: RunConfig(
            run_dir=Path("runs/handwriting"), steps_per_call=8
        )
    )
    """How long, and where it is kept. Each kind of network gets half of
    --max-seconds."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Score the networks of a run on digits of your own, and on lines of them."""

    run_dir: RunFolder
    """Folder of the run."""
    data: Path | None = None
    """A file like PenDigits_TEST.ts: x,...:y,...:digit on every line."""
    json: bool = False
    """End with one line of JSON."""


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """Read a line of digits, or one digit, from a file of pen strokes."""

    run_dir: RunFolder
    """Folder of a finished run."""
    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """Strokes: .json, as the page exports it, .csv or .inkml."""
    upward: bool = False
    """The y of the file grows upwards, and not downwards as on a screen."""
    picture: Path | None = None
    """Where to draw the strokes in the colours of what was read."""


@dataclasses.dataclass(frozen=True)
class PageOptions:
    """Write a page to draw digits on, in a browser, and to save them for `predict`."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.html")]
    """A new file; it needs no other one and no network."""


def learn(options: Options) -> None:
    """Check everything, then run."""
    clock = Clock()
    check_options(options, validated=options.validation_fraction > 0)
    known, tested = material(options)
    spare = [options.data] if options.data else []
    parts = [folder / name for folder in spare for name in PARTS]
    files = [] if options.smoke else [describe_file(path) for path in parts]
    with begun(APPLICATION, options, files=files, spare=spare, clock=clock):
        learn_from(options, known, tested, files, clock)


def material(options: Options) -> tuple[Digits, Digits]:
    """Read what to learn from, and what to test by.

    Raises:
        InputError: there is nothing, or too little.
    """
    if options.smoke:
        return scribbles()
    if options.data is None:
        raise lstm_jax.InputError(f"--data: expected a folder with {PARTS[0]}")
    if options.validate:
        return without_styles(read_digits(options.data / PARTS[0]))
    known, tested = (read_digits(options.data / name) for name in PARTS)
    if len(tested.classes) < 2:
        raise lstm_jax.InputError(
            f"--data: expected digits to make lines of in {PARTS[1]}, found one"
        )
    return known, tested


def learn_from(
    options: Options,
    known: Digits,
    tested: Digits,
    files: Sequence[DataFile],
    clock: Clock,
) -> None:
    """Train both kinds of networks, and test them beside the floor."""
    run_dir = options.run.run_dir
    assert run_dir is not None
    with interruptible() as stop:
        networks = train(options, known, run_dir, stop)
    if not lstm_jax.distributed.is_primary():
        return
    ours, floor = examine(networks, tested), examine_floor(known, tested)
    print(f"  networks  {ours}\n  floor     {floor}")
    lines = write_lines(tested, rounds=1)[:_LOOKED_AT]
    draw(networks, lines, run_dir / "joined.png")
    if options.validate:
        return
    minutes = clock.minutes
    command = command_line(APPLICATION, options)
    write_results(run_dir, command, ours, floor, minutes, files)


def train(options: Options, known: Digits, run_dir: Path, stop: Stop) -> Networks:
    """Train the networks for isolated digits, then that for lines.

    Raises:
        Interrupted: that was asked for; --resume goes on.
    """
    held_out = None
    if options.validation_fraction:
        known, held_out = hold_out(known, options.validation_fraction, options.run.seed)
    seconds = options.run.max_seconds
    run = dataclasses.replace(options.run, max_seconds=seconds and seconds / 2)
    pair = (TINY, TINY) if options.smoke else (ISOLATED, JOINED)
    one, many = (dataclasses.replace(how, cell=options.cell) for how in pair)
    models = []
    for setup, place in (
        (isolated_setup(one, options.precision), run_dir / "isolated"),
        (joined_setup(many, options.precision), run_dir),
    ):
        models.append(
            digits.fit(
                APPLICATION,
                setup,
                known,
                len(known.classes),
                run,
                folder=place,
                stop=stop,
                held_out=held_out,
            )
        )
        stop.check(f"the last network, unfinished, is in {place}; --resume goes on")
    return Networks(*models)


def draw(networks: Networks, lines: Sequence[Line], path: Path) -> None:
    """The first four of some lines that are read as written, and two that are not."""
    from experiments.handwriting.plots import Reading, draw_readings

    every = networks.read([line_features(line.strokes) for line in lines])
    right, wrong = [], []
    for line, logits in zip(lines, every, strict=True):
        symbols = prefix_beam_search(logits, digits.BEAM)[0].symbols
        title = f"read as written: {names(symbols)}"
        if symbols != line.symbols:
            title = f"read: {names(symbols)}   written: {names(line.symbols)}"
        some = right if symbols == line.symbols else wrong
        some.append(Reading(line.strokes, logits, symbols, title))
    draw_readings(path, [*right[:4], *wrong[:2]])


def predict(options: PredictOptions) -> None:
    """Say what is read in a file."""
    if options.picture and options.picture.suffix.lower() != ".png":
        raise lstm_jax.InputError(
            f"--picture: expected a name that ends in .png, found {options.picture}"
        )
    strokes = read_strokes(options.file)
    if options.upward:
        strokes = [stroke * [1.0, -1.0] for stroke in strokes]
    frames = line_features(strokes)
    if len(frames) > _LONGEST:
        raise lstm_jax.InputError(
            f"{options.file}: expected one line of digits, found a path of "
            f"{len(frames)} steps, of {_LONGEST} that are read"
        )
    networks = load_networks(options.run_dir, APPLICATION)
    logits = networks.read([frames])[0]
    hypotheses = prefix_beam_search(logits, digits.BEAM)
    for hypothesis in hypotheses[:3]:
        share = np.exp(hypothesis.log_probability)
        print(f"read: {names(hypothesis.symbols)}   (probability {share:.3f})")
    chances = np.exp(networks.name([digit_features(one_digit(strokes))])[0])
    digit = chances.argmax()
    print(f"if it is one digit: {NAMES[digit]}   (probability {chances[digit]:.3f})")
    if options.picture:
        from experiments.handwriting.plots import Reading, draw_readings

        symbols = hypotheses[0].symbols
        title = f"read: {names(symbols)}"
        readings = [Reading(strokes, logits, symbols, title)]
        draw_readings(options.picture, readings)


def evaluate(options: EvaluateOptions) -> None:
    """Score the networks of a run on digits, and on lines written of them."""
    if options.data is None:
        raise lstm_jax.InputError("--data: expected a .ts file of digits, found none")
    tested = read_digits(options.data)
    found = examine(load_networks(options.run_dir, APPLICATION), tested)
    print(found)
    if options.json:
        print(json.dumps(found.scores("digits")))


def main(argv: Sequence[str] | None = None) -> int | None:
    """The command."""
    return run_experiment(
        "handwriting",
        __doc__,
        argv,
        learn=(Options, learn),
        evaluate=(EvaluateOptions, evaluate),
        predict=(PredictOptions, predict),
        page=(PageOptions, lambda options: write_page(options.file)),
    )


if __name__ == "__main__":
    run_command(main)
