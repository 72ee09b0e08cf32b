"""What is a number in a table, and what says that there is none.

    1234.5   1,234.5   1 234,5   1.234,5   1'234.5   12,34,567.8   -5   (5)   5 %   $5

The decimal sign is one for a whole table: `1,5` alone says which, `1,234` doesn't.
"""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from lstm_jax.errors import InputError

DecimalSign = Literal["auto", ".", ","]
LARGEST = 1e150  # whose square is still a number
_MISSING = frozenset(
    (
        *("", "na", "n/a", "n.a.", "n.a", "n/a.", "#n/a", "#na", "#n/a n/a", "<na>"),
        *("nan", "-nan", "+nan", "#nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
        *("null", "(null)", "nil", "none", r"\n", "nat", "missing", "unknown", "void"),
        *("-", "--", "---", "–", "—", "−", ".", "..", "...", "…", "?", "??", "*", ":"),
        *("#value!", "#ref!", "#div/0!", "#num!", "#name?", "#null!"),
        *("n.d.", "nd", "k.a.", "k. a.", "s/d", "blank", "empty"),
    )
)
_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_SPACES = r"[ \u00a0\u2007\u2009\u202f'’]"  # between groups of three digits
_ORDINARY = frozenset("0123456789.+-eE")


class Quantity(NamedTuple):
    """A number and the sign of its unit, "" if there is none: 5 % is (5.0, "%")."""

    value: float
    unit: str


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no number: empty, NA, n/a, null, - and more."""
    return not cell or (not cell[-1].isdecimal() and cell.casefold() in _MISSING)


def quantity_of(cell: str, decimal: str = ".") -> Quantity | None:
    """The number that a cell holds; None if it holds none.

    Args:
        cell: what is written there.
        decimal: the decimal sign, "." or ",".
    """
    if decimal == "." and _PLAIN.fullmatch(cell):
        return _bounded(float(cell), "")
    text = cell.strip().replace("\u2212", "-")
    negative = text[:1] == "(" and text[-1:] == ")"  # as accountants write it
    found = _pattern(decimal).fullmatch(text[1:-1].strip() if negative else text)
    if not found or (found["before"] and found["after"]):
        return None
    signs = found["sign"] + found["inner"]
    if len(signs) > 1 or (negative and signs):
        return None
    whole = re.sub(r"[^\d]", "", found["whole"] or "")
    number = f"{whole}.{found['part'] or found['only'] or ''}{found['power'] or ''}"
    value = float(number) * (-1 if negative or signs == "-" else 1)
    return _bounded(value, found["before"] or found["after"])


def plain_numbers(cells: Sequence[str]) -> list[float] | None:
    """The numbers in cells, where all are as programs write them; None elsewhere."""
    if not _ORDINARY.issuperset("".join(cells)):
        return None
    try:
        found = [float(cell) for cell in cells]
    except ValueError:
        return None
    return found if all(abs(value) <= LARGEST for value in found) else None


def is_number(cell: str) -> bool:
    """Whether a cell holds a number under either decimal sign."""
    if _PLAIN.fullmatch(cell):  # most are, and it is quick
        return abs(float(cell)) <= LARGEST
    return any(quantity_of(cell, decimal) for decimal in ".,")


def decimal_sign(cells: Iterable[str], separator: str, source: object) -> str:
    """The one decimal sign that makes numbers of the cells of a table.

    Where both do and it matters, it is the point if a comma separates the cells, or if
    there is nothing but points.

    Args:
        cells: those that should hold numbers; others among them are passed over.
        separator: of the table; "" if there is none.
        source: of the table, for the message.

    Raises:
        InputError: both do, and nothing says which is meant.
    """
    # Most tables have nothing that needs a second look.
    doubtful = {cell for cell in cells if "," in cell or "." in cell}
    if separator in ("", ",") and not any(
        "," in cell or cell.count(".") > 1 for cell in doubtful
    ):
        return "."
    read = {cell: (quantity_of(cell, "."), quantity_of(cell, ",")) for cell in doubtful}
    point = {cell for cell, (one, other) in read.items() if one and not other}
    comma = {cell for cell, (one, other) in read.items() if other and not one}
    if point or comma:
        return "." if len(point) >= len(comma) else ","
    for cell in sorted(doubtful):
        one, other = read[cell]
        if one and other and one.value != other.value:
            raise InputError(
                f"--decimal: expected . or , because {source} does not say whether "
                f"{cell} is {one.value:.10g} or {other.value:.10g}"
            )
    return "."


@functools.cache
def _pattern(decimal: str) -> re.Pattern[str]:
    point = re.escape(decimal)
    comma = re.escape("," if decimal == "." else ".")
    groups = rf"[1-9]\d{{0,2}}(?P<g>{comma}|{_SPACES})\d{{3}}(?:(?P=g)\d{{3}})*"
    lakhs = rf"[1-9]\d?(?:{comma}\d{{2}})+{comma}\d{{3}}"  # as in India
    return re.compile(
        r"(?P<sign>[-+]?)\s?(?P<before>[$€£¥₹]?)\s?(?P<inner>[-+]?)"
        rf"(?:(?P<whole>{groups}|{lakhs}|\d+)(?:{point}(?P<part>\d*))?"
        rf"|{point}(?P<only>\d+))(?P<power>[eE][-+]?\d+)?\s?(?P<after>[%‰$€£¥₹]?)"
    )


def _bounded(value: float, unit: str) -> Quantity | None:
    return Quantity(value, unit) if math.fabs(value) <= LARGEST else None
