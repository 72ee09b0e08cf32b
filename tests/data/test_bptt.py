"""Batches for truncated back-propagation, and windows for evaluation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.data.bptt import Batch, steps_per_epoch, tbptt_batch, windows
from lstm_jax.data.special_ids import IGNORED

# Lanes.

# In these tests the text is 0, 1, 2, ...: a symbol is its own place.
shapes = st.tuples(st.integers(2, 60), st.integers(1, 5), st.integers(1, 7))


def segment_batch(
    shape: tuple[int, int, int], n: int, seed: int = 0, reset_probability: float = 0.3
) -> Batch:
    """Batch n of a text of `size` symbols, for a shape (size, batch, length)."""
    size, batch, length = shape
    ids = np.arange(size, dtype=np.uint16)
    return tbptt_batch(
        ids,
        n,
        batch=batch,
        length=length,
        seed=seed,
        reset_probability=reset_probability,
    )


def assert_equal_batches(a: Batch, b: Batch) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@given(shapes, st.integers(0, 20), st.integers(0, 2**63 - 1))
def test_a_batch_has_its_shape_and_types(
    shape: tuple[int, int, int], n: int, seed: int
) -> None:
    _, batch, length = shape
    found = segment_batch(shape, n, seed)
    assert {name: (a.shape, a.dtype.name) for name, a in found.items()} == {
        "inputs": ((batch, length), "int32"),
        "targets": ((batch, length), "int32"),
        "resets": ((batch,), "bool"),
    }


@given(shapes, st.permutations(range(8)), st.integers(0, 99))
def test_a_batch_is_a_function_of_seed_and_number(
    shape: tuple[int, int, int], order: list[int], seed: int
) -> None:
    """Made in any order, or twice: the same."""
    in_order = [segment_batch(shape, n, seed) for n in range(8)]
    for n in order:
        assert_equal_batches(segment_batch(shape, n, seed), in_order[n])


@given(shapes, st.integers(0, 30))
def test_targets_are_true_successors(shape: tuple[int, int, int], n: int) -> None:
    """The end of the text never predicts its beginning."""
    batch = segment_batch(shape, n)
    np.testing.assert_array_equal(batch["targets"], batch["inputs"] + 1)
    assert batch["targets"].max() < shape[0]


@given(shapes, st.integers(0, 3))
def test_an_epoch_reads_everything(shape: tuple[int, int, int], epoch: int) -> None:
    """Every transition once, and no more twice than it takes to fill the last step."""
    size, batch, length = shape
    segments = steps_per_epoch(size, batch, length)
    inputs = [
        segment_batch(shape, epoch * segments + k)["inputs"] for k in range(segments)
    ]
    counts = np.bincount(np.ravel(inputs), minlength=size)
    assert counts[-1] == 0  # the last symbol has no successor
    assert counts[:-1].min() >= 1
    assert counts.sum() == segments * batch * length
    assert (segments - 1) * batch * length < size - 1


@given(shapes, st.integers(0, 3))
def test_lanes_go_on_where_they_stopped(
    shape: tuple[int, int, int], epoch: int
) -> None:
    """Within an epoch a row reads on; after the last transition comes the first."""
    size, batch, length = shape
    segments = steps_per_epoch(size, batch, length)
    first = epoch * segments
    inputs = [segment_batch(shape, first + k)["inputs"] for k in range(segments)]
    read = np.concatenate(inputs, axis=1).T
    np.testing.assert_array_equal(read[1:], (read[:-1] + 1) % (size - 1))
    ends, starts = read[-1], np.roll(read[0], -1)  # a row ends where the next began
    np.testing.assert_array_equal(starts[:-1], (ends[:-1] + 1) % (size - 1))


def test_epochs_and_seeds_begin_at_different_places() -> None:
    shape = (1000, 2, 5)
    segments = steps_per_epoch(*shape)
    by_epoch = {
        int(segment_batch(shape, k * segments)["inputs"][0, 0]) for k in range(20)
    }
    by_seed = {int(segment_batch(shape, 0, seed)["inputs"][0, 0]) for seed in range(20)}
    assert len(by_epoch) > 15
    assert len(by_seed) > 15


def fresh_share(reset_probability: float, *, first: bool) -> float:
    """The share of rows that are reset, over 50 epochs of 10 segments of 20 rows."""
    shape = (20 * 10 * 3 + 1, 20, 3)
    numbers = [n for n in range(50 * 10) if (n % 10 == 0) == first]
    found = [segment_batch(shape, n, 0, reset_probability)["resets"] for n in numbers]
    return float(np.mean(found))


@pytest.mark.parametrize("probability", [0.0, 0.02, 0.5])
def test_an_epoch_starts_from_the_zero_state(probability: float) -> None:
    assert fresh_share(probability, first=True) == 1


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.9])
def test_lanes_are_reset_as_often_as_asked(probability: float) -> None:
    """9000 draws: four standard deviations of their mean, sqrt(p (1 - p) / 9000)."""
    share = fresh_share(probability, first=False)
    allowed = 4 * (probability * (1 - probability) / 9000) ** 0.5
    assert abs(share - probability) < allowed


def test_without_resets_none_happen() -> None:
    assert fresh_share(0.0, first=False) == 0


def test_lanes_are_reset_independently() -> None:
    """Neither all rows at once nor the same ones every time."""
    shape = (2000, 8, 3)
    resets = np.array([segment_batch(shape, n, 0, 0.5)["resets"] for n in range(1, 60)])
    assert not (resets == resets[:, :1]).all(axis=1).all()
    assert not (resets == resets[:1]).all()


# Windows.


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 5))
def test_windows_predict_every_symbol_but_the_first_once(
    size: int, length: int, rows: int
) -> None:
    """In order, in batches of one shape; what fills them up is not counted."""
    batches = list(windows(np.arange(size, dtype=np.uint8), length, rows))
    for batch in batches:
        assert batch["inputs"].shape == batch["targets"].shape == (rows, length)
        assert batch["resets"].tolist() == [True] * rows
    inputs, targets = (
        np.concatenate([batch[name].ravel() for batch in batches])
        for name in ("inputs", "targets")
    )
    assert targets.tolist() == [*range(1, size)] + [IGNORED] * (len(targets) - size + 1)
    assert inputs[: size - 1].tolist() == [*range(size - 1)]
    assert len(targets) - size + 1 < length * rows  # no batch of nothing


@pytest.mark.parametrize(
    ("limit", "firsts"),
    [
        (None, list(range(10))),
        (10, list(range(10))),
        (99, list(range(10))),
        (1, [0]),
        (2, [0, 9]),
        (4, [0, 3, 6, 9]),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_limit_takes_windows_evenly(
    rows: int, limit: int | None, firsts: list[int]
) -> None:
    """Of ten windows of five; each is still a whole window."""
    ids = np.arange(51, dtype=np.uint8)
    batches = list(windows(ids, 5, rows, limit))
    targets = np.concatenate([batch["targets"] for batch in batches])
    counted = targets[targets[:, 0] != IGNORED]
    expected = [[5 * first + k + 1 for k in range(5)] for first in firsts]
    assert counted.tolist() == expected


# A seam in the training text.


@pytest.mark.parametrize("seam", [1, 2, 30, 58, 59])
def test_nothing_is_predicted_across_a_seam(seam: int) -> None:
    """Every transition but that one is read in an epoch, and no other."""
    ids = np.arange(60, dtype=np.uint8)
    batches = [
        tbptt_batch(ids, n, batch=3, length=4, seed=1, reset_probability=0.0, seam=seam)
        for n in range(steps_per_epoch(60, 3, 4))
    ]
    found = {
        pair
        for batch in batches
        for pair in zip(
            batch["inputs"].ravel().tolist(),
            batch["targets"].ravel().tolist(),
            strict=True,
        )
    }
    assert found == {(k, k + 1) for k in range(59)} - {(seam - 1, seam)}
