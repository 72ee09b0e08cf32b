"""What the rows and columns of a table of series are: names, dates or points.

Nothing but the cells can say it, so evidence is weighed: dates and numbered steps are
time, words like "date" and "store" say what stands below them. Where there is none, or
two kinds that exclude each other, the table is refused and a flag asked for.
"""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from lstm_jax.data.date_notations import looks_like_date
from lstm_jax.data.series_cells import (
    are_dates,
    are_digit_dates,
    are_numbered,
    are_words,
    counts_up,
    decimals_of,
    is_far,
    rises,
    shape_of,
    steps_evenly,
)
from lstm_jax.data.table_numbers import (
    is_missing,
    is_number,
)
from lstm_jax.data.table_rows import Row
from lstm_jax.errors import InputError

Layout = Literal["auto", "rows", "columns"]
Header = Literal["auto", "yes", "no"]
TIME_WORDS = frozenset(
    (
        *("date", "dates", "time", "times", "datetime", "timestamp", "ds", "when"),
        *("day", "week", "month", "quarter", "year", "hour", "minute", "second"),
        *("period", "step", "date/time", "date time", "utc", "local time", "epoch"),
        *("datum", "zeit", "zeitstempel", "tag", "woche", "monat", "quartal", "jahr"),
        *("stunde", "uhrzeit", "fecha", "hora", "mes", "año", "semana", "jour", "mois"),
        *("année", "heure", "semaine", "data", "ora", "mese", "anno", "giorno", "dia"),
    )
)
NAME_WORDS = frozenset(
    (
        *("name", "names", "series", "id", "item", "store", "shop", "sensor"),
        *("product", "station", "region", "country", "city", "unique_id"),
        *("series_id", "item_id", "store_id", "sku", "customer", "site", "meter"),
        *("machine", "variable", "code", "country name", "country code"),
        *("indicator name", "page", "ticker", "symbol"),
        *("filiale", "artikel", "land", "stadt", "kunde", "tienda", "país", "pays"),
    )
)
_INDEX_WORDS = frozenset(
    ("", "index", "idx", "#", "no", "no.", "nr", "row", "n", "t", "unnamed: 0")
)
_TIME_STEMS = frozenset(
    (
        *("d", "day", "w", "wk", "week", "m", "month", "q", "quarter", "y", "year"),
        *("h", "hour", "hr", "min", "minute", "t", "time", "step", "p", "period", "kw"),
    )
)


class Grid(NamedTuple):
    """A table taken apart.

    Attributes:
        header: its first row, if that names the columns.
        body: the rows below, blank ones too.
        labels: the column of names or dates; None if there is none.
        index: whether these are numbers in even steps.
        more: the columns of words right after the labels, parts of a name if series are
            rows.
        separator: of the cells.
    """

    header: Row | None
    body: list[Row]
    labels: int | None
    index: bool
    more: tuple[int, ...]
    separator: str

    @property
    def head(self) -> str:
        """What stands above the labels, in small letters."""
        if self.header is None or self.labels is None:
            return ""
        return self.header.cells[self.labels].casefold()

    def label(self, row: Row) -> str:
        """The label of a row."""
        at = self.labels
        return "" if at is None or at >= len(row.cells) else row.cells[at]

    def names(self, row: Row) -> list[str]:
        """The label of a row, and the other words after it that are not empty."""
        more = [row.cells[k] for k in self.more if k < len(row.cells)]
        return [self.label(row), *filter(None, more)]

    def names_above(self, *, rows: bool) -> list[tuple[int, str]]:
        """The columns of points: which, and what stands above.

        Args:
            rows: whether series are rows.
        """
        cells = self.header.cells if self.header else [""] * self.width
        left_out = {self.labels, *(self.more if rows else ())}
        return [(k, cell) for k, cell in enumerate(cells) if k not in left_out]

    @property
    def width(self) -> int:
        """Cells of the longest row."""
        rows = [*self.body, *([self.header] if self.header else [])]
        return max(len(row.cells) for row in rows)


def take_apart(
    rows: Sequence[Row],
    separator: str,
    source: object,
    *,
    header: Header = "auto",
    dates: str | None = None,
    layout: Layout = "auto",
) -> Grid:
    """Tell the header and the labels of a table from its points.

    Args:
        rows: of the table; not all are blank.
        separator: of their cells.
        source: of the table, for messages.
        header: whether its first row is one.
        dates: the name of the column of dates, if that is known.
        layout: whether series are rows or columns, if that is known.

    Raises:
        InputError: it can't be told, there is nothing but a header, or two columns may
            be the dates.
    """
    width = max(_used(row.cells) for row in rows)
    rows = [Row(row.line, row.cells[:width]) for row in rows]
    filled = [k for k, row in enumerate(rows) if not row.blank]
    rows = rows[filled[0] : filled[-1] + 1]
    first, *rest = rows
    named = _has_header(first, [row for row in rest if not row.blank], header, source)
    if not named:
        rest = rows
    while rest and rest[0].blank:  # between the header and the points
        rest = rest[1:]
    if not rest:
        raise InputError(
            f"{source}: line {first.line}: expected points below the header, found none"
        )
    head = first if named else None
    if head:
        _refuse_wide(head, rest, separator, source)
    labels, index = _find_labels(head, rest, source, dates, layout)
    more = () if labels != 0 or index else _more_words(rest, 1)
    return Grid(head, rest, labels, index, more, separator)


