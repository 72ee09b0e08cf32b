"""How people write dates: the notations that a text may be in."""

import calendar
import dataclasses
import datetime
import functools
import re
from collections.abc import Callable
from datetime import timedelta

Moment = datetime.datetime
_DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d.%m.%y"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y", "%d %B %Y", "%d/%b/%Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%a, %d %b %Y"),
    *("%a %d %b %Y", "%a %Y-%m-%d"),
)
_MONTHS = (
    *("%Y-%m", "%Y/%m", "%Y.%m", "%YM%m", "%Ym%m", "%m/%Y", "%m-%Y", "%m.%Y"),
    *("%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%b %y", "%Y %b", "%Y-%b", "%y-%b"),
)
_TIMES = (
    *("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p"),
    *("%H:%M%z", "%H:%M:%S%z", "%H:%M:%S.%f%z", "%H:%M:%S %z", "%H:%M %z"),
    *("%H:%M:%S UTC", "%H:%M UTC", "%H", "%H.%M", "%Hh", "%H:%M:%S,%f"),
)
_SHAPES = {
    **{"Y": r"\d{4}", "y": r"\d\d", "m": r"(?:1[0-2]|0?[1-9])", "f": r"\d{1,6}"},
    **{"d": r"(?:3[01]|[12]\d|0?[1-9])", "H": r"(?:2[0-3]|[01]?\d)", "p": "[ap]m"},
    **{"M": r"[0-5]?\d", "S": r"[0-5]?\d", "I": r"(?:1[0-2]|0?[1-9])"},
    **{"b": r"[^\W\d_]+", "B": r"[^\W\d_]+", "a": r"[^\W\d_]+"},
    "z": r"(?:[-+]\d\d:?\d\d|Z)",
}
_WEEK = re.compile(r"(\d{4})(-? ?W)(\d{1,2})", re.IGNORECASE)
_QUARTER = re.compile(r"(?:(\d{4})([- ]?)[Qq]([1-4])|[Qq]([1-4])([- /]?)(\d{4}))")
_CLOCK = re.compile(r"(.*?\d[,.]?)([T ])(\d{1,2}(?:[:.h].*|))", re.DOTALL)
_NAMES = frozenset(
    name.casefold()
    for names in (calendar.day_name, calendar.day_abbr)
    for name in names
) | frozenset(
    name.casefold()
    for names in (calendar.month_name, calendar.month_abbr)
    for name in names
    if name
)


@dataclasses.dataclass(frozen=True)
class DateNotation:
    """A way to write dates.

    Attributes:
        parse: a moment from its text; ValueError if it is none.
        write: the text of a moment.
    """

    parse: Callable[[str], Moment]
    write: Callable[[Moment], str]


def looks_like_date(text: str) -> bool:
    """Whether a text is a date, or a part of one: a weekday, a month, a week."""
    if text.isdecimal() and len(text) < 9:  # a year, a month or a day of our time
        return "1500" <= text[:4] < "2200" and bool(notations_of(text))
    return (
        text.casefold() in _NAMES
        or bool(_WEEK.fullmatch(text))
        or bool(re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text))
        or bool(notations_of(text))
    )


def notations_of(text: str, date_format: str | None = None) -> list[DateNotation]:
    """All the ways of writing dates in which a text is one.

    Args:
        text: what may be a date.
        date_format: the one way that counts, as `strptime` takes it.
    """
    if date_format:
        found = [_by_format(date_format)]
    elif re.fullmatch(r"\d{9,10}|\d{12,16}|\d{18,19}", text):
        found = [_digits(text)]
    elif not re.search(r"\d", text) or len(text) > 40:
        return []
    else:
        formats = [each for each in _formats(text) if _shape(each).fullmatch(text)]
        found = [_quarters(text), _weeks(text)]
        found += [_by_format(each, text) for each in formats]
    return [each for each in found if is_in(each, text)]


def is_in(notation: DateNotation, text: str) -> bool:
    """Whether a text is a date in this notation."""
    try:
        notation.parse(text)
    except (ValueError, OverflowError):
        return False
    return True


