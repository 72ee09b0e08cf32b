"""Few shapes with little padding, and every example once an epoch."""

import itertools

import numpy as np
import pytest

from lstm_jax.data.buckets import (
    BucketedBatches,
    cut_lengths,
    make_buckets,
    pad,
    pad_frames,
)

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 12, (47, 2))


def places(lengths: np.ndarray, edges: list[int]) -> int:
    """What the examples take when each is padded to the next edge."""
    return sum(min(edge for edge in edges if edge >= n) for n in lengths)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_no_other_cut_pads_less(count: int) -> None:
    lengths = RNG.integers(1, 9, 30)
    values = np.unique(lengths).tolist()
    edges = cut_lengths(lengths, count)
    assert edges == sorted(set(edges)) and len(edges) == min(count, len(values))
    best = min(
        places(lengths, [*some, values[-1]])
        for some in itertools.combinations(values[:-1], len(edges) - 1)
    )
    assert places(lengths, edges) == best


def test_every_example_fits_its_bucket_and_the_next() -> None:
    buckets = make_buckets(LENGTHS, 4)
    assert len(buckets) == 4
    for before, bucket in itertools.pairwise([*buckets, buckets[-1]]):
        assert np.all(LENGTHS[before.members] <= bucket.shape)
    together = np.concatenate([bucket.members for bucket in buckets])
    assert sorted(together) == list(range(47))


def test_every_example_comes_once_an_epoch() -> None:
    batches = BucketedBatches(make_buckets(LENGTHS, 4), rows=5, seed=1)
    assert batches.steps_per_epoch == 10
    for epoch in range(2):
        picked = [batches(10 * epoch + k) for k in range(10)]
        rows = np.concatenate([one.rows for one in picked])
        assert sorted(rows[rows >= 0]) == list(range(47))
        assert all(len(one.rows) == 5 for one in picked)
        assert len({one.shape for one in picked}) <= 4
        for one in picked:
            assert np.all(LENGTHS[one.rows[one.rows >= 0]] <= one.shape)


def test_batch_n_is_a_function_of_seed_and_n() -> None:
    buckets = make_buckets(LENGTHS, 4)
    some, again = BucketedBatches(buckets, 5, 1), BucketedBatches(buckets, 5, 1)
    for n in (23, 0, 11):
        np.testing.assert_array_equal(some(n).rows, again(n).rows)
    different = [BucketedBatches(buckets, 5, 2)(0).rows, some(10).rows]
    assert all(not np.array_equal(some(0).rows, rows) for rows in different)


def test_padding_fills_up_rows_and_columns() -> None:
    padded = pad([[1, 2], np.array([3]), []], rows=4, length=3, filling=9)
    expected = [[1, 2, 9], [3, 9, 9], [9, 9, 9], [9, 9, 9]]
    np.testing.assert_array_equal(padded, expected)


def test_rows_are_padded_with_zeros() -> None:
    rows = [np.full((n, 2), n, np.float32) for n in (3, 1)]
    frames, lengths = pad_frames(rows, 4)
    assert frames.shape == (2, 4, 2) and lengths.tolist() == [3, 1]
    assert frames[0, :3].min() == 3 and frames.sum() == 3 * 3 * 2 + 2
