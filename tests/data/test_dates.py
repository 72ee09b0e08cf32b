"""Dates in the ways people write them, their steps, and what is out of step."""

import datetime

import pytest

from lstm_jax.data.dates import read_dates, read_index
from lstm_jax.data.time_axis import Step
from lstm_jax.errors import InputError

START = datetime.datetime(2024, 1, 1)


def written(date_format: str, count: int, **step: int) -> list[str]:
    moments = (START + datetime.timedelta(**step) * k for k in range(count))
    return [moment.strftime(date_format) for moment in moments]


def places(count: int) -> list[str]:
    return [f"line {k + 2}" for k in range(count)]


@pytest.mark.parametrize(
    ("dates", "step", "seasons", "following"),
    [
        (written("%Y-%m-%d", 9, days=1), "1 day", (7,), "2024-01-10"),
        (written("%d.%m.%Y", 20, days=1), "1 day", (7,), "21.01.2024"),
        (written("%d/%m/%Y", 20, days=1), "1 day", (7,), "21/01/2024"),
        (written("%m/%d/%Y", 20, days=1), "1 day", (7,), "01/21/2024"),
        (written("%Y%m%d", 9, days=1), "1 day", (7,), "20240110"),
        (written("%d %b %Y", 9, days=1), "1 day", (7,), "10 Jan 2024"),
        (written("%b %d, %Y", 9, days=7), "1 week", (52,), "Mar 04, 2024"),
        (
            written("%Y-%m-%d %H:%M:%S", 9, hours=1),
            *("1 hour", (24, 168), "2024-01-01 09:00:00"),
        ),
        (
            written("%Y-%m-%dT%H:%M:%SZ", 9, minutes=30),
            *("30 minutes", (48, 336), "2024-01-01T04:30:00Z"),
        ),
        (
            written("%m/%d/%Y %I:%M %p", 50, hours=1),
            *("1 hour", (24, 168), "01/03/2024 02:00 AM"),
        ),
        (
            written("%d.%m.%Y %H:%M", 50, minutes=15),
            *("15 minutes", (96, 672), "01.01.2024 12:30"),
        ),
        (written("%Y%m%d%H", 5, hours=1), "1 hour", (24, 168), "2024010105"),
        (["1404165600", "1404169200"], "1 hour", (24, 168), "1404172800"),
        (["1404165600000", "1404165660000"], "1 minute", (60, 1440), "1404165720000"),
        (["2024-01", "2024-02", "2024-03"], "1 month", (12,), "2024-04"),
        (["Nov-23", "Dec-23", "Jan-24"], "1 month", (12,), "Feb-24"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "1 month", (12,), "2024-04-30"),
        (["2023-09-30", "2023-12-31", "2024-03-31"], "1 quarter", (4,), "2024-06-30"),
        (["2024Q3", "2024Q4", "2025Q1"], "1 quarter", (4,), "2025Q2"),
        (["Q3 2024", "Q4 2024"], "1 quarter", (4,), "Q1 2025"),
        (["2020-W52", "2020-W53", "2021-W01"], "1 week", (52,), "2021-W02"),
        (["1990", "1991", "1992"], "1 year", (1,), "1993"),
        (["1/9/2024", "1/16/2024", "1/23/2024"], "1 week", (52,), "1/30/2024"),
        (["1.9.2024", "2.9.2024"], "1 day", (7,), "3.9.2024"),
        (["1/16/2024 8:00", "1/16/2024 9:00"], "1 hour", (24, 168), "1/16/2024 10:00"),
        (["2024-1-9", "2024-1-10"], "1 day", (7,), "2024-1-11"),
        (
            [f"2024-01-01T0{k}:00:00.000Z" for k in range(3)],
            *("1 hour", (24, 168), "2024-01-01T03:00:00.000Z"),
        ),
        (  # a Friday, and the week after it
            ["2024-01-04", "2024-01-05", "2024-01-08", "2024-01-09", "2024-01-10"],
            *("1 business day", (5,), "2024-01-11"),
        ),
        (  # summer time begins: the day has 23 hours, and the hours are even
            ["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"],
            *("1 day", (7,), "2024-04-02T00:00:00+02:00"),
        ),
        (
            ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"],
            *("1 hour", (24, 168), "2024-03-31T04:00:00+02:00"),
        ),
    ],
)
def test_dates_are_read_and_go_on(
    dates: list[str], step: str, seasons: tuple, following: str
) -> None:
    found = read_dates(dates, places(len(dates)))
    assert found
    axis, at = found
    assert at == list(range(len(dates))) and axis.size == len(dates)
    assert (str(axis.step), axis.step.seasons()) == (step, seasons)
    assert axis.label(len(dates)) == following


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["2024-01-01", "2024-01-02", "2024-01-02"], "line 4: .* 2024-01-02 again"),
        (["2024-01-02", "2024-01-01"], "line 3: expected a date after 2024-01-02"),
        (["2024-01-01", "2024-13-02", "2024-01-03"], "line 3: .*found '2024-13-02'"),
        (["2024-01-01", "", "2024-01-03"], "line 3: expected a date like"),
        (written("%d/%m/%Y", 9, days=1), "--date-format: .*line 2, '01/01/2024'"),
        (
            [*written("%Y-%m-%d %H:%M", 5, hours=1), "2024-01-01 05:20"],
            r"line 7: expected dates 1 hour apart, found 2024-01-01 05:20",
        ),
        (
            ["2024-01-01T00:00Z", "2024-01-01T01:00Z", "2024-01-01 02:00"],
            "line 4: expected a date like",
        ),
    ],
)
def test_dates_out_of_step_are_refused(dates: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_dates(dates, places(len(dates)))


def test_missing_dates_leave_their_places_free() -> None:
    days = written("%Y-%m-%d", 9, days=1)
    found = read_dates([*days[:3], *days[5:]], places(7))
    assert found and found[1] == [0, 1, 2, 5, 6, 7, 8] and found[0].size == 9
    months = ["2024-01-01", "2024-02-01", "2024-04-01", "2024-05-01"]
    found = read_dates(months, places(4))
    assert found and found[1] == [0, 1, 3, 4] and str(found[0].step) == "1 month"


def test_how_dates_are_written_can_be_said() -> None:
    dates = written("%d/%m/%Y", 9, days=1)
    found = read_dates(dates, places(9), "%m/%d/%Y")
    assert found and str(found[0].step) == "1 month"
    with pytest.raises(InputError, match=r"--date-format: .*'01/01/2024', found %Y"):
        read_dates(dates, places(9), "%Y")


def test_names_are_no_dates() -> None:
    for labels in (["mon", "tue"], ["S0", "S1"], ["V2", "V3"], ["a 1", "b 2"]):
        assert read_dates(labels, places(2)) is None


def test_the_calendar_ends() -> None:
    found = read_dates(["9999-12-30", "9999-12-31"], places(2))
    assert found
    with pytest.raises(InputError, match="up to the year 9999"):
        found[0].label(2)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1, (60, 3600)), (60, (60, 1440)), (300, (288, 2016)), (7200, (12, 84))],
)
def test_seasons_are_those_of_the_clock(seconds: int, expected: tuple) -> None:
    assert Step("second", seconds).seasons() == expected


def test_a_column_may_count() -> None:
    assert read_index(["0.0", "0.1", "0.2", "0.3"], places(4)) == [0, 1, 2, 3]
    assert read_index(["1", "2", "4", "5"], places(4)) == [0, 1, 3, 4]
    with pytest.raises(
        InputError, match="line 4: expected a number above 2, found '2'"
    ):
        read_index(["1", "2", "2"], places(3))
    with pytest.raises(InputError, match=r"line 4: .* 0.1 above 0.1, found 0.25"):
        read_index(["0.0", "0.1", "0.25", "0.35"], places(4))
