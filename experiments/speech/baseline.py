"""The classical recogniser: which template is a sequence most like? NumPy only.

All sequences are stretched to one length, as speech recognisers did before they could
align: it is the least that a network has to beat.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

_MOMENTS = 16  # of a stretched sequence


@dataclasses.dataclass(frozen=True)
class Templates:
    """Known sequences as `vectors` of length 1, [N, 16 D], and their `classes`, [N]."""

    vectors: np.ndarray
    classes: np.ndarray

    def nearest(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """The class of the template most like each row [T, D], by cosine."""
        found = np.stack([stretched(row) for row in rows])
        return self.classes[(found @ self.vectors.T).argmax(axis=1)]


def make_templates(rows: Sequence[np.ndarray], classes: np.ndarray) -> Templates:
    """Templates of rows [T, D], whose classes are known."""
    return Templates(np.stack([stretched(row) for row in rows]), np.asarray(classes))


def stretched(row: np.ndarray) -> np.ndarray:
    """A sequence [T, D] at 16 moments evenly spread over it, scaled to length 1."""
    moments = np.linspace(0, len(row) - 1, _MOMENTS)
    places = np.arange(len(row))
    vector = np.concatenate([np.interp(moments, places, track) for track in row.T])
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
