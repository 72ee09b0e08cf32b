"""From sounds to transcripts: what a transcriber needs around it."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from lstm_jax.audio import MelBands, log_mel, normalize, pad_frames, stack_frames
from lstm_jax.models.transcribe import Transcriber, symbol_scores

_ROWS = 64  # sounds that are read side by side
_STEP = 32  # lengths are rounded up to this, so that few programs are compiled


@dataclasses.dataclass(frozen=True)
class Ear:
    """How sounds become the frames of a transcriber.

    `stack` spectrogram frames side by side make one frame of the network.
    """

    bands: MelBands = MelBands()
    stack: int = 4

    @property
    def features(self) -> int:
        """D, the width of a frame."""
        return self.stack * self.bands.bands

    @property
    def seconds(self) -> float:
        """From frame to frame."""
        return self.stack * self.bands.hop / self.bands.rate

    def spectrogram(
        self, samples: np.ndarray, filters: np.ndarray | None = None
    ) -> np.ndarray:
        """The normalised spectrogram [T, M] of a sound [N] at the rate of the bands."""
        return normalize(log_mel(samples, self.bands, filters))

    def stacked(self, spectrogram: np.ndarray) -> np.ndarray:
        """The frames [T', D] of a spectrogram [T, M]."""
        return stack_frames(spectrogram, self.stack)


@dataclasses.dataclass(frozen=True)
class Heard:
    """Of one sound: CTC scores [T, V], and log P of each one-symbol transcript [V - 1]."""

    scores: np.ndarray
    symbols: np.ndarray


def hear(model: Transcriber, ear: Ear, sounds: Sequence[np.ndarray]) -> list[Heard]:
    """What the model makes of each sound [N], in their order.

    Sounds of like length are read together.
    """
    order = sorted(range(len(sounds)), key=lambda k: len(sounds[k]))
    heard: dict[int, Heard] = {}
    for start in range(0, len(order), _ROWS):
        some = order[start : start + _ROWS]
        rows = [ear.stacked(ear.spectrogram(sounds[k])) for k in some]
        rows += [rows[0]] * (_ROWS - len(rows))  # one shape for all
        longest = -(-max(map(len, rows)) // _STEP) * _STEP
        frames, lengths = pad_frames(rows, longest)
        scores, symbols = jax.device_get(_read(model, frames, lengths))
        for row, k in enumerate(some):
            heard[k] = Heard(scores[row, : lengths[row]], symbols[row])
    return [heard[k] for k in range(len(sounds))]


@jax.jit
def _read(
    model: Transcriber, frames: jax.Array, lengths: jax.Array
) -> tuple[jax.Array, jax.Array]:
    scores = model(frames, lengths)
    return scores, symbol_scores(scores, lengths)
