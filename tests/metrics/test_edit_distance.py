"""Edits against an exhaustive search, and totals that add up."""

import functools
import itertools

import pytest

from lstm_jax.metrics.edit_distance import Edits, count_all_edits, count_edits


@functools.cache
def distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The fewest edits, by trying all three kinds everywhere."""
    if not a or not b:
        return len(a) + len(b)
    return min(
        distance(a[1:], b[1:]) + (a[0] != b[0]),
        distance(a[1:], b) + 1,
        distance(a, b[1:]) + 1,
    )


def test_every_pair_of_short_transcripts() -> None:
    words = [w for n in range(4) for w in itertools.product((1, 2, 3), repeat=n)]
    for a, b in itertools.product(words, words):
        found = count_edits(a, b)
        assert found.total == distance(a, b)
        assert found.insertions - found.deletions == len(b) - len(a)
        assert (found.length, found.utterances) == (len(a), 1)
        assert found.wrong == (a != b)


@pytest.mark.parametrize(
    ("reference", "found", "edits"),
    [
        ((1, 2, 3), (1, 3), Edits(0, 0, 1, 3, 1, 1)),
        ((1, 2, 3), (1, 2, 2, 3), Edits(0, 1, 0, 3, 1, 1)),
        ((1, 2, 3), (1, 4, 3), Edits(1, 0, 0, 3, 1, 1)),
        ((1, 2), (1, 2), Edits(0, 0, 0, 2, 1, 0)),
        ((), (1, 2), Edits(0, 2, 0, 0, 1, 1)),
    ],
)
def test_kinds_of_edits(
    reference: tuple[int, ...], found: tuple[int, ...], edits: Edits
) -> None:
    assert count_edits(reference, found) == edits


def test_the_rate_is_one_division() -> None:
    edits = count_all_edits([(1, 2, 3), (4,)], [(1, 2, 3), (5, 6)])
    assert edits == Edits(1, 1, 0, 4, 2, 1)
    assert edits.error_rate == 0.5
    with pytest.raises(ZeroDivisionError):
        _ = Edits().error_rate
