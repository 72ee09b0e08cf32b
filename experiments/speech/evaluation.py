"""What is made of a test: by networks, by templates, in one line and in a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lstm_jax
from experiments.known_data import FSDD, described
from experiments.results import DataFile, Result, write_result
from experiments.speech.audio import Sound, split_on_silence
from experiments.speech.baseline import make_templates
from experiments.speech.data import FRONTEND, RATE, Recording, utterances, words
from lstm_jax.decoding import greedy_decode, prefix_beam_search
from lstm_jax.metrics import Edits, count_all_edits

BEAM = 8


class Networks(NamedTuple):
    """Those for isolated digits, stacked, and that for joined ones."""

    isolated: lstm_jax.SequenceClassifier
    joined: lstm_jax.CTCModel


class Report(NamedTuple):
    """What was made of a test: classes of digits, transcripts of joined ones."""

    right: int
    tested: int
    greedy: Edits
    beam: Edits

    @property
    def accuracy(self) -> float:
        """Percent of the isolated digits."""
        return 100 * self.right / self.tested

    def __str__(self) -> str:
        return (
            f"isolated {self.right}/{self.tested} = {self.accuracy:.2f} %; joined, "
            f"errors in {self.beam.length} digits: greedy "
            f"{100 * self.greedy.error_rate:.2f} %, beam "
            f"{100 * self.beam.error_rate:.2f} %"
        )


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


def score_words(networks: Networks, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities [N, 10] of the digit that each row of frames [T, D] is."""
    import jax.numpy as jnp

    from experiments.speech.inference import score_classes

    members = lstm_jax.training.members_of(networks.isolated)
    each = [score_classes(member, rows) for member in members]
    return np.asarray(lstm_jax.training.average_members(jnp.stack(each)))


def examine(networks: Networks, tested: Sequence[Recording], rounds: int) -> Report:
    """What the networks make of a test."""
    from experiments.speech.inference import score_frames

    rows = [FRONTEND.frames(recording.samples) for recording in words(tested)]
    classes = score_words(networks, rows).argmax(axis=1)
    sounds, references = utterances(tested, rounds)
    rows = [FRONTEND.frames(samples) for samples in sounds]
    logits = score_frames(networks.joined, rows)
    greedy = [greedy_decode(some) for some in logits]
    beam = [prefix_beam_search(some, BEAM)[0].symbols for some in logits]
    return report(tested, classes, references, greedy, beam)


def examine_templates(
    known: Sequence[Recording], tested: Sequence[Recording], rounds: int
) -> Report:
    """The floor: the nearest training recording; joined digits are cut at pauses."""
    rows = [FRONTEND.spectrogram(recording.samples) for recording in words(known)]
    classes = np.array([recording.digit for recording in known])
    templates = make_templates(rows, classes)

    def name(sounds: Sequence[np.ndarray]) -> np.ndarray:
        return templates.nearest([FRONTEND.spectrogram(samples) for samples in sounds])

    sounds, references = utterances(tested, rounds)
    cut = [split_on_silence(Sound(s, RATE)) for s in sounds]
    named = [name([piece.samples for piece in pieces]) + 1 for pieces in cut]
    found = [tuple(digits.tolist()) for digits in named]
    answers = name([recording.samples for recording in words(tested)])
    return report(tested, answers, references, found, found)


def report(
    tested: Sequence[Recording],
    classes: np.ndarray,
    references: Sequence[tuple[int, ...]],
    greedy: Sequence[tuple[int, ...]],
    beam: Sequence[tuple[int, ...]],
) -> Report:
    """Answers beside what was said."""
    digits = np.array([recording.digit for recording in tested])
    count = count_all_edits
    return Report(
        right=int((classes == digits).sum()),
        tested=len(tested),
        greedy=count(references, greedy),
        beam=count(references, beam),
    )


def write_results(
    run_dir: Path,
    smoke: bool,
    command: str,
    official: Comparison,
    unseen: dict[str, Comparison],
    minutes: float,
    files: Sequence[DataFile] = (),
) -> None:
    """One result for isolated digits, and one, the last, for joined ones."""
    networks = official.networks, {k: found.networks for k, found in unseen.items()}
    templates = official.templates, {k: found.templates for k, found in unseen.items()}
    names = [file.name for file in files] or ["generated tones"] * smoke
    own = ", ".join([*names, f"{len(unseen)} speakers"])
    is_fsdd = tuple(file.sha256 for file in files) == FSDD["sha256"]
    shared = {"minutes": minutes, "command": command}
    isolated = Result(
        **described(
            "Speech recognition, isolated digits",
            f"{'official ' * is_fsdd}test, recordings 0 to 4; and each speaker unseen "
            "in turn",
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
    return f"{official.accuracy:.2f}; {means(each)}"


def error_rates(official: Report, unseen: dict[str, Report]) -> str:
    """Of joined digits, by beam search."""
    each = {name: 100 * found.beam.error_rate for name, found in unseen.items()}
    return f"{100 * official.beam.error_rate:.2f}; {means(each)}"


def means(each: dict[str, float]) -> str:
    """The mean over speakers, and each of them."""
    names = ", ".join(f"{name} {value:.1f}" for name, value in each.items())
    return f"unseen speakers {np.mean(list(each.values())):.2f} ({names})"
