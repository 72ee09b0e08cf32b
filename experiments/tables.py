"""Tables of numbers whose first line names the columns."""

import csv
import dataclasses
import io
import re
from collections.abc import Sequence

from lstm_jax import InputError
from lstm_jax.data import decimal_sign, find_separator, quantity_of


@dataclasses.dataclass(frozen=True)
class NumberTable:
    """Rows that are looked up by the names of their columns.

    Attributes:
        names: of the columns, in small letters, without spaces around them.
        rows: what stands under each name; None where a row has ended.
        separator: of the cells.
    """

    names: tuple[str, ...]
    rows: tuple[dict[str, str | None], ...]
    separator: str

    def numbers(self, columns: Sequence[str]) -> list[list[float]]:
        """The numbers in some columns, row by row, all with one decimal sign.

        Raises:
            ValueError: a cell is none, or nothing says which sign it is; the message is
                what was found, and in which row.
        """
        texts = {row.get(name) or "" for row in self.rows for name in columns}
        try:
            sign = decimal_sign(texts, self.separator, "the table")
        except InputError:
            raise ValueError("numbers whose decimal sign nothing says") from None
        found = []
        for number, row in enumerate(self.rows, 1):
            words = [row.get(name) for name in columns]
            try:
                found.append([_number(word or "", sign) for word in words])
            except ValueError:
                raise ValueError(f"{words!r:.60} for numbers in row {number}") from None
        return found


def read_numbers(text: str) -> NumberTable:
    """Read a table, its cells apart by a comma, a semicolon, a tab or |.

    Lines end as on any system, and empty ones do not count.

    Raises:
        csv.Error: a column is there twice, a row has more cells than there are columns,
            or it is no table.
    """
    text = text.lstrip("\r\n")
    said = re.match(r"sep=(.)(\r\n|\r|\n)", text, re.IGNORECASE)
    if said:
        text = text[said.end() :]
    separator = said[1] if said else find_separator(text) or ","
    table = csv.DictReader(io.StringIO(text, newline=None), delimiter=separator)
    names = [name.strip().lower() for name in table.fieldnames or []]
    for name in names:
        if name and names.count(name) > 1:
            raise csv.Error(f"the column {name!r:.60} twice")
    table.fieldnames = names
    rows = tuple(table)
    for number, row in enumerate(rows, 1):
        beyond = row.pop(None, [])
        # Decimal commas without quotation marks shift the numbers after them.
        if any(cell.strip() for cell in beyond):
            found, width = len(names) + len(beyond), len(names)
            raise csv.Error(f"{found} cells in row {number}, {width} in the header")
    return NumberTable(tuple(names), rows, separator)


def _number(word: str, sign: str) -> float:
    """A number; NaN and infinity too, where a program has written them."""
    if sign == ".":
        try:
            return float(word)
        except ValueError:
            pass
    quantity = quantity_of(word.strip(), sign)
    if quantity is None:
        raise ValueError(word)
    return quantity.value
