"""Tables as text: comma-separated values and their relatives, record by record.

Python's `csv` takes a lone quotation mark for the beginning of a cell, and lets it have
all lines that follow. Here a cell is in quotation marks only if they also end it, and
every record has as many cells as the first one, or is refused with its line. Where that
leaves a choice, a table with tabs is read line by line, as it was most likely written,
and others by RFC 4180, in which a cell may have several lines.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence

from lstm_jax.errors import InputError

_SEPARATORS = (",", ";", "\t", "|")
_NAMED = re.compile(r'"?sep=(.)"?\n')  # a first line of Excel's


@dataclasses.dataclass(frozen=True)
class Table:
    """The cells of a table.

    Attributes:
        names: of the columns, the first record.
        rows: the records after it, without blank lines.
        lines: in which the names and each row begin, counted from 1.
    """

    names: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> int | None:
        """Which column has a name: the very same, or else the same but for capitals."""
        if name in self.names:
            return self.names.index(name)
        names = [each.casefold() for each in self.names]
        return names.index(name.casefold()) if name.casefold() in names else None


def read_table(text: str, where: str, wanted: Sequence[str], tabs: bool) -> Table:
    """Read a table, its separator being the one that finds the wanted columns.

    Args:
        text: as of `decode_plain`.
        where: what a message calls it.
        wanted: names of columns.
        tabs: whether tabs are tried before commas.

    Raises:
        InputError: a record has more or fewer cells than the first one, or two columns
            have the same wanted name.
    """
    named = _NAMED.match(text)
    first = named[1] if named else "\t" if tabs else ","
    order = sorted(_SEPARATORS, key=lambda separator: separator != first)
    start = named.end() if named else 0
    heads = [_Reader(text, start, each).names() for each in order]
    small = [{name.casefold() for name in head} for head in heads]
    found = [len(head & {name.casefold() for name in wanted}) for head in small]
    if not any(found):  # the one that finds most columns
        found = [len(head) for head in heads]
    separator = first if named else order[found.index(max(found))]
    table = _Reader(text, start, separator).table(where)
    for name in wanted:
        if (count := table.names.count(name)) > 1:
            raise InputError(f"{where}: expected one column {name!r}, found {count}")
    return table


class _Reader:
    """Reads a text record by record."""

    def __init__(self, text: str, start: int, separator: str) -> None:
        self._text, self._start, self._separator = text, start, separator
        # A cell in quotation marks ends with one; those inside it are doubled.
        ends = rf"(?={re.escape(separator)}|\n|\Z)"
        self._quoted = re.compile(rf' *"((?:[^"]|"")*+)" *{ends}')
        self._plain = re.compile(rf"[^{re.escape(separator)}\n]*")

    def names(self) -> tuple[str, ...]:
        """The cells of the first record; none of a text without any."""
        for _, cells in self._records(None, ""):
            return tuple(cell.strip() for cell in cells)
        return ()

    def table(self, where: str) -> Table:
        """All records."""
        names = self.names()
        found = list(self._records(len(names), where))
        lines, rows = [line for line, _ in found], [cells for _, cells in found]
        return Table(names, rows[1:], lines)

    def _records(
        self, width: int | None, where: str
    ) -> Iterator[tuple[int, list[str]]]:
        """The line and the cells of each record."""
        text, place, line = self._text, self._start, 1
        line += text.count("\n", 0, place)
        while place < len(text):
            end = text.find("\n", place)
            end = len(text) if end < 0 else end
            if text[place:end].strip(" \r"):
                cells, end = self._record(place, end, width)
                if width is not None and len(cells) != width:
                    raise InputError(
                        f"{where}: expected {width} cells in line {line}, as in the "
                        f"first, found {len(cells)}"
                    )
                yield line, cells
            line += 1 + text.count("\n", place, end)
            place = end + 1

    def _record(self, place: int, end: int, width: int | None) -> tuple[list[str], int]:
        """The cells of the record at a place whose first line ends there, and its end.

        Of the ways to read it that which gives as many cells as are wanted.
        """
        quoted = self._by_quotes(place)
        fits = width is None or len(quoted[0]) == width
        if fits and not self._stray(place, end, quoted[1], width):
            return quoted
        line = self._as_line(place, end)
        return line if quoted[1] != end or len(line[0]) == width else quoted

    def _stray(self, place: int, end: int, last: int, width: int | None) -> bool:
        """Whether quotation marks that hold lines together are part of the text.

        Where tabs part cells they are, if every line has all the cells by itself.
        """
        if last == end or self._separator != "\t" or width is None:
            return False
        lines = self._text[place:last].split("\n")
        return all(line.count("\t") == width - 1 for line in lines)

    def _as_line(self, place: int, end: int) -> tuple[list[str], int]:
        """The cells of a record that has the whole of a line."""
        cells = self._text[place:end].split(self._separator)
        return [self._unquoted(cell) for cell in cells], end

    def _by_quotes(self, place: int) -> tuple[list[str], int]:
        """The cells of a record some of which may be quoted, and where it ends."""
        text, cells = self._text, []
        while True:
            if found := self._quoted.match(text, place):
                cells.append(found[1].replace('""', '"'))
            else:
                found = self._plain.match(text, place)
                assert found, "it matches nothing too"
                cells.append(found[0])
            place = found.end()
            if text[place : place + 1] != self._separator:
                return cells, place
            place += 1

    def _unquoted(self, cell: str) -> str:
        found = self._quoted.fullmatch(cell)
        return found[1].replace('""', '"') if found else cell
