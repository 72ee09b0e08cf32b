"""The table of applications in experiments/README.md, made from what runs have left.

Command   python -m experiments RUN_DIR...    take in the results of these runs
          python -m experiments               write the table anew

`result.json` of every run is kept in experiments/results/, a folder per task, and the
table says what is there: no number in it is typed by hand. Only results of the
benchmarks' own data, whole and by protocol, are taken in; see `known_data.py`.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

import lstm_jax
from experiments.known_data import refusal
from experiments.results import Result, read_result, write_result
from lstm_jax.cli import parse, run_command
from lstm_jax.usage import commands_in, listed

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- table: python -m experiments -->", "<!-- end of the table -->"
_ABOUT = "Take in the results of runs, and write the table of all applications anew."
COLUMNS = (
    *("task", "data, licence", "protocol", "our number", "floor"),
    *("published LSTM", "best known", "minutes", "command"),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Take in the results of runs, and write the table of all applications anew.

    Args:
        run_dirs: the folders of finished runs; a run takes the place of an earlier one
            of the same task.
    """

    run_dirs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN_DIR")
    ] = ()


def take_in(run_dirs: Sequence[Path], results: Path) -> None:
    """Copy the results of runs to folders that are named after their tasks.

    Raises:
        InputError: a run has left none, or one of other data or by another protocol
            than the table is about. Nothing has been changed then.
    """
    found = [read_result(path) for path in run_dirs]
    for path, result in zip(run_dirs, found, strict=True):
        if problem := refusal(result):
            raise lstm_jax.InputError(f"{path}: {problem}")
    for result in found:
        name = re.sub(r"\W+", "-", result.task.lower()).strip("-")
        write_result(results / name, result)


def table(results: Sequence[Result]) -> str:
    """The results as a table in Markdown, a row each."""
    rows = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    return "\n".join([*rows, *(_row(_cells(result)) for result in results)])


def _cells(result: Result) -> list[str]:
    return [
        result.task,
        f"{result.data}, {result.licence}",
        result.protocol,
        f"{result.metric}: **{result.ours}**",
        result.floor,
        result.published,
        result.best_known,
        f"{result.minutes:.1f}",
        f"`{result.command}`",
    ]


def _row(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(escaped)} |"


def rewritten(text: str, folder: Path) -> str:
    """The text with the table of a folder's results between its two marks."""
    kept = sorted(path.parent for path in folder.glob("*/result.json"))
    new = table([read_result(path) for path in kept])
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.partition(END)[2]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    names = commands_in(FOLDER)
    about = f"{_ABOUT}\n\nThe applications, python -m experiments.NAME:\n\n"
    about += listed(names)
    options = parse(Options, "__main__", about, arguments, package="experiments")
    take_in(options.run_dirs, FOLDER / "results")
    path = FOLDER / "README.md"
    path.write_text(rewritten(path.read_text("utf-8"), FOLDER / "results"), "utf-8")
    print(f"written: {path}")


if __name__ == "__main__":
    run_command(main)
