"""From a column of a table to the evenly spaced dates that it has.

A column of dates is written in one way, which is found by trying those that there are;
03/04/2024 alone does not say whether it is in March, a column of such dates usually
does, for in one reading only the dates are evenly apart.
"""

import calendar
import collections
import datetime
import itertools
import re
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np

from lstm_jax.data.date_notations import DateNotation, Moment, is_in, notations_of
from lstm_jax.data.table_numbers import quantity_of
from lstm_jax.data.time_axis import Step, TimeAxis
from lstm_jax.errors import InputError


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
        kept = [each for each in left if is_in(each, label)]
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
