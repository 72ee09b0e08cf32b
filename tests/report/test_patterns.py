"""Units that follow a pattern: what a pattern is, and which units are found."""

import numpy as np
import pytest

from lstm_jax.report.page.patterns import PATTERNS, correlations, find_units
from lstm_jax.report.page.reading import choose_excerpt

# What every symbol of a text has, by a pattern.
SPELLED = {
    "inside quotation marks": ('a "b c" d“e”', [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0]),
    "depth of brackets": ("a(b[c])d", [0, 0, 1, 1, 2, 1, 0, 0]),
    "position in the line": ("ab\nc", [0, 1, 2, 0]),
    "first symbol after a newline": ("a\nb\n", [0, 0, 1, 0]),
    "indentation of the line": (" a b\n  c", [1, 1, 1, 1, 1, 1, 2, 2]),
    "position in the word": ("ab, c", [0, 1, 2, 0, 0]),
    "first symbol after a space": ("a b ", [0, 0, 1, 0]),
    "capital letter": ("aBÉ1", [0, 1, 1, 0]),
    "digit": ("a1", [0, 1]),
    "punctuation": ("a,-", [0, 1, 1]),
    "space": ("a b", [0, 1, 0]),
    "newline": ("a\n", [0, 1]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_what_its_name_says(name: str) -> None:
    text, expected = SPELLED[name]
    assert PATTERNS[name](list(text)) == expected


def test_a_blank_line_ends_a_quotation_that_nobody_closed() -> None:
    found = PATTERNS["inside quotation marks"](list('"a\n\nb'))
    assert found == [0, 1, 1, 0, 0]


def test_correlations_are_pearsons_and_a_unit_at_rest_has_none() -> None:
    rng = np.random.default_rng(0)
    pattern, units = rng.normal(size=50), rng.normal(size=(50, 3))
    units[:, 1] = 0.25
    found = correlations(pattern, units)
    for k in (0, 2):
        expected = np.corrcoef(pattern, units[:, k])[0, 1]
        np.testing.assert_allclose(found[k], expected)
    assert found[1] == 0


def test_the_unit_that_follows_a_pattern_is_found_and_checked() -> None:
    symbols = list("ab 12 " * 200)
    rng = np.random.default_rng(0)
    units = rng.normal(size=(len(symbols), 40))
    units[:, 17] -= 3 * np.array([symbol.isdigit() for symbol in symbols])
    half = np.arange(len(symbols)) % 2 == 1
    other = rng.normal(size=(len(symbols), 5))
    found = find_units(symbols, half, np.full(len(symbols), True), [other, units])
    patterns = {each["name"]: each for each in found}
    assert "inside quotation marks" not in patterns and "newline" not in patterns
    best, *others = patterns["digit"]["units"]
    assert (best["layer"], best["unit"]) == (1, 17)
    for part, r in ((~half, best["r"]), (half, best["check"])):
        digits = np.array([symbol.isdigit() for symbol in symbols])[part]
        expected = np.corrcoef(digits, units[part, 17])[0, 1]
        assert r == pytest.approx(expected, abs=6e-4) and r < -0.7
    assert all(abs(each["check"]) < 0.2 for each in others)
    assert patterns["digit"]["note"] == "Not zero at 33.3% of 1,200 symbols."


@pytest.mark.parametrize(
    ("length", "units", "shape"),
    [
        (1, 100, (1, 1)),
        (50, 100, (50, 1)),
        (5_000, 100, (1200, 4)),
        (10**6, 100, (1200, 5)),
        (10**6, 1_000, (480, 12)),
        (10**6, 10**5, (300, 20)),
        (500, 10**5, (300, 1)),
    ],
)
def test_an_excerpt_fits_on_a_page(
    length: int, units: int, shape: tuple[int, int]
) -> None:
    text = np.arange(length)
    excerpt = choose_excerpt(text, units, 5)
    assert excerpt.ids.shape == shape
    np.testing.assert_array_equal(excerpt.in_order, text[: excerpt.ids.size])
