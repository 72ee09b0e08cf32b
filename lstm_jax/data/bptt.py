"""Batches for truncated back-propagation through time. NumPy only.

Training reads the ids in *rows*: the text is cut into B long stretches, read side by
side in segments of T symbols. The model carries its state from segment to segment, so
what it learned to remember is of use. Batch n is a function of (seed, n) and of
nothing else, so any run can be taken up at any step.
"""

from collections.abc import Iterator

import numpy as np

from lstm_jax.data.special_ids import IGNORED

Batch = dict[str, np.ndarray]


def steps_per_epoch(symbols: int, batch: int, length: int) -> int:
    """How many segments of `length` it takes `batch` rows to read every symbol."""
    return -(-(symbols - 1) // (batch * length))


def tbptt_batch(
    ids: np.ndarray,
    n: int,
    *,
    batch: int,
    length: int,
    seed: int,
    reset_probability: float,
    seam: int | None = None,
    rows: slice = slice(None),
) -> Batch:
    """Batch n of training: a function of (seed, n).

    The rows lie end to end on the text, which is taken as a ring, and every epoch
    starts at another place. Each target is the true successor of its input: the end
    of the text never predicts its beginning.

    Args:
        ids: the training text.
        n: which batch, counted from 0 over all epochs.
        batch: B, the number of rows.
        length: T, the symbols of a segment.
        seed: of the run.
        reset_probability: the chance of a row to start this segment from the zero
            state. Without it a model that always carries its state never learns to
            begin, and is lost from the zero state.
        seam: see `Corpus`. The rows step over it: no target is false.
        rows: only these of the B rows.

    Returns:
        `inputs` and `targets` [B, T], and `resets` [B]: rows that start from zero.
    """
    segments = steps_per_epoch(len(ids), batch, length)
    epoch, segment = divmod(n, segments)
    ring = len(ids) - 1 - (seam is not None)  # transitions: input k predicts k + 1
    origin = np.random.default_rng([seed, epoch]).integers(ring)
    row = np.arange(batch)[rows] * segments * length
    place = origin + row[:, None] + segment * length + np.arange(length)
    place %= ring
    if seam is not None:
        place += place >= seam - 1  # the symbol before the seam predicts nothing
    chance = np.random.default_rng([seed, epoch, segment]).random(batch)[rows]
    resets = chance < (1 if segment == 0 else reset_probability)
    return {
        "inputs": ids[place].astype(np.int32),
        "targets": ids[place + 1].astype(np.int32),
        "resets": resets,
    }


def windows(
    ids: np.ndarray, length: int, rows: int, limit: int | None = None
) -> Iterator[Batch]:
    """Cut a text into consecutive windows, `rows` at a time, for evaluation.

    Every symbol but the first is a target once. The last window is filled up with
    IGNORED targets and the last batch with empty windows, so all shapes are equal.

    Args:
        ids: the text.
        length: symbols per window.
        rows: windows per batch.
        limit: take only so many windows, evenly spread over the text.

    Yields:
        `inputs` and `targets` [rows, length], and `resets` [rows], all True.
    """
    end = len(ids) - 1
    starts = np.arange(0, end, length)
    if limit is not None and limit < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit).astype(int)]
    starts = np.pad(starts, (0, -len(starts) % rows), constant_values=end)
    for some in starts.reshape(-1, rows):
        place = some[:, None] + np.arange(length)
        inside = place < end
        place = np.where(inside, place, 0)
        yield {
            "inputs": ids[place].astype(np.int32),
            "targets": np.where(inside, ids[place + 1].astype(np.int32), IGNORED),
            "resets": np.ones(rows, bool),
        }
