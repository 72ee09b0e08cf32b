"""Tables of text as spreadsheets and programs write them: bytes to rows of cells.

Python's csv module reads the cells; what it has to be told, the encoding and the
separator, is found here. A reader that also guesses types (pandas, polars) drops blank
lines, pads short rows and forgets on which line a cell stood, so that it can't say what
is wrong, or that something is.
"""

import collections
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lstm_jax.data.plain_text import decode_plain
from lstm_jax.data.table_numbers import is_missing, is_number
from lstm_jax.data.text import bytes_of
from lstm_jax.errors import InputError

SEPARATORS = ("\t", ";", "|", ",")  # where all fit, the first: the comma has other uses
_NO_SEPARATOR = "\x1f"
_SAMPLE = 200  # rows that decide which separator it is
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # of Excel, today's and former


class Row(NamedTuple):
    """A row of a table: the line it begins on, from 1, and its cells, stripped."""

    line: int
    cells: list[str]

    @property
    def blank(self) -> bool:
        """Whether there is nothing in it."""
        return not any(self.cells)


class Table(NamedTuple):
    """The rows of a file, blank ones too, and what separates cells; "" if nothing."""

    rows: list[Row]
    separator: str


def read_table(path: Path, decimal: str = "auto") -> Table:
    """Read a table of text, `.gz` and `.xz` unpacked.

    UTF-8, UTF-16, UTF-32 or else Windows-1252; cells apart by comma, semicolon, tab or
    bar, whichever makes rows of one length and cells that look like numbers. A first
    line `sep=;`, as Excel knows it, says which.

    Args:
        path: the file.
        decimal: "," if numbers are known to have a decimal comma.

    Raises:
        InputError: it can't be read, or is no table.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a CSV file, found none")
    text = decode_table(b"".join(bytes_of(path)), path)
    skipped = 0
    if said := re.match(r"sep=(.)(\r\n|\r|\n)", text, re.IGNORECASE):
        skipped, text = 1, text[said.end() :]
    try:
        separator = said[1] if said else find_separator(text, decimal)
        rows = [
            Row(row.line + skipped, row.cells)
            for row in _rows(text, separator or _NO_SEPARATOR)
        ]
    except csv.Error as error:
        raise InputError(f"{path}: expected a CSV file, found: {error}") from None
    if all(row.blank for row in rows):
        raise InputError(f"{path}: expected a CSV file, found nothing in it")
    if not separator:
        _refuse_spaces(rows, path)
    return Table(rows, separator)


def decode_table(raw: bytes, source: object) -> str:
    """The text of a table, whatever its encoding.

    Raises:
        InputError: it is none.
    """
    if raw.startswith(_WORKBOOKS):
        raise InputError(
            f"{source}: expected a CSV file, found a spreadsheet; save it as CSV"
        )
    try:
        text = decode_plain(raw, str(source), "cp1252")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: expected a CSV file, found: {error}") from None
    if found := re.search(r"[\0-\x08\x0e-\x1f]", text):
        raise InputError(
            f"{source}: expected a CSV file, found other data, {found[0]!r}"
        )
    return text


def find_separator(text: str, decimal: str = "auto") -> str:
    """What separates the cells of a table; "" if it has one column.

    The separator with which most rows have the same number of cells, and most cells
    below the first row and after the first column look like numbers.
    """
    # With a decimal comma a comma more likely belongs to a number.
    last = ("", ",") if decimal == "," else (",", "")
    found = [each for each in SEPARATORS[:-1] if each in text]
    return max([*found, *last], key=lambda each: _fits(text, each))


def _fits(text: str, separator: str) -> float:
    rows: list[list[str]] = []
    if not separator and _named_by_commas(text):
        return -1.0
    try:
        for row in _rows(text, separator or _NO_SEPARATOR):
            if not row.blank:
                rows.append(row.cells)
            if len(rows) == _SAMPLE:
                break
    except csv.Error:
        return -1.0
    if not rows:
        return 0.0
    widths = collections.Counter(map(len, rows))
    width = max(widths)
    if separator and width < 2:
        return -1.0
    after = 0 if width < 2 else 1
    cells = [c for row in rows[1:] or rows for c in row[after:] if c]
    alike = sum(is_missing(cell) or is_number(cell) for cell in cells)
    return max(widths.values()) / len(rows) + alike / max(1, len(cells))


def _named_by_commas(text: str) -> bool:
    """Whether there are commas in a first line of words: they are no decimal signs."""
    first = text.lstrip("\r\n").split("\n", 1)[0].strip()
    return "," in first and not is_number(first)


def _rows(text: str, separator: str) -> Iterator[Row]:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    line = 1
    for cells in reader:
        yield Row(line, [cell.strip() for cell in cells])
        line = reader.line_num + 1


def refuse_pairs(rows: list[Row], path: Path) -> None:
    """Refuse a table of lines like 1,5: two numbers, or one with a decimal comma.

    Raises:
        InputError: it is one.
    """
    filled = [row for row in rows if not row.blank]
    pairs = all(
        len(row.cells) == 2 and all(cell.isdecimal() for cell in row.cells)
        for row in filled
    )
    if pairs and len(filled) > 1:
        raise InputError(
            f"--decimal: expected . or , because {path} does not say whether "
            f"{','.join(filled[0].cells)} is one number or two"
        )


def _refuse_spaces(rows: list[Row], path: Path) -> None:
    """Refuse columns that are apart by spaces; one may be a thousands separator."""
    counts = {len(row.cells[0].split()) for row in rows if not row.blank}
    if len(rows) > 1 and len(counts) == 1 and counts.pop() > 1:
        found = next(row for row in rows if not row.blank)
        raise InputError(
            f"{path}: line {found.line}: expected cells apart by comma, semicolon, tab "
            f"or |, found {found.cells[0]!r:.60}"
        )