def choose_layout(grid: Grid, layout: Layout, source: object) -> Layout:
    """Whether series are the rows or the columns of a table.

    Raises:
        InputError: it can't be told.
    """
    words = len(grid.more) + (grid.labels is not None)
    across, down = grid.width - words, len(grid.body)
    if layout != "auto":
        return layout
    if across <= 1:
        return "columns"
    above = [name for _, name in grid.names_above(rows=True)] if grid.header else []
    if grid.labels is not None:
        found = _by_labels(grid, above, across > down)
    elif above:
        found = _by_header(above, across > down)
    else:  # time is the longer side
        found = "rows" if across > down else "columns" if across < down else None
    if found is None and down == 1:
        return "rows"
    if found is None:
        raise InputError(
            f"--layout: expected rows or columns, because {source} does not say which "
            f"of its {down} rows and {across} columns are series"
        )
    return found


def refuse_pairs(rows: Sequence[Row], source: object) -> None:
    """Refuse a table of lines like 1,5: two numbers, or one with a decimal comma.

    Raises:
        InputError: it is one.
    """
    filled = [row for row in rows if not row.blank]
    pairs = all(
        len(row.cells) == 2 and all(cell.isdecimal() for cell in row.cells)
        for row in filled
    )
    if pairs and len(filled) > 1 and not are_digit_dates([r.cells[0] for r in filled]):
        raise InputError(
            f"--decimal: expected . or , because {source} does not say whether "
            f"{','.join(filled[0].cells)} is one number or two"
        )


def _by_header(above: Sequence[str], wide: bool) -> Layout | None:
    """The layout of a table without labels, but with names above."""
    if not wide:
        return "columns"
    return None if are_numbered(above) or are_numbered(above[1:]) else "columns"


def _by_labels(grid: Grid, above: Sequence[str], wide: bool) -> Layout | None:
    """The layout of a table with labels, if those and the header say it."""
    labels = [grid.label(row) for row in grid.body if not row.blank]
    named, timed = grid.head in NAME_WORDS, grid.head in TIME_WORDS
    numbered, dated = are_numbered(above), are_dates(above)
    bare = wide and not above
    if grid.index:
        timed = timed or grid.head in _INDEX_WORDS - {""}
        return _by_index(labels, named, timed, numbered, dated, bare)
    if bare and all(label.isdecimal() for label in labels):
        return None  # years, or names of series
    down = are_dates(labels)
    if down and not timed and are_numbered(above, _TIME_STEMS):
        return None
    stems = not named and are_numbered(labels, _TIME_STEMS)
    if dated:
        if named or not (down or timed or stems):
            return "rows"
        return "columns" if timed or stems else None  # years may be names
    if named and down:
        return None if numbered else "columns"
    if down or timed:
        return "columns"
    if stems and not numbered:
        return "columns"
    if stems or not (named or numbered):
        return "rows" if wide and (numbered or not above) else None
    return "rows"


def _by_index(
    labels: Sequence[str],
    named: bool,
    timed: bool,
    numbered: bool,
    dated: bool,
    bare: bool,
) -> Layout | None:
    """The layout of a table whose labels are numbers in even steps: times, or names."""
    counted = counts_up(labels)
    if timed:
        return "columns"
    if dated:
        return "rows" if named or not counted else None
    return None if (numbered or bare) and (named or not counted) else "columns"


def _used(cells: Sequence[str]) -> int:
    """How many cells a row has without the empty ones at its end."""
    return max((k + 1 for k, cell in enumerate(cells) if cell), default=0)


def _width(rows: Sequence[Row]) -> int:
    return max((len(row.cells) for row in rows), default=0)


def _refuse_wide(
    head: Row, rest: Sequence[Row], separator: str, source: object
) -> None:
    """Refuse rows with more cells than the header: something is shifted."""
    width = _used(head.cells)
    for row in rest:
        if _used(row.cells) > width:
            found = next(cell for cell in row.cells[width:] if cell)
            hint = ""
            if separator == ",":
                hint = "; numbers with commas need quotation marks around them"
            raise InputError(
                f"{source}: line {row.line}: expected {width} cells as in the header, "
                f"found {len(row.cells)}, {found!r:.40} beyond it{hint}"
            )


