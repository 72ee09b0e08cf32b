"""Batches of sequences of many lengths in a few shapes. NumPy only.

Every shape of a batch is a program to compile, and every place of padding is work for
nothing. So examples of similar lengths share a bucket, and the few buckets are cut
where the least is padded.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Examples that are padded to the same lengths.

    Attributes:
        shape: the longest of each of an example's sequences: (S, T) for two.
        members: the numbers of the examples.
    """

    shape: tuple[int, ...]
    members: np.ndarray


@dataclasses.dataclass(frozen=True)
class Picked:
    """One batch: which examples, padded to what. -1 stands for an empty row."""

    shape: tuple[int, ...]
    rows: np.ndarray


def make_buckets(lengths: np.ndarray, count: int) -> list[Bucket]:
    """Sort examples into at most `count` buckets, shortest first.

    Args:
        lengths: [N, sequences per example]; an example is as long as its longest.
        count: how many shapes there may be.

    Returns:
        The buckets, each shape at least as long in everything as the one before.
    """
    longest = lengths.max(axis=1)
    edges = cut_lengths(longest, count)
    place = np.searchsorted(edges, longest)
    buckets, shape = [], np.zeros(lengths.shape[1], int)
    for k in range(len(edges)):
        members = np.flatnonzero(place == k)
        shape = np.maximum(shape, lengths[members].max(axis=0))
        buckets.append(Bucket(tuple(shape.tolist()), members))
    return buckets


def cut_lengths(lengths: np.ndarray, count: int) -> list[int]:
    """The upper ends of at most `count` groups of lengths with the least padding.

    Dynamic programming over the distinct lengths: the best k groups of the shortest
    ones are the best k - 1 groups of fewer, and one group of the rest.
    """
    values, numbers = np.unique(lengths, return_counts=True)
    up_to = np.concatenate([[0], np.cumsum(numbers)])
    # cost[a, b]: the places that examples of values a to b - 1 take in one group.
    cost = (up_to[None, 1:] - up_to[:-1, None]) * values[None, :].astype(float)
    cost[np.tril_indices(len(values), -1)] = np.inf
    best, cuts = cost[0], []
    for _ in range(min(count, len(values)) - 1):
        ways = best[:-1, None] + cost[1:]  # [last of the groups before, last of all]
        cuts.append(np.argmin(ways, axis=0))
        best = np.minimum(best, ways.min(axis=0))
    return _walk_back(values, cost, cuts)


def _walk_back(
    values: np.ndarray, cost: np.ndarray, cuts: list[np.ndarray]
) -> list[int]:
    """The ends of the groups, from where each step found its best cut."""
    ends, last = [], len(values) - 1
    for cut in reversed(cuts):
        ends.append(last)
        last = int(cut[last])
    ends.append(last)
    return [int(values[end]) for end in reversed(ends)]


class BucketedBatches:
    """Batch n of a training that goes over all examples, epoch after epoch.

    Every example comes once an epoch. What does not fill a batch of its bucket goes
    into the next, wider one, so only the last batch of an epoch has empty rows; batches
    come in random order. Batch n is a function of (seed, n).

    Args:
        buckets: of `make_buckets`.
        rows: B, examples per batch.
        seed: decides the order.
    """

    def __init__(self, buckets: list[Bucket], rows: int, seed: int) -> None:
        examples = sum(len(bucket.members) for bucket in buckets)
        self.steps_per_epoch = -(-examples // rows)
        self._epoch = functools.lru_cache(maxsize=2)(
            functools.partial(pick_epoch, buckets, rows, seed)
        )

    def __call__(self, n: int) -> Picked:
        """Batch n."""
        epoch, place = divmod(n, self.steps_per_epoch)
        return self._epoch(epoch)[place]


def pick_epoch(buckets: list[Bucket], rows: int, seed: int, epoch: int) -> list[Picked]:
    """All batches of one epoch, see `BucketedBatches`."""
    random = np.random.default_rng([seed, epoch])
    batches, left_over = [], np.zeros(0, int)
    for bucket in buckets:
        members = np.concatenate([left_over, random.permutation(bucket.members)])
        whole = len(members) // rows * rows
        full = members[:whole].reshape(-1, rows)
        batches += [Picked(bucket.shape, some) for some in full]
        left_over = members[whole:]
    if len(left_over):
        empty = np.full(rows - len(left_over), -1)
        last = np.concatenate([left_over, empty])
        batches.append(Picked(buckets[-1].shape, last))
    order = random.permutation(len(batches))
    return [batches[k] for k in order]


def pad(
    sequences: Sequence[Sequence[int] | np.ndarray],
    rows: int,
    length: int,
    filling: int,
) -> np.ndarray:
    """Sequences of ids as one array [rows, length], filled up in both directions."""
    padded = np.full((rows, length), filling, np.int32)
    for row, sequence in zip(padded, sequences, strict=False):
        row[: len(sequence)] = sequence
    return padded


def pad_frames(
    rows: Sequence[np.ndarray], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows [T_b, D] of unlike length as one array.

    Args:
        rows: none longer than `length`.
        length: T.

    Returns:
        Frames [B, T, D], zeros where a row has ended, and the rows' lengths [B].
    """
    frames = np.zeros((len(rows), length, rows[0].shape[1]), np.float32)
    for place, row in zip(frames, rows, strict=True):
        place[: len(row)] = row
    return frames, np.array([len(row) for row in rows], np.int32)


_GRAIN = 8  # lengths are rounded up to a multiple of it


def length_buckets(sequences: Sequence[NDArray], count: int = 4) -> list[Bucket]:
    """Sequences of similar lengths together, in at most `count` shapes.

    Lengths are rounded up first, so that different parts of the same data, the folds of
    a cross-validation, nearly always make the same shapes and share their programs.
    """
    lengths = [max(1, -(-len(sequence) // _GRAIN)) * _GRAIN for sequence in sequences]
    return make_buckets(np.array(lengths)[:, None], count)
