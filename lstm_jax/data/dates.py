"""How people write dates, and the even steps between them.

A column of dates is written in one way, which is found by trying those that there are;
03/04/2024 alone does not say whether it is in March, a column of such dates usually
does, for in one reading only the dates are evenly apart. A step is so many seconds,
business days or months, whose lengths differ but not the phase of the year.
"""

import calendar
import collections
import dataclasses
import datetime
import functools
import itertools
import re
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np

from lstm_jax.data.table_numbers import quantity_of
from lstm_jax.errors import InputError

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


@dataclasses.dataclass(frozen=True)
class Step:
    """From one point of a series to the next.

    Attributes:
        unit: "second", "business day" or "month".
        count: how many of them.
    """

    unit: str
    count: int

    def __str__(self) -> str:
        """In the largest unit that divides it."""
        sizes = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
        if self.unit == "month":
            sizes = {"month": 1, "quarter": 3, "year": 12}
        if self.unit == "business day":
            sizes = {"business day": 1}
        unit = max(
            (u for u in sizes if not self.count % sizes[u]), key=sizes.__getitem__
        )
        count = self.count // sizes[unit]
        return f"{count} {unit}{'s' if count > 1 else ''}"

    def seasons(self) -> tuple[int, ...]:
        """The periods that such series usually have, the shortest first, in points.

        An hour, a day and a week of seconds, minutes and hours; a week of days; a year
        of what is longer.
        """
        if self.unit == "business day":
            return (5,) if self.count == 1 else (1,)
        if self.unit == "month":
            return (12 // self.count,) if 12 % self.count == 0 else (1,)
        day, week = 86400, 604800
        if self.count >= day:
            year = (7,) if self.count == day else (round(365.25 * day / self.count),)
            return year if year[0] > 0 else (1,)
        long = [day, week] if day // self.count <= 288 else [3600, day]
        if 3600 // self.count > 288:
            long = [60, 3600]
        found = [size // self.count for size in long if not size % self.count]
        return tuple(sorted({n for n in found if n > 1})) or (1,)


@dataclasses.dataclass(frozen=True)
class TimeAxis:
    """The evenly spaced dates of a table.

    Attributes:
        first: the first one.
        step: from one to the next.
        size: how many there are.
        anchor: the day of the month that monthly dates are on, 31 for the last.
        notation: how they are written.
    """

    first: Moment
    step: Step
    size: int
    anchor: int
    notation: DateNotation

    def moment(self, n: int) -> Moment:
        """The n-th date, from 0 on; those after the last too.

        Raises:
            InputError: there is no such date: the calendar ends with the year 9999.
        """
        try:
            return self._moment(n)
        except (OverflowError, ValueError):
            raise InputError(
                f"expected dates up to the year 9999, found {n} steps of {self.step} "
                f"after {self.label(0)}"
            ) from None

    def _moment(self, n: int) -> Moment:
        count = n * self.step.count
        if self.step.unit == "second":
            return self.first + timedelta(seconds=count)
        if self.step.unit == "business day":
            day = np.datetime64(self.first.date())
            days = (np.busday_offset(day, count) - day).astype(int)
            return self.first + timedelta(days=int(days))
        month = self.first.year * 12 + self.first.month - 1 + count
        year, month = month // 12, month % 12 + 1
        day = min(self.anchor, calendar.monthrange(year, month)[1])
        return self.first.replace(year=year, month=month, day=day)

    def label(self, n: int) -> str:
        """The n-th date as the table writes dates."""
        return self.notation.write(self.moment(n))


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
    return [each for each in found if _parses(each, text)]


def read_dates(
    labels: Sequence[str], lines: Sequence[str], date_format: str | None = None
) -> tuple[TimeAxis, list[int]] | None:
    """The dates of a table, and how many steps each is after the first.

    Args:
        labels: what should be dates, the first one first.
        lines: where each stands, for messages.
        date_format: how they are written, as `strptime` takes it.

    Returns:
        None if most of the labels are no dates.

    Raises:
        InputError: naming the line: one is no date, is there twice, comes after a later
            one, or is not a whole number of steps after the one before.
    """
    notations = _common_notations(labels, lines, date_format)
    if not notations:
        return None
    failures, found = [], []
    for notation in notations:
        moments = [notation.parse(label) for label in labels]
        try:
            found.append(_even(moments, labels, lines, notation))
        except InputError as error:
            failures.append(error)
    if not found:
        raise failures[0]
    found = [each for each in found if each[1][-1] + 1 == len(labels)] or found
    if len({(axis.step, axis.first, axis.size) for axis, _ in found}) > 1:
        raise InputError(
            f"--date-format: expected one, like %d/%m/%Y or %m/%d/%Y, because "
            f"{lines[0]}, {labels[0]!r:.40}, and those after it can be read as both"
        )
    return found[0]


def read_index(labels: Sequence[str], lines: Sequence[str]) -> list[int]:
    """How many steps each number of a column that counts is after the first.

    Args:
        labels: the numbers.
        lines: where each stands, for messages.

    Raises:
        InputError: naming the line: one is no number, or not a whole number of steps,
            the most frequent one, after the one before.
    """
    values: list[float] = []
    for label, line in zip(labels, lines, strict=True):
        found = quantity_of(label) or quantity_of(label, ",")
        if found is None or (values and found.value <= values[-1]):
            after = f" above {values[-1]:g}" if values else ""
            raise InputError(f"{line}: expected a number{after}, found {label!r:.40}")
        values.append(found.value)
    if len(values) < 2:
        return [0] * len(values)
    gaps = [f"{gap:.6g}" for gap in np.diff(values)]
    step = float(collections.Counter(gaps).most_common(1)[0][0])
    away = (np.array(values) - values[0]) / step
    # A clock's rounding adds up; what matters is each gap.
    places = np.concatenate([[0], np.cumsum(np.rint(np.diff(away)))]).astype(int)
    wrong = np.flatnonzero(np.abs(np.diff(away) - np.diff(places)) > 0.01)
    if wrong.size or np.any(np.diff(places) < 1):
        k = int(wrong[0]) + 1 if wrong.size else int(np.argmin(np.diff(places))) + 1
        raise InputError(
            f"{lines[k]}: expected a number {step:g} above {labels[k - 1]}, found "
            f"{labels[k]}"
        )
    return places.tolist()


def _common_notations(
    labels: Sequence[str], lines: Sequence[str], date_format: str | None
) -> list[DateNotation]:
    """The notations in which all labels are dates; none if most labels are in none."""
    several = [label for label in labels if label][:9]
    options = [found for each in several if (found := notations_of(each, date_format))]
    if date_format and not options:
        raise InputError(
            f"--date-format: expected that of {lines[0]}, {labels[0]!r:.40}, found "
            f"{date_format}"
        )
    if len(options) <= len(several) / 2:
        return []
    left = options[0]
    for label, line in zip(labels, lines, strict=True):
        kept = [each for each in left if _parses(each, label)]
        if not kept:
            example = several[0] if not date_format else date_format
            raise InputError(
                f"{line}: expected a date like {example!r:.40}, found {label!r:.40}"
            )
        left = kept
    return left


def _even(
    moments: list[Moment],
    labels: Sequence[str],
    lines: Sequence[str],
    notation: DateNotation,
) -> tuple[TimeAxis, list[int]]:
    if len({moment.tzinfo is None for moment in moments}) > 1:
        raise InputError(f"{lines[0]}: expected a time zone with all dates or none")
    for k in range(1, len(moments)):
        if moments[k] <= moments[k - 1]:
            again = moments[k] == moments[k - 1]
            raise InputError(
                f"{lines[k]}: expected a date after {labels[k - 1]}, found "
                f"{labels[k]}{' again' if again else ''}"
            )
    zone = moments[-1].tzinfo
    wall = [moment.replace(tzinfo=None) for moment in moments]
    # Days are even by the clock on the wall, hours are by the sun.
    both = [wall, moments] if _anchor_time(moments) else [moments, wall]
    tried = [(shown, *_steps(shown)) for shown in (both if zone else both[:1])]
    fits = [each for each in tried if each[3] is None]
    fits.sort(key=lambda each: each[2][-1] >= len(moments))  # those without gaps first
    if not fits:
        _, step, _, wrong = tried[0]
        assert wrong is not None
        raise InputError(
            f"{lines[wrong]}: expected dates {step} apart, found {labels[wrong]} "
            f"after {labels[wrong - 1]}"
        )
    shown, step, places, _ = fits[0]
    first = moments[0].astimezone(zone) if zone and shown is moments else shown[0]
    notation = _as_written(notation, moments, labels)
    axis = TimeAxis(
        first.replace(tzinfo=zone), step, places[-1] + 1, _anchor(moments), notation
    )
    return axis, places


def _steps(moments: Sequence[Moment]) -> tuple[Step, list[int], int | None]:
    """The usual step, where each date is in such steps, and the first that is in none.

    The step is the most frequent one, the shortest of several.
    """
    if len(moments) < 2:
        return Step("second", 86400), [0] * len(moments), None
    months = [12 * moment.year + moment.month for moment in moments]
    if _anchor(moments) and all(a < b for a, b in itertools.pairwise(months)):
        return _counted("month", months)
    gaps = [moment - moments[0] for moment in moments]
    micros = [gap // timedelta(microseconds=1) for gap in gaps]
    step, places, wrong = _counted("second", [micro // 10**6 for micro in micros])
    if any(micro % 10**6 for micro in micros):
        wrong = next(k for k, micro in enumerate(micros) if micro % 10**6)
        return step, places, wrong
    days = [np.datetime64(moment.date()) for moment in moments]
    uneven = len(set(np.diff(micros).tolist())) > 1
    if uneven and step.count == 86400 and np.all(np.is_busday(days)):
        business = _counted("business day", np.busday_count(days[0], days).tolist())
        # Where no weekend lies between them it is some day that is missing.
        if business[1][-1] < places[-1]:
            return business
    return step, places, wrong


def _counted(unit: str, at: Sequence[int]) -> tuple[Step, list[int], int | None]:
    counts = collections.Counter(np.diff(at).tolist())
    most = max(counts.values())
    count = max(1, min(size for size, times in counts.items() if times == most))
    away = [place - at[0] for place in at]
    wrong = next((k for k, place in enumerate(away) if place % count), None)
    places = [place // count for place in away]
    if wrong is None:
        wrong = next((k for k in range(1, len(at)) if places[k] <= places[k - 1]), None)
    return Step(unit, count), places, wrong


def _anchor(moments: Sequence[Moment]) -> int:
    """The day of the month that all are on, 31 if it is the last one; or else 0."""
    if not _anchor_time(moments):
        return 0
    highest = max(moment.day for moment in moments)
    lengths = [calendar.monthrange(each.year, each.month)[1] for each in moments]
    pairs = list(zip(moments, lengths, strict=True))
    if highest > 27 and all(moment.day == length for moment, length in pairs):
        return 31
    on = all(moment.day == min(highest, length) for moment, length in pairs)
    return highest if on else 0


def _anchor_time(moments: Sequence[Moment]) -> bool:
    """Whether all are at the same time of the day, by the clock on the wall."""
    return len({moment.time() for moment in moments}) == 1


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
        if _parses(notation, text):
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


def _as_written(
    notation: DateNotation, moments: Sequence[Moment], labels: Sequence[str]
) -> DateNotation:
    """The notation that writes dates as they are written, or else as ISO 8601 does."""

    def without(zeros: str) -> Callable[[Moment], str]:
        return lambda moment: re.sub(zeros, "", notation.write(moment))

    hour = r"(?<=[ T])0(?=\d:)"
    day = r"(?<![\d:.])0(?=\d(?:[^\d:]|$))|(?<=\d\.)0(?=\d\.)"
    written = (notation.write, *map(without, (day, hour, f"{day}|{hour}")))
    whole = _anchor_time(moments) and moments[0].time() == datetime.time()
    plain = whole and all(moment.tzinfo is None for moment in moments)
    between = "T" if "T" in labels[-1] else " "

    def iso(moment: Moment) -> str:
        return moment.date().isoformat() if plain else moment.isoformat(between)

    for write in written:
        if all(write(m) == label for m, label in zip(moments, labels, strict=True)):
            return DateNotation(notation.parse, write)
    return DateNotation(notation.parse, iso)


def _parses(notation: DateNotation, text: str) -> bool:
    try:
        notation.parse(text)
    except (ValueError, OverflowError):
        return False
    return True
