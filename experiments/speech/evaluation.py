"""What is made of a test: by networks, by templates, in one line and in a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstm_jax
from experiments import digits
from experiments.digits import Networks, Report
from experiments.known_data import FSDD, described
from experiments.results import DataFile, Result, write_result
from experiments.speech.audio import split_on_silence
from experiments.speech.baseline import make_templates
from experiments.speech.data import FRONTEND, RATE, Recording, utterances, words
from experiments.speech.wav import Sound
from lstm_jax.metrics import Edits


class Comparison(NamedTuple):
    """The networks' report and that of the floor, from one test."""

    networks: Report
    templates: Report

    def record(self) -> dict[str, Any]:
        """Make a JSON object of it."""
        return {name: _record(report) for name, report in self._asdict().items()}


def read_comparison(path: Path) -> Comparison:
    """Read the record of a comparison from a file.

    Raises:
        InputError: there is none, or it is damaged.
    """
    record = lstm_jax.storage.read_json(path, "what a test has given")
    try:
        return Comparison(*(_report(record[name]) for name in Comparison._fields))
    except (KeyError, TypeError) as error:
        raise lstm_jax.InputError(
            f"{path}: expected what a test has given, found: {error!r:.100}"
        ) from None


def _record(report: Report) -> dict[str, Any]:
    edits = {n: dataclasses.asdict(getattr(report, n)) for n in ("greedy", "beam")}
    return {"right": report.right, "tested": report.tested, **edits}


def _report(record: dict[str, Any]) -> Report:
    edits = {name: Edits(**record[name]) for name in ("greedy", "beam")}
    return Report(record["right"], record["tested"], **edits)


def examine(networks: Networks, tested: Sequence[Recording], rounds: int) -> Report:
    """What the networks make of a test."""
    rows = [FRONTEND.frames(recording.samples) for recording in words(tested)]
    sounds, references = utterances(tested, rounds)
    joined = [FRONTEND.frames(samples) for samples in sounds]
    return digits.examine(networks, rows, digits_of(tested), joined, references)


def digits_of(recordings: Sequence[Recording]) -> np.ndarray:
    """Which digit each of them is, [N]."""
    return np.array([recording.digit for recording in recordings])


def examine_templates(
    known: Sequence[Recording], tested: Sequence[Recording], rounds: int
) -> Report:
    """The floor: the nearest training recording; joined digits are cut at pauses."""
    rows = [FRONTEND.spectrogram(recording.samples) for recording in words(known)]
    templates = make_templates(rows, digits_of(known))

    def name(sounds: Sequence[np.ndarray]) -> np.ndarray:
        return templates.nearest([FRONTEND.spectrogram(samples) for samples in sounds])

    sounds, references = utterances(tested, rounds)
    cut = [split_on_silence(Sound(s, RATE)) for s in sounds]
    named = [name([piece.samples for piece in pieces]) + 1 for pieces in cut]
    found = [tuple(symbols.tolist()) for symbols in named]
    answers = name([recording.samples for recording in words(tested)])
    return digits.report(digits_of(tested), answers, references, found, found)


def write_results(
    run_dir: Path,
    smoke: bool,
    command: str,
    official: Comparison,
    unseen: dict[str, Comparison],
    minutes: float,
    files: Sequence[DataFile] = (),
    held_out: str = "recordings 0 to 4",
) -> None:
    """One result for isolated digits, and one, the last, for joined ones.

    Args:
        run_dir: where they go.
        smoke: whether the data were generated.
        command: what was run.
        official: what was made of the official split.
        unseen: of each speaker that was left out; none if there is one only.
        minutes: that it took.
        files: the data.
        held_out: which recordings are the test.
    """
    networks = official.networks, {k: found.networks for k, found in unseen.items()}
    templates = official.templates, {k: found.templates for k, found in unseen.items()}
    names = [file.name for file in files] or ["generated tones"] * smoke
    speakers = f"{len(unseen)} speakers" if unseen else "1 speaker"
    own = ", ".join([*names, speakers])
    is_fsdd = tuple(file.sha256 for file in files) == FSDD["sha256"]
    shared = {"minutes": minutes, "command": command}
    isolated = Result(
        **described(
            "Speech recognition, isolated digits",
            f"{'official ' * is_fsdd}test, {held_out}"
            + "; and each speaker unseen in turn" * bool(unseen),
            files,
            own,
        ),
        metric="accuracy, %",
        ours=accuracies(*networks),
        floor=f"nearest template: {accuracies(*templates)}",
        **shared,
    )
    joined = Result(
        **described(
            "Speech recognition, joined digits",
            "the same tests, 3 to 7 recordings joined with pauses and noise",
            files,
            own,
        ),
        metric="digit error rate, %",
        ours=error_rates(*networks),
        floor=f"cut at pauses, nearest template: {error_rates(*templates)}",
        **shared,
    )
    write_result(run_dir / "isolated", isolated)
    write_result(run_dir, joined)


def accuracies(official: Report, unseen: dict[str, Report]) -> str:
    """Of isolated digits."""
    each = {name: found.accuracy for name, found in unseen.items()}
    return f"{official.accuracy:.2f}{means(each)}"


def error_rates(official: Report, unseen: dict[str, Report]) -> str:
    """Of joined digits, by beam search; of those who said three or more."""
    if not official.beam.length:
        return "too few recordings to be joined"
    joined = {name: found.beam for name, found in unseen.items() if found.beam.length}
    each = {name: 100 * edits.error_rate for name, edits in joined.items()}
    return f"{100 * official.beam.error_rate:.2f}{means(each)}"


def means(each: dict[str, float]) -> str:
    """The mean over speakers, and each of them; nothing if there are none."""
    if not each:
        return ""
    names = ", ".join(f"{name} {value:.1f}" for name, value in each.items())
    return f"; unseen speakers {np.mean(list(each.values())):.2f} ({names})"
