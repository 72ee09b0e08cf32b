"""Curves and their features, lines written of digits, and where they are cut."""

import numpy as np
import pytest

from experiments.handwriting import baseline, lines
from experiments.handwriting.augment import Variation, slid, varied
from experiments.handwriting.data import Digits, scribbles
from experiments.handwriting.strokes import (
    SPACING,
    digit_features,
    line_features,
    one_digit,
    resample,
    scaled,
    stretched,
)

CORNER = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
KNOWN, TESTED = scribbles()


def test_points_are_spread_evenly_along_a_stroke() -> None:
    expected = [[0, 0], [1.75, 0], [3, 0.5], [3, 2.25], [3, 4]]
    np.testing.assert_allclose(resample(CORNER, 5), expected)
    dense = np.repeat(resample(CORNER, 8), 3, axis=0)  # at another rate, with pauses
    np.testing.assert_allclose(resample(dense, 5), expected)
    np.testing.assert_array_equal(resample(CORNER[:1], 3), CORNER[[0, 0, 0]])


def test_one_digit_is_what_pen_digits_would_have_of_it() -> None:
    drawn = [CORNER[:2] * 7 + 100, CORNER[1:] * 7 + 100]
    expected = stretched(resample(CORNER, 8))
    np.testing.assert_allclose(one_digit(drawn), expected)
    assert (expected.min(), expected.max()) == (-1, 1)
    # A line straight up stays one, however the hand trembles.
    up = np.stack([0.01 * np.arange(9) % 2, np.arange(9.0)], axis=1)
    assert np.abs(one_digit([up])[:, 0]).max() < 0.02


def test_the_features_of_a_digit_do_not_depend_on_size_and_place() -> None:
    found = digit_features(one_digit([CORNER]))
    np.testing.assert_allclose(
        found, digit_features(one_digit([9 * CORNER - 4])), atol=1e-6
    )
    assert found.shape == (8, 10) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, 2:7], 0)  # nothing came before
    np.testing.assert_allclose(found[-1, 7:], 0)
    np.testing.assert_allclose(found[1, 5:7], [1, 0], atol=1e-6)  # to the right
    np.testing.assert_allclose(found[-1, 5:7], [0, 1], atol=1e-6)  # and up


def test_the_features_of_a_line_tell_where_the_pen_was_lifted() -> None:
    strokes = [CORNER[:2], CORNER[2:], CORNER[1:] + 1]
    found = line_features(strokes)
    count = 1 + round(3 / 5 / SPACING), 1, 1 + round(4 / 5 / SPACING)
    assert found.shape == (sum(count), 7)
    lifted = np.flatnonzero(found[:, -1])
    assert lifted.tolist() == [count[0], count[0] + 1]
    assert (found[:, 0].min(), found[:, 0].max()) == (-0.5, 0.5)
    np.testing.assert_allclose(found[lifted[0], 1:3], [0, 4 / 5], atol=1e-6)
    np.testing.assert_allclose(
        found, line_features([s * 30 + 9 for s in strokes]), atol=1e-5
    )


@pytest.mark.parametrize("line", [[[0, 0]], [[0, 0], [6, 0]], [[0, 0], [0, 6]]])
def test_what_has_no_height_or_no_width_has_features(line: list) -> None:
    stroke = np.array(line, float)
    assert np.isfinite(line_features([stroke])).all()
    assert np.isfinite(digit_features(one_digit([stroke]))).all()
    assert len(line_features([stroke])) < 20


def test_variations_stay_in_the_square_and_differ() -> None:
    rng = np.random.default_rng(0)
    found = varied(rng, KNOWN.points, Variation())
    np.testing.assert_allclose(found.min(axis=1), -1)
    np.testing.assert_allclose(found.max(axis=1), 1)
    assert 0.02 < np.abs(found - KNOWN.points).mean() < 0.3
    nothing = varied(rng, KNOWN.points, Variation(0, 0, 0, 0, 0, 0))
    np.testing.assert_allclose(nothing, KNOWN.points, atol=1e-12)


