"""Bounds that stand at their fields: what is refused, and in which words."""

import dataclasses
import math
from typing import Annotated, Any

import pytest

from lstm_jax.config import (
    Amount,
    Configuration,
    Count,
    Devices,
    Positive,
    Range,
    RunConfig,
    Share,
    ZeroOrMore,
    check_bounds,
    check_run,
    read_section,
)
from lstm_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner(Configuration):
    """A section."""

    top_share: Share = 0.0
    half_open: Annotated[float, Range(-1.0, 1.0, above=True)] = 0.0


@dataclasses.dataclass(frozen=True)
class Outer(Configuration):
    """Settings with a section, a number without bounds and numbers that may lack."""

    free: int = 0
    layers: Annotated[int, Range(1, 1000)] = 1
    rounds: Annotated[int, Range(0, 9, "0 to 9 rounds")] = 0
    size: Count | None = None
    devices: Devices = None
    rate: Positive = 1.0
    penalty: Amount = 0.0
    several: tuple[ZeroOrMore, ...] = ()
    inner: Inner = dataclasses.field(default_factory=Inner)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"layers": 0}, "--layers: expected a number from 1 to 1,000, found 0"),
    ({"layers": 1001}, "--layers: expected a number from 1 to 1,000, found 1001"),
    ({"rounds": 10}, "--rounds: expected 0 to 9 rounds, found 10"),
    ({"size": -1}, "--size: expected a number from 1 to 2,147,483,647, found -1"),
    ({"size": 10**400}, "--size: expected a number from 1 to 2,147,483,647, found 1"),
    ({"devices": 0}, "--devices: expected a number from 1 to 2,147,483,647, found 0"),
    ({"rate": 0.0}, "--rate: expected a positive number, found 0.0"),
    ({"rate": math.inf}, "--rate: expected a positive number, found inf"),
    ({"penalty": -0.5}, "--penalty: expected a number of at least 0, found -0.5"),
    ({"penalty": math.nan}, "--penalty: expected a number of at least 0, found nan"),
    (
        {"inner": Inner(top_share=1.0)},
        "--top-share: expected a number in [0, 1), found 1.0",
    ),
    (
        {"several": (0, 3, -1)},
        "--several: expected 0 or more, found -1",
    ),
    (
        {"inner": Inner(half_open=-1.0)},
        "--half-open: expected a number in (-1, 1], found -1.0",
    ),
]
ALLOWED: list[dict[str, Any]] = [
    {},
    {"free": -(10**400)},
    {"layers": 1000, "rounds": 9, "size": 2**31 - 1, "rate": 5e-324},
    {"devices": "all", "penalty": 1.7e308},
    {"inner": Inner(top_share=0.0, half_open=1.0)},
]


@pytest.mark.parametrize(("fields", "message"), REFUSED)
def test_what_is_out_of_bounds_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        check_bounds(Outer(**fields))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("fields", ALLOWED)
def test_what_is_within_them_is_not(fields: dict[str, Any]) -> None:
    check_bounds(Outer(**fields))


def test_bounds_do_not_stand_in_the_way_of_reading() -> None:
    record = {"layers": 3, "size": None, "devices": "all", "inner": {"top_share": 0}}
    expected = Outer(layers=3, devices="all", inner=Inner(top_share=0.0))
    assert read_section(Outer, record, "a file") == expected
    with pytest.raises(InputError, match=r"^a file: size: expected .*found 2\.5"):
        read_section(Outer, {"size": 2.5}, "a file")


def test_a_run_is_continued_or_replaced() -> None:
    check_run(RunConfig(resume=True))
    check_run(RunConfig(overwrite=True))
    with pytest.raises(InputError, match="expected --resume or --overwrite, found"):
        check_run(RunConfig(resume=True, overwrite=True))
