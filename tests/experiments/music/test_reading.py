"""What is shown of a piece: chords, the beat, and what was heard before."""

import numpy as np
import pytest

from experiments.music.data import Piece, piano_roll
from experiments.music.reading import Reading, echoes, roll_batch, shown

FIRST = ((60, 64, 67), (), (59, 67))
SECOND = ((21, 108), (60,))
A, B, C, D = ((60,), (62,), (64,), (65,))


def test_the_chords_just_before_are_shown_too() -> None:
    roll = piano_roll(FIRST)
    silence = np.zeros(88)
    expected = [
        [roll[0], silence, silence],
        [roll[1], roll[0], silence],
        [roll[2], roll[1], roll[0]],
    ]
    np.testing.assert_array_equal(shown(roll, 3).reshape(3, 3, 88), expected)
    np.testing.assert_array_equal(shown(roll, 1), roll)


@pytest.mark.parametrize(
    ("piece", "after", "same"),
    [
        ((A, B, C, D), None, 0),  # D is new
        ((A, B, C, A), B, 1),
        ((A, B, C, D, A, B, D, B, A, B), D, 2),  # the last of two that are as long
        ((A, B, C, D, B, A, A, B), C, 2),  # longer than the last B
        ((A, B, C, D, A, B, C), D, 3),
        ((A, A), A, 1),
        ((A, B) * 12, A, 8),
    ],
)
def test_what_came_after_the_same_chords(
    piece: Piece, after: tuple[int] | None, same: int
) -> None:
    newest = echoes(piece)[-1]
    expected = np.zeros(88) if after is None else piano_roll((after,))[0]
    np.testing.assert_array_equal(newest[:88], expected)
    np.testing.assert_array_equal(newest[88:], np.array([1, 2, 3, 4, 6, 8]) <= same)


def test_it_is_enough_if_the_highest_or_the_lowest_note_was_the_same() -> None:
    piece = ((50, 60), (52, 62), (48, 64), (50, 61), (52, 62))
    for view, after, same in ((0, (48, 64), 1), (1, (48, 64), 1), (2, (48, 64), 2)):
        newest = echoes(piece, view)[-1]
        np.testing.assert_array_equal(newest[:88], piano_roll((after,))[0])
        assert newest[88:].sum() == same
    assert not echoes(((50, 60), (50, 61)), 1)[-1].any()


def test_nothing_is_shown_that_comes_later() -> None:
    """The newest step is shown the same whatever has been cut off."""
    rng = np.random.default_rng(0)
    piece = tuple((60 + int(k),) for k in rng.integers(3, size=300))
    reading = Reading(context=2, beats=5, echo=2)
    whole = reading.inputs(piece)
    assert whole.shape == (300, reading.width) and reading.width == 4 * 88 + 12 + 5
    for step in (0, 1, 7, 299):
        newest = reading.newest(piece[: step + 1])
        np.testing.assert_array_equal(newest[0], whole[step])
    assert whole[:7, -5:].argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_what_is_heard_again_is_remembered_for_256_steps() -> None:
    reading = Reading(echo=1)
    new = tuple((21 + k // 40, 66 + k % 40) for k in range(257))
    for steps, same in ((256, 6), (257, 0)):
        piece = new[:steps] + new[:8]
        newest = reading.newest(piece)
        assert newest[0, -6:].sum() == same
        np.testing.assert_array_equal(newest[0], reading.inputs(piece)[-1])


def test_rolls_are_shifted_by_a_step_and_padded() -> None:
    batch = roll_batch([FIRST, (), SECOND], 4)
    assert batch["lengths"].tolist() == [2, 0, 1]
    np.testing.assert_array_equal(batch["inputs"][0, :2], piano_roll(FIRST)[:2])
    np.testing.assert_array_equal(batch["targets"][0, :2], piano_roll(FIRST)[1:])
    assert not batch["inputs"][0, 2:].any() and not batch["targets"][1].any()