def test_points_slide_along_the_curve() -> None:
    digit = np.array([[[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]])
    found = slid(digit, np.array([[-0.5, 0.25, -0.5]]))
    np.testing.assert_allclose(found[0], [[-1, 0], [2, 0.5], [2, 1]])


def test_a_rounded_curve_goes_through_its_points() -> None:
    for share in (0.0, 0.5, 1.0):
        curve = lines.rounded(CORNER, share)
        assert len(curve) == 9
        np.testing.assert_allclose(curve[::4], CORNER)
    # Catmull and Rom's spline, halfway: (-p0 + 9 p1 + 9 p2 - p3) / 16.
    points = np.random.default_rng(0).normal(size=(4, 2))
    expected = np.array([-1, 9, 9, -1]) @ points / 16
    np.testing.assert_allclose(lines.rounded(points, 1.0)[6], expected)


FOUR = [[0, 4], [0, 2], [1, 2], [3, 2], [2, 2.2], [2, 1], [2, 0.5], [2, 0]]
FIVE = [[0, 4], [0, 2], [2, 1], [0, 0], [0, 2], [0, 4], [1, 4], [3, 4]]
ONE_STROKE = [[3, 4], [0, 4], [0, 2], [2, 2.5], [3, 1], [2, 0], [1, 0], [0, 0.5]]


@pytest.mark.parametrize(
    ("digit", "points", "ends"),
    [(4, FOUR, (3, 4)), (5, FIVE, (3, 5)), (5, ONE_STROKE, None)],
)
def test_the_pen_is_lifted_between_two_strokes(
    digit: int, points: list, ends: tuple[int, int] | None
) -> None:
    array = np.array(points, float)
    curve = lines.rounded(array, 0.3)
    found = lines.lift(curve, array, digit)
    if ends is None:
        np.testing.assert_array_equal(found, [curve])
        return
    one, other = found
    assert (len(one), len(other)) == (1 + 4 * ends[0], 1 + 4 * (7 - ends[1]))
    np.testing.assert_allclose(one[-1], array[ends[0]])
    np.testing.assert_allclose(other[0], array[ends[1]])


def test_a_line_says_what_is_in_it() -> None:
    some = KNOWN.rows(np.array([1, 4, 1]))
    line = lines.write_line(np.random.default_rng(3), some)
    assert line.symbols == (2, 5, 2)
    assert 3 <= len(line.strokes) <= 4
    (width, height) = np.ptp(np.concatenate(scaled(line.strokes)), axis=0)
    assert height == pytest.approx(1) and 0.8 < width < 5


def test_the_lines_of_a_test_use_every_digit_once_a_round() -> None:
    marked = TESTED._replace(classes=np.arange(len(TESTED.classes)))
    found = lines.write_lines(marked, rounds=2)
    assert {len(line.symbols) for line in found} == {2, 3, 4, 5, 6}
    used = np.bincount([s - 1 for line in found for s in line.symbols], minlength=120)
    assert used.max() == 2 and used.sum() >= 2 * 120 - 2
    again = lines.write_lines(marked, rounds=2)
    np.testing.assert_array_equal(again[-1].strokes[0], found[-1].strokes[0])


def test_the_nearest_is_found() -> None:
    away = np.square(TESTED.points[:, None] - KNOWN.points[None]).sum(axis=(2, 3))
    expected = KNOWN.classes[away.argmin(axis=1)]
    np.testing.assert_array_equal(baseline.nearest(KNOWN, TESTED.points), expected)


def test_strokes_above_each_other_are_one_digit() -> None:
    bar, stem = np.array([[0.0, 0], [1, 0]]), np.array([[0.7, 1.0], [0.7, -1]])
    strokes = [bar, stem, bar + np.array([0.9, 0]), stem + 9]
    found = [len(piece) for piece in baseline.cut(strokes)]
    assert found == [2, 1, 1]


def test_a_line_of_known_digits_is_read_by_the_floor() -> None:
    row = Digits(KNOWN.points[:3], KNOWN.classes[:3])
    strokes = [points + np.array([3 * k, 0]) for k, points in enumerate(row.points)]
    assert baseline.read_pieces(KNOWN, [strokes, strokes[1:]]) == [[1, 2, 3], [2, 3]]
