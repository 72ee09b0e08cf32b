"""What is made of a test: by networks, by the floor, and as rows of the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments import digits
from experiments.digits import Networks, Report
from experiments.handwriting.baseline import nearest, read_pieces
from experiments.handwriting.data import Digits
from experiments.handwriting.lines import write_lines
from experiments.handwriting.strokes import digit_features, line_features
from experiments.known_data import described
from experiments.results import DataFile, Result, write_result

ROUNDS = 3  # through the digits of a test, for its lines


def examine(networks: Networks, tested: Digits, rounds: int = ROUNDS) -> Report:
    """What the networks make of a test, and of lines written of it."""
    lines = write_lines(tested, rounds)
    return digits.examine(
        networks,
        list(digit_features(tested.points)),
        tested.classes,
        [line_features(line.strokes) for line in lines],
        [line.symbols for line in lines],
    )


def examine_floor(known: Digits, tested: Digits, rounds: int = ROUNDS) -> Report:
    """The floor: the nearest training digit; lines are cut where the pen goes on."""
    lines = write_lines(tested, rounds)
    found = read_pieces(known, [line.strokes for line in lines])
    answers = nearest(known, tested.points)
    references = [line.symbols for line in lines]
    return digits.report(tested.classes, answers, references, found, found)


def write_results(
    run_dir: Path,
    command: str,
    ours: Report,
    floor: Report,
    minutes: float,
    files: Sequence[DataFile] = (),
) -> None:
    """One result for isolated digits, and one, the last, for joined ones."""
    own = " ".join(file.name for file in files) or "generated scribbles"
    shared = {"minutes": minutes, "command": command}
    isolated = Result(
        **described(
            "Handwriting recognition, isolated digits",
            "official test of unseen writers",
            files,
            own,
        ),
        metric="accuracy, %",
        ours=f"{ours.accuracy:.2f}",
        floor=f"1-NN {floor.accuracy:.2f}",
        **shared,
    )
    joined = Result(
        **described(
            "Handwriting recognition, joined digits",
            f"lines of 2 to 6 digits of the official test, {ROUNDS} rounds",
            files,
            own,
        ),
        metric="digit error rate, %",
        ours=f"{100 * ours.beam.error_rate:.2f}",
        floor=f"cut between strokes, 1-NN {100 * floor.beam.error_rate:.2f}",
        **shared,
    )
    write_result(run_dir / "isolated", isolated)
    write_result(run_dir, joined)
