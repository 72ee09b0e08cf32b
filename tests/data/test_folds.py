"""Folds: exact partitions, against sequences written by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.data.folds import (
    Fold,
    block_folds,
    shuffled_folds,
    stratified_folds,
    stratified_split,
)
from lstm_jax.errors import InputError


def held_out(folds: list[Fold]) -> list[list[int]]:
    """The test rows of each fold."""
    return [fold.test.tolist() for fold in folds]


def assert_partition(folds: list[Fold], count: int) -> None:
    """Every row is tested once, and trained on in all other folds."""
    assert sorted(i for test in held_out(folds) for i in test) == list(range(count))
    for fold in folds:
        assert fold.train.tolist() == sorted(set(range(count)) - set(fold.test))
        assert fold.test.tolist() == sorted(fold.test)


def test_blocks_by_hand() -> None:
    folds = block_folds(10, 3)
    assert held_out(folds) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert folds[1].train.tolist() == [0, 1, 2, 3, 7, 8, 9]
    assert held_out(block_folds(3, 3)) == [[0], [1], [2]]


def test_stratified_by_hand() -> None:
    # 4 a, 2 b, 3 c in 2 folds: dealt in turn, whatever the order within a label.
    labels = list("abcaacbca")
    for seed in range(20):
        folds = stratified_folds(labels, 2, seed)
        found = [sorted(labels[i] for i in test) for test in held_out(folds)]
        assert found == [list("aabcc"), list("aabc")]
        assert_partition(folds, 9)


def test_a_rare_label_is_missing_from_some_folds() -> None:
    folds = stratified_folds([0, 0, 0, 0, 0, 1], 3)
    assert sorted(sum(i == 5 for i in test) for test in held_out(folds)) == [0, 0, 1]


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=60),
    st.integers(2, 12),
    st.integers(0, 3),
)
def test_all_kinds_are_balanced_partitions(
    labels: list[int], folds: int, seed: int
) -> None:
    folds = min(folds, len(labels))
    stratified = stratified_folds(labels, folds, seed)
    for made in (
        stratified,
        shuffled_folds(len(labels), folds, seed),
        block_folds(len(labels), folds),
    ):
        assert_partition(made, len(labels))
        sizes = [len(fold.test) for fold in made]
        assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [sum(labels[i] == label for i in f.test) for f in stratified]
        assert max(counts) - min(counts) <= 1
    for fold in block_folds(len(labels), folds):
        assert np.ptp(fold.test) == len(fold.test) - 1, "contiguous"


@pytest.mark.parametrize("kind", ["shuffled", "stratified"])
def test_the_draw_is_the_seeds(kind: str) -> None:
    def draw(seed: int) -> list[list[int]]:
        if kind == "shuffled":
            return held_out(shuffled_folds(30, 3, seed))
        return held_out(stratified_folds([0, 1] * 15, 3, seed))

    assert draw(0) == draw(0) != draw(1)
    assert draw(0) != held_out(block_folds(30, 3))


@pytest.mark.parametrize("folds", [0, 1, 5])
def test_an_impossible_number_of_folds_is_refused(folds: int) -> None:
    for make in (block_folds, shuffled_folds):
        with pytest.raises(InputError, match=f"from 2 to 4.*found {folds}"):
            make(4, folds)
    with pytest.raises(InputError, match="from 2 to 4"):
        stratified_folds(list("abca"), folds)


@given(st.integers(2, 12), st.integers(2, 80), st.integers(0, 3))
def test_a_split_is_the_first_of_as_many_folds(k: int, count: int, seed: int) -> None:
    labels = np.arange(count) % 3
    if k <= count:
        first = stratified_folds(labels, k, seed)[0]
        found = stratified_split(labels, 1 / k, seed)
        np.testing.assert_array_equal(found.train, first.train)
        np.testing.assert_array_equal(found.test, first.test)


@given(st.floats(0.01, 0.99), st.integers(2, 80))
def test_a_split_has_its_share_of_each_label(share: float, count: int) -> None:
    labels = np.arange(count) % 2
    if np.ceil(count * round(share, 2)) < count:
        split = stratified_split(labels, round(share, 2))
        assert_partition([split, Fold(split.test, split.train)], count)
        for label in (0, 1):
            exact = round(share, 2) * (labels == label).sum()
            assert abs((labels[split.test] == label).sum() - exact) <= 1


def test_a_split_leaves_something_to_learn_from() -> None:
    with pytest.raises(InputError, match=r"beside a share of 0\.5, found 1 in all"):
        stratified_split([0], 0.5)
