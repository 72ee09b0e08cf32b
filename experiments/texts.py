"""Texts to work on: of a command line, of files or tables, or the standard input."""

import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.cli import keep_inputs
from lstm_jax import InputError
from lstm_jax.data import (
    decode_plain,
    plain_lines,
    read_plain,
    read_table,
    unpacked_name,
)
from lstm_jax.storage import replace_file, writing

STDIN = Path("-")
TEXT = "text"  # the column of texts, unless another is asked for
_TABLES = (".csv", ".tsv")


class Given(NamedTuple):
    """Texts, and whether they came from files or the standard input."""

    texts: list[str]
    from_files: bool


def given_texts(
    words: Sequence[str],
    data: Sequence[Path],
    text_column: str,
    otherwise: str | None = None,
) -> Given:
    """The texts that a command is to work on, in their order; none is left out.

    Args:
        words: texts, names of files, or - for the standard input, which is read too if
            there are neither words nor files.
        data: names of files.
        text_column: of tables, see `columns_of`.
        otherwise: see `decode_plain`.

    Raises:
        InputError: a file is missing or no text, or a word looks like the name of one.
    """
    texts: list[str] = []
    files = 0
    for word in [*words, *data] or [STDIN]:
        if isinstance(word, Path) or _names_a_file(word):
            texts += read_texts(Path(word), text_column, otherwise)
            files += 1
        else:
            texts.append(word)
    return Given(texts, files > 0)


def _names_a_file(word: str) -> bool:
    """Whether a word is meant as the name of a file; a text rarely is one."""
    if word == str(STDIN) or os.path.isfile(word):
        return True
    one = len(word.split()) == 1
    if one and unpacked_name(Path(word)).suffix.lower() in (*_TABLES, ".txt"):
        raise InputError(f"{word}: expected a text or a file, found the name of none")
    if one and os.sep in word and os.path.isdir(word):
        raise InputError(f"{word}: expected a text or a file, found a folder")
    return False


def read_texts(path: Path, text_column: str, otherwise: str | None = None) -> list[str]:
    """The texts of a table, or the lines of another file, as many as there are.

    The standard input is a table if its first line names the column, or if another
    column than usual is asked for.

    Raises:
        InputError: the file is missing or no text, or the table has no such column.
    """
    text = text_of(path, otherwise)
    plain = path == STDIN and text_column == TEXT and not _has_column(text, TEXT)
    if plain or not is_table(path):
        return [line.strip() for line in plain_lines(text)] if text else []
    return [cell for (cell,) in columns_of(path, text, (text_column,))[1]]


def text_of(path: Path, otherwise: str | None = None) -> str:
    """The text of a file, or of the standard input.

    Raises:
        InputError: the file is missing, or no text.
    """
    if path != STDIN:
        return read_plain(path, otherwise)
    if sys.stdin is None:  # closed by the shell
        return ""
    if sys.stdin.isatty():
        print("reading texts, a line each, until Ctrl-D", file=sys.stderr)
    raw = getattr(sys.stdin, "buffer", None)
    whole = sys.stdin.read().encode() if raw is None else raw.read()
    return decode_plain(whole, "standard input", otherwise)


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its ending; the standard input may be one."""
    return path == STDIN or _kind(path) in _TABLES


def columns_of(
    path: Path, text: str, columns: Sequence[str]
) -> tuple[list[int], list[list[str]]]:
    """Some columns of a table.

    Columns that are given by their numbers alone are those of a table without names.

    Args:
        path: of the table, for its ending and for messages.
        text: its text.
        columns: names, or numbers from 1; of texts, and maybe of labels.

    Returns:
        The lines in which the rows begin, and their cells without white space around.

    Raises:
        InputError: there is no such column, or a row has more or fewer cells than the
            first line.
    """
    where = "standard input" if path == STDIN else str(path)
    table = read_table(text, where, columns, tabs=_kind(path) == ".tsv")
    lines, rows = table.lines[1:], table.rows
    places = [table.column(name) for name in columns]
    if rows and all(p is None for p in places) and all(map(str.isdecimal, columns)):
        lines, rows = table.lines, [list(table.names), *rows]
        if len(columns) > 1:
            _refuse_names(rows, int(columns[-1]) - 1, where)
    places = [
        int(name) - 1 if place is None and name.isdecimal() else place
        for name, place in zip(columns, places, strict=True)
    ]
    known = [p for p in places if p is not None and 0 <= p < len(table.names)]
    if len(known) < len(columns):
        some = f"column{'s' * (len(columns) > 1)} {' and '.join(map(repr, columns))}"
        flags = ("--text-column", "--label-column")[: len(columns)]
        raise InputError(
            f"{where}: expected {some}, found {list(table.names)}; "
            f"{' and '.join(flags)} may be others, or numbers if the first line has "
            "no names"
        )
    return lines, [[row[place].strip() for place in known] for row in rows]


def write_rows(
    out: Path | None, names: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Write a table, with tabs if its name says so, with commas else.

    Args:
        out: where to; None for the standard output.
        names: of the columns.
        rows: the cells.

    Raises:
        InputError: it could not be written.
    """
    text = io.StringIO()
    tabs = out is not None and out.suffix.lower() == ".tsv"
    writer = csv.writer(text, delimiter="\t" if tabs else ",", lineterminator="\n")
    writer.writerows([names, *rows])
    write_text(out, text.getvalue())


def write_text(out: Path | None, text: str) -> None:
    """Write a text into a file, whole or not at all, or to the standard output.

    A pipe or a device, /dev/stdout for one, is written to and not replaced.

    Raises:
        InputError: it could not be written.
    """
    raw = text.encode(errors="backslashreplace")
    if out is None or out == STDIN:
        sys.stdout.write(text)
    elif out.exists() and not out.is_file():
        with writing(out), open(out, "wb") as file:
            file.write(raw)
    else:
        replace_file(out, raw)


def check_out(out: Path | None, read: Iterable[str | Path] = ()) -> None:
    """Refuse a place for a file that is none, before anything is computed.

    Args:
        out: the file.
        read: names of files that must stay, and words that may be none.

    Raises:
        InputError: naming `--out`.
    """
    if out is None or out == STDIN:
        return
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(f"--out: expected a file in a folder that exists, found {out}")
    keep_inputs(out, read)


def _has_column(text: str, name: str) -> bool:
    """Whether a text is a table with this column and others."""
    head = text.split("\n", 1)[0]
    names = read_table(head, "", (name,), tabs=False).names
    return len(names) > 1 and name.casefold() in map(str.casefold, names)


def _refuse_names(rows: Sequence[Sequence[str]], place: int, where: str) -> None:
    """Refuse a first line whose label has no second text: it names the columns."""
    labels = [row[place].strip() for row in rows if place < len(row)]
    if labels and labels.count(labels[0]) == 1:
        raise InputError(
            f"{where}: expected a first line with a label that comes again, found "
            f"{labels[0]!r}; the columns of a table with names are given by them"
        )


def _kind(path: Path) -> str:
    """The last suffix before `.gz`, in lower case."""
    return unpacked_name(path).suffix.lower()
