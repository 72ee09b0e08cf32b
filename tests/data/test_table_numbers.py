"""Numbers as people write them, and what says that there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.data.table_numbers import decimal_sign, is_missing, quantity_of
from lstm_jax.errors import InputError


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("12", 12, 12),
        ("1.5", 1.5, None),
        ("1,5", None, 1.5),
        ("1,234", 1234, 1.234),
        ("1.234", 1.234, 1234),
        ("1,234.5", 1234.5, None),
        ("1.234,5", None, 1234.5),
        ("1,234,567", 1234567, None),
        ("1 234,5", None, 1234.5),
        ("1\u00a0234.5", 1234.5, None),
        ("1\u202f234", 1234, 1234),
        ("1'234.5", 1234.5, None),
        ("12,34,567.8", 1234567.8, None),
        ("0,123", None, 0.123),
        (".5", 0.5, None),
        ("5.", 5, None),
        ("1e3", 1000, 1000),
        ("1,5E-02", None, 0.015),
        ("\u22125", -5, -5),
        ("(1.5)", -1.5, None),
        ("+5", 5, 5),
        ("5 %", 5, 5),
        ("-$1,000.50", -1000.5, None),
        ("1.000,50 €", None, 1000.5),
        ("1,2,3", None, None),
        ("12 34", None, None),
        ("1,23,45", None, None),
        ("--5", None, None),
        ("(-5)", None, None),
        ("$5%", None, None),
        ("1_000", None, None),
        ("0x10", None, None),
        ("inf", None, None),
        ("1e200", None, None),
        ("5 kg", None, None),
        ("", None, None),
    ],
)
def test_a_cell_under_either_decimal_sign(
    cell: str, point: float | None, comma: float | None
) -> None:
    for sign, expected in ((".", point), (",", comma)):
        found = quantity_of(cell, sign)
        assert (found and found.value) == expected, sign


@given(st.floats(-1e150, 1e150, allow_nan=False))
def test_what_python_writes_comes_back_to_the_bit(value: float) -> None:
    for cell, sign in ((repr(value), "."), (repr(value).replace(".", ","), ",")):
        found = quantity_of(cell, sign)
        assert found and found.value == value


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "",
            "NA",
            "N/A",
            "n/a",
            "#N/A",
            "NaN",
            "-nan",
            "null",
            "NULL",
            "None",
            "-",
            "–",
        ),
        *("--", "?", ".", "..", "<NA>", r"\N", "missing", "#DIV/0!", "1.#IND"),
    ],
)
def test_missing_in_any_notation(cell: str) -> None:
    assert is_missing(cell) and quantity_of(cell) is None


def test_what_is_there_is_not_missing() -> None:
    assert not any(map(is_missing, ["0", "-1", "5%", "oops", "inf", "1,5"]))


@pytest.mark.parametrize(
    ("cells", "separator", "sign"),
    [
        (["1", "2.5"], ",", "."),
        (["1.234", "2.345"], ",", "."),  # a comma would separate
        (["1.234", "2.345"], "", "."),
        (["1,234", "0,5"], ";", ","),
        (["1,234", "2.5"], "\t", "."),
        (["1.234", "12.345,6"], ";", ","),
        (["1", "oops"], ";", "."),
    ],
)
def test_the_decimal_sign_is_that_of_the_whole(
    cells: list[str], separator: str, sign: str
) -> None:
    assert decimal_sign(cells, separator, "x") == sign


@pytest.mark.parametrize(
    ("cells", "separator"), [(["1,234"], ""), (["1.234", "5"], ";"), (["9,999"], ",")]
)
def test_a_decimal_sign_that_nothing_says_is_asked_for(
    cells: list[str], separator: str
) -> None:
    with pytest.raises(InputError, match=r"--decimal: expected \. or ,"):
        decimal_sign(cells, separator, "x")
