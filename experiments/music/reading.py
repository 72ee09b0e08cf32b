"""What a network of keys is shown of a piece at each step, all of it known by then.

The chord that sounds, those just before it, the place in the bar, and what came next
when the same chords or melody were last heard: chorales repeat themselves. NumPy only.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from experiments.music.data import KEYS, Piece, Roll, piano_roll
from lstm_jax.config import Configuration, Range
from lstm_jax.data import Batch

_VIEWS = (slice(None), slice(-1, None), slice(1))  # of a chord: all, top, bottom
_MATCHED = (1, 2, 3, 4, 6, 8)  # chords that were the same: at least so many
_MEMORY = 256  # steps in which they are looked for
_CACHED = 3072  # pieces of a usual length, by what has to be the same
_USUAL = 1024  # steps


@dataclasses.dataclass(frozen=True)
class Reading(Configuration):
    """What is shown at each step."""

    context: Annotated[int, Range(1, 64)] = 1
    """How many chords, the last ones."""
    beats: Annotated[int, Range(0, KEYS - 1)] = 0
    """The number of the step modulo this is told, too; 0 does not tell it."""
    echo: Annotated[int, Range(0, len(_VIEWS))] = 0
    """What came after the same chords before is shown, too, see `echoes`: 1 of whole
    chords, 2 of their highest notes besides, 3 of their lowest ones as well."""

    @property
    def width(self) -> int:
        """How many numbers that is."""
        chords = (self.context + self.echo) * KEYS
        return chords + self.echo * len(_MATCHED) + self.beats

    def inputs(self, piece: Piece, first: int = 0) -> Roll:
        """What is shown, [T, width]: chords, the newest first, the echo, the beat.

        Args:
            piece: [T] chords.
            first: the number of its first step.
        """
        parts = [shown(piano_roll(piece), self.context)]
        found = [echoes(piece, view) for view in range(self.echo)]
        parts += [each[:, :KEYS] for each in found]
        parts += [each[:, KEYS:] for each in found]
        if self.beats:
            places = np.arange(first, first + len(piece)) % self.beats
            parts.append(np.eye(self.beats, dtype=np.float32)[places])
        return np.concatenate(parts, axis=1)

    def newest(self, piece: Piece) -> Roll:
        """What is shown at a piece's last step, [1, width]."""
        first = max(0, len(piece) - max(self.context, _MEMORY + _MATCHED[-1]))
        return self.inputs(piece[first:], first)[-1:]


CHORD_ALONE = Reading()


def shown(roll: Roll, context: int) -> Roll:
    """What is shown at each step of a roll: its chord and those just before it.

    Args:
        roll: [T, 88].
        context: how many chords, with silence before the first one.

    Returns:
        [T, context times 88], the newest chord first.
    """
    padded = np.pad(roll, ((context - 1, 0), (0, 0)))
    last = context - 1
    views = [padded[last - k : last - k + len(roll)] for k in range(context)]
    return np.concatenate(views, axis=1)


def echoes(piece: Piece, view: int = 0) -> Roll:
    """What came next when the chords up to each step were heard before.

    Of the steps before, the one counts up to which most chords are the same, at most
    eight, and of several the last one.

    Args:
        piece: [T] chords.
        view: what has to be the same of them: 0 all notes, 1 the highest, 2 the lowest.

    Returns:
        [T, 88 + 6]: the chord after that step, silence if there is none; and whether at
        least 1, 2, 3, 4, 6 and 8 chords were the same.
    """
    find = _kept_echoes if len(piece) <= _USUAL else _echoes
    return find(piece, view).astype(np.float32)


def _echoes(piece: Piece, view: int) -> NDArray[np.uint8]:
    """See `echoes`; in bytes, for many are kept."""
    seen = [chord[_VIEWS[view]] for chord in piece]
    numbers: dict[tuple[int, ...], int] = {}
    ids = np.array([numbers.setdefault(chord, len(numbers)) for chord in seen])
    roll = piano_roll(piece)
    found = np.zeros((len(piece), KEYS + len(_MATCHED)), np.uint8)
    same = np.zeros(len(piece) + 1, int)  # chords up to each step, shifted by one
    for step in range(1, len(piece)):
        same[1 : step + 1] = (ids[:step] == ids[step]) * (same[:step] + 1)
        start = max(0, step - _MEMORY)
        counts = np.minimum(same[start + 1 : step + 1], _MATCHED[-1])
        place = step - 1 - int(np.argmax(counts[::-1]))
        most = counts.max()
        if most:
            found[step, :KEYS] = roll[place + 1]
            found[step, KEYS:] = most >= np.array(_MATCHED)
    return found


_kept_echoes = functools.lru_cache(_CACHED)(_echoes)


def roll_batch(
    pieces: Sequence[Piece], steps: int, reading: Reading = CHORD_ALONE
) -> Batch:
    """A batch for `multilabel_loss`: each chord is predicted from those before it.

    Args:
        pieces: a row each; one without chords is an empty row.
        steps: T, to which rows are padded: the longest piece's, less one.
        reading: what is shown at each step.
    """
    inputs = np.zeros((len(pieces), steps, reading.width), np.float32)
    targets = np.zeros((len(pieces), steps, KEYS), np.float32)
    lengths = np.array([max(0, len(piece) - 1) for piece in pieces], np.int32)
    for row, (piece, length) in enumerate(zip(pieces, lengths, strict=True)):
        if length:
            inputs[row, :length] = reading.inputs(piece)[:-1]
            targets[row, :length] = piano_roll(piece)[1:]
    return {"inputs": inputs, "targets": targets, "lengths": lengths}
