"""Evenly spaced dates: the step between them, and the n-th of them.

A step is so many seconds, business days or months, whose lengths differ but not the
phase of the year.
"""

import calendar
import dataclasses
from datetime import timedelta

import numpy as np

from lstm_jax.data.date_notations import DateNotation, Moment
from lstm_jax.errors import InputError


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