def _by_format(date_format: str, example: str = "") -> DateNotation:
    """A notation of `strptime`; fractions of a second as long as the example's are."""
    fraction = re.search(r":\d\d[.,](\d{1,6})", example)
    digits = len(fraction[1]) if fraction else 6

    def write(moment: Moment) -> str:
        part = f"{moment.microsecond:06}"[:digits]
        return moment.strftime(date_format.replace("%f", part))

    def parse(text: str) -> Moment:
        if len(text) == size:  # ten times as fast
            return Moment.fromisoformat(text)
        return Moment.strptime(text, date_format)

    sizes = {"%Y-%m-%d": 10, "%H:%M": 16, "%H:%M:%S": 19}
    iso = re.fullmatch(r"(%Y-%m-%d)(?:[T ](%H:%M(?::%S)?))?", date_format)
    size = sizes[iso[2] or iso[1]] if iso else -1
    return DateNotation(parse, write)


@functools.cache
def _shape(date_format: str) -> re.Pattern[str]:
    """What texts of a format look like: much quicker to say than `strptime` is."""
    shape = re.escape(date_format).replace("\\ ", " ")
    for directive, pattern in _SHAPES.items():
        shape = shape.replace(f"%{directive}", pattern)
    return re.compile(shape, re.IGNORECASE)


def _formats(text: str) -> list[str]:
    """The formats that a text may have, by whether it has a time of day."""
    if re.fullmatch(r"\d{4}", text):
        return ["%Y"]
    if text.endswith("Z"):  # Zulu: UTC
        return [f"{each[:-2]}Z" for each in _formats(text[:-1] + "+00:00")]
    clock = _CLOCK.fullmatch(text)
    if clock is None or re.fullmatch(r"\d{1,4}", clock[3]):
        plain = [*_DAYS, *_MONTHS]
        if re.fullmatch(r"\d+", text):
            plain = ["%Y%m%d"] if len(text) == 8 else ["%Y%m"] if len(text) == 6 else []
        if clock is None or clock[2] == " ":
            hours = [f"{day}{clock[2]}%H" for day in _DAYS] if clock else []
            return [*plain, *hours]
        return [f"{day}T%H" for day in _DAYS]
    comma = "," if clock[1].endswith(",") else ""
    times = [time for time in _TIMES if _shape(time).fullmatch(clock[3])]
    return [f"{day}{comma}{clock[2]}{time}" for day in _DAYS for time in times]


def _weeks(text: str) -> DateNotation:
    """Weeks of ISO 8601; with a week 0, those of seven days from 1 January."""
    example = _WEEK.fullmatch(text)
    between, from_zero = (example[2], not int(example[3])) if example else ("-W", False)

    def parse(text: str) -> Moment:
        found = _WEEK.fullmatch(text)
        if not found:
            raise ValueError(text)
        year, week = int(found[1]), int(found[3])
        if from_zero:
            return Moment(year, 1, 1) + timedelta(weeks=week)
        return Moment.fromisocalendar(year, week, 1)

    def write(moment: Moment) -> str:
        if from_zero:
            week = (moment.timetuple().tm_yday - 1) // 7
            return f"{moment.year}{between}{week:02}"
        year, week, _ = moment.isocalendar()
        return f"{year}{between}{week:02}"

    return DateNotation(parse, write)


def _quarters(text: str) -> DateNotation:
    found = _QUARTER.fullmatch(text)
    year_first = bool(found and found[1])
    between = ((found[2] if year_first else found[5]) if found else "") or ""

    def parse(text: str) -> Moment:
        found = _QUARTER.fullmatch(text)
        if not found:
            raise ValueError(text)
        quarter = int(found[3] or found[4])
        return Moment(int(found[1] or found[6]), 3 * quarter - 2, 1)

    def write(moment: Moment) -> str:
        year, quarter = f"{moment.year:04}", f"Q{(moment.month + 2) // 3}"
        parts = (year, quarter) if year_first else (quarter, year)
        return between.join(parts)

    return DateNotation(parse, write)


def _digits(text: str) -> DateNotation:
    """A date and a time of nothing but digits, or else seconds since 1970."""
    written = {10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(text))
    if written and text[:2] in ("19", "20"):
        notation = _by_format(written)
        if is_in(notation, text):
            return notation
    return _epoch(10 ** (3 * ((len(text) - 8) // 3)))


def _epoch(units: int) -> DateNotation:
    """Seconds, milliseconds and so on since 1970."""
    start = Moment(1970, 1, 1)

    def parse(text: str) -> Moment:
        return start + timedelta(microseconds=int(text) * 10**6 // units)

    def write(moment: Moment) -> str:
        return str((moment - start) // timedelta(microseconds=1) * units // 10**6)

    return DateNotation(parse, write)
