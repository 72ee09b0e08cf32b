"""Points from the lines of a table, one by one as they come.

What a line looks like, its separator, its decimal sign and how it writes dates, follows
from the first lines that say it, for nobody can wait for the last one; where they do
not, a flag is asked for.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from lstm_jax import InputError
from lstm_jax.config import Configuration
from lstm_jax.data import (
    DateNotation,
    DecimalSign,
    is_missing,
    notations_of,
    quantity_of,
)

StreamFill = Literal["none", "previous", "zero"]


class Point(NamedTuple):
    """A line of a table: the time as it was written, in seconds, and the value."""

    time: str
    seconds: float
    value: float


@dataclasses.dataclass(frozen=True)
class LineSpec(Configuration):
    """How lines are read, where they do not say it."""

    fill: StreamFill = "none"
    """What stands for missing values: the value before, or zero. Default: they are
    refused."""
    decimal: DecimalSign = "auto"
    """The decimal sign, . or , where the first values do not say which."""
    date_format: str | None = None
    """How dates are written, where they do not say it: %d/%m/%Y or %m/%d/%Y."""


def points_of(
    lines: Iterable[bytes], name: str, spec: LineSpec | None = None
) -> Iterator[Point]:
    """Read a time and a value from each line, as they come.

    They are apart by a comma, or by the tab, semicolon or | that is in the first line.
    A first line of neither a time nor a value is a heading; empty lines are none.

    Args:
        lines: of the table.
        name: of the file, for the message.
        spec: how they are read.

    Raises:
        InputError: naming the line.
    """
    reader = _Reader(spec or LineSpec())
    for number, raw in enumerate(lines, 1):
        line = raw.decode("utf-8-sig", "replace").strip()
        if line:
            point = reader.read(line, f"{name}: line {number}")
            if point:
                yield point


class _Reader:
    """What the lines up to now have said about those to come."""

    def __init__(self, spec: LineSpec) -> None:
        self._spec = spec
        self._separator = ""
        self._decimal = "" if spec.decimal == "auto" else spec.decimal
        self._dates: list[DateNotation] = []  # that fit all dates up to now
        self._unit: str | None = None
        self._last: float | None = None

    def read(self, line: str, place: str) -> Point | None:
        """The point of a line; None if it is a heading."""
        first = not self._separator
        if first:
            found = [each for each in "\t;|" if each in line]
            self._separator = found[0] if found else ","
            if not found and not self._decimal:
                self._decimal = "."  # a comma would separate
        time, *values = self._cells(line, place)
        try:
            seconds = self._seconds(time)
        except ValueError as error:
            if first and not any(
                quantity_of(value, sign) for value in values for sign in ".,"
            ):
                return None
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{place}: expected a time like 2014-04-01 00:05:00, found {time!r:.60}"
            ) from None
        self._last = self._value(self._only(values, place), place)
        return Point(time, seconds, self._last)

    def _cells(self, line: str, place: str) -> list[str]:
        if '"' not in line:
            return [cell.strip() for cell in line.split(self._separator)]
        try:
            (cells,) = csv.reader([line], delimiter=self._separator, strict=True)
        except csv.Error as error:
            raise InputError(f"{place}: expected cells, found: {error}") from None
        return [cell.strip() for cell in cells]

    def _only(self, values: list[str], place: str) -> str:
        """The cell of the value; several are columns, never one number with commas."""
        if len(values) > 1:
            hint = ""
            if self._separator == ",":
                hint = "; a number with commas needs quotation marks around it"
            raise InputError(
                f"{place}: expected a time and a value, found {len(values) + 1} cells"
                f"{hint}"
            )
        return values[0] if values else ""

    def _seconds(self, time: str) -> float:
        if not self._dates and self._spec.date_format is None:
            try:
                return seconds_of(time)
            except ValueError:
                pass
        known = self._dates or notations_of(time, self._spec.date_format)
        read = {each: moment for each in known if (moment := _moment(each, time))}
        moments = set(read.values())
        if len(moments) > 1:
            raise InputError(
                "--date-format: expected one, like %d/%m/%Y or %m/%d/%Y, because "
                f"{time} can be read as both"
            )
        if not moments:
            raise ValueError(time)
        self._dates = [*read]
        return _stamp(moments.pop())

    def _value(self, text: str, place: str) -> float:
        if is_missing(text):
            return self._filled(text, place)
        found = {sign: quantity_of(text, sign) for sign in self._decimal or ".,"}
        read = {sign: each for sign, each in found.items() if each}
        if len({each.value for each in read.values()}) > 1:
            raise InputError(
                f"--decimal: expected . or , because nothing up to {place} says how "
                f"{text} is meant"
            )
        if not read:
            raise InputError(f"{place}: expected a finite value, found {text!r:.60}")
        if len(read) == 1:
            (self._decimal,) = read
        quantity = next(iter(read.values()))
        if self._unit not in (None, quantity.unit):
            raise InputError(
                f"{place}: expected a value in the unit of those before, found {text!r}"
            )
        self._unit = quantity.unit
        return quantity.value

    def _filled(self, text: str, place: str) -> float:
        value = 0.0 if self._spec.fill == "zero" else self._last
        if self._spec.fill == "none" or value is None:
            raise InputError(
                f"{place}: expected a finite value, found {text!r:.60} "
                "(--fill previous or zero fills gaps)"
            )
        return value


def seconds_of(time: str) -> float:
    """Seconds since 1970, of a time in ISO 8601 that has no zone as if it were UTC."""
    return _stamp(datetime.datetime.fromisoformat(time.strip()))


def _moment(notation: DateNotation, time: str) -> datetime.datetime | None:
    """Read a time in a notation; None if it is in another one."""
    try:
        return notation.parse(time)
    except (ValueError, OverflowError):
        return None


def _stamp(moment: datetime.datetime) -> float:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
