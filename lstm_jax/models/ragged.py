"""Networks over sounds of any length: rows that are padded, read together, and cut."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from lstm_jax.data.buckets import pad_frames
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel

_ROWS = 64  # that are read side by side
_STEP = 64  # lengths are rounded up to this, so that few programs are compiled


def score_frames(model: CTCModel, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """CTC logits [T, V] of each row of frames [T, D]."""
    found = _outputs(_transcribe, model, rows)
    return [logits[: len(row)] for logits, row in zip(found, rows, strict=True)]


def score_classes(model: SequenceClassifier, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Scores [N, C] of the class of each row of frames [T, D]."""
    return np.stack(_outputs(_classify, model, rows))


def _outputs(
    read: Callable[[Any, np.ndarray, np.ndarray], jax.Array],
    model: object,
    rows: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """What a model says of each row, in their order."""
    found: dict[int, np.ndarray] = {}
    for some in _alike(rows):
        chosen = [rows[k] for k in some]
        if len(rows) > 1:
            chosen += [chosen[0]] * (_ROWS - len(chosen))  # one shape for all
        longest = -(-max(map(len, chosen)) // _STEP) * _STEP
        outputs = np.asarray(read(model, *pad_frames(chosen, longest)))
        found |= dict(zip(some, outputs, strict=False))
    return [found[k] for k in range(len(rows))]


def _alike(rows: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """The numbers of the rows, those of like length together."""
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    for start in range(0, len(order), _ROWS):
        yield order[start : start + _ROWS]


@bounded_jit
def _transcribe(model: CTCModel, frames: jax.Array, lengths: jax.Array) -> jax.Array:
    return model(frames, lengths)


@bounded_jit
def _classify(
    model: SequenceClassifier, frames: jax.Array, lengths: jax.Array
) -> jax.Array:
    return model(frames, lengths)