def _has_header(
    first: Row, rest: Sequence[Row], header: Header, source: object
) -> bool:
    if header != "auto":
        return header == "yes"
    several = max(len(first.cells), _width(rest)) > 1
    cells = first.cells[1:] if several else first.cells
    if not all(is_missing(cell) or is_number(cell) for cell in cells):
        return True
    if not rest:
        return False
    labels = [row.cells[0] for row in rest if row.cells] if several else []
    words = [label for label in labels if label and not is_number(label)]
    corner = first.cells[0]
    if len(words) > len(labels) / 2:
        if corner.casefold() in TIME_WORDS | NAME_WORDS | {""}:
            return True
        if are_dates(words):
            return not looks_like_date(corner)
        alike = shape_of(corner) in {shape_of(word) for word in words}
        if alike and re.search(r"\d", corner):
            return False
        if len(cells[0]) > 4 and are_digit_dates(cells):
            return True
        if not (steps_evenly(cells) or (not alike and _all_far(cells, rest, 1))):
            return False
    elif several and corner == "":
        if rises(labels):
            return True
    elif several and not is_number(corner):
        return True
    elif not _looks_numbered(first.cells, rest):
        return False
    raise InputError(
        f"--header: expected yes or no, because {source} does not say whether its "
        f"first row, {','.join(first.cells)!r:.60}, has names or numbers in it"
    )


def _looks_numbered(cells: Sequence[str], rest: Sequence[Row]) -> bool:
    """Whether numbers in a first row may be names: years, 1 to n, or far from all."""
    if steps_evenly(cells) and (len(cells) > 2 or cells[0] in ("0", "1")):
        if not all(steps_evenly(row.cells) for row in rest):
            return True
    if len(rest) > 2 and all(cell.isdecimal() for cell in cells):
        decimals = {decimals_of(cell) for row in rest for cell in row.cells if cell}
        if len(decimals) == 1 and decimals != {0}:
            return True
    return _all_far(cells, rest, 0)


def _all_far(cells: Sequence[str], rest: Sequence[Row], first: int) -> bool:
    """Whether all are whole numbers of another size than those in their columns."""
    return all(
        cell.isdecimal() and is_far(cell, [_cell(row, first + k) for row in rest])
        for k, cell in enumerate(cells)
    )


def _find_labels(
    head: Row | None,
    rest: Sequence[Row],
    source: object,
    dates: str | None,
    layout: Layout,
) -> tuple[int | None, bool]:
    """Which column has names or dates instead of points, and if they are an index."""
    width = max(_width(rest), len(head.cells) if head else 0)
    columns = [[_cell(row, k) for row in rest if not row.blank] for k in range(width)]
    if dates is not None:
        names = head.cells if head else []
        if dates not in names:
            raise InputError(f"--dates: expected one of {names}, found {dates}")
        return names.index(dates), False
    if width < 2:
        return None, False
    words = [k for k in range(width) if are_words(columns[k])]
    if 0 not in words:
        found = _numeric_labels(head.cells if head else [], columns, layout)
        if found is not None:
            return 0, found
    dated = [k for k in words if are_dates(columns[k])]
    if len(dated) > 1:
        names = [head.cells[k] if head else str(k + 1) for k in dated]
        raise InputError(
            f"--dates: expected the name of a column, because {source} has dates in "
            f"{' and '.join(names)}"
        )
    if dated:
        return dated[0], False
    return (0, False) if 0 in words else (None, False)


def _numeric_labels(
    head: Sequence[str], columns: Sequence[Sequence[str]], layout: Layout
) -> bool | None:
    """Whether numbers in a first column are no points: True, an index; False, labels.

    A column that only counts is missed less than time would be.
    """
    first = columns[0]
    if not head:
        others = all(steps_evenly(column) for column in columns[1:])
        if are_digit_dates(first):
            return False
        return True if len(first) > 2 and steps_evenly(first) and not others else None
    above, across = head[0].casefold(), head[1:]
    if above in TIME_WORDS and are_dates(first):
        return False
    if above in NAME_WORDS and counts_up(first) and not are_dates(across):
        return True
    names = all(cell.isalnum() for cell in first) and len({*first}) == len(first)
    unknown = above not in TIME_WORDS | _INDEX_WORDS and not is_number(above)
    if layout != "columns" and names and unknown:
        if are_dates(across) or (above in NAME_WORDS and are_numbered(across)):
            return False
    if above not in NAME_WORDS and are_digit_dates(first):
        return False
    steps = above == "" or (above in TIME_WORDS | _INDEX_WORDS and rises(first))
    return True if steps else None


def _more_words(rest: Sequence[Row], first: int) -> tuple[int, ...]:
    """The columns of words from this one on, up to the first of numbers or dates."""
    found = []
    for k in range(first, _width(rest)):
        cells = [_cell(row, k) for row in rest if not row.blank]
        if not are_words(cells) or are_dates(cells):
            break
        found.append(k)
    return tuple(found)


def _cell(row: Row, k: int) -> str:
    return row.cells[k] if k < len(row.cells) else ""
