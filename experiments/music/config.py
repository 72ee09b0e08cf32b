"""How a network for music is built and trained: flags, free of JAX."""

import dataclasses
from typing import Annotated, Literal, NamedTuple

from experiments.music.midi import KEYS
from lstm_jax.config import (
    Amount,
    CellName,
    Configuration,
    Fraction,
    OneOrMore,
    Positive,
    Range,
    Share,
    ZeroOrMore,
)

Outputs = Literal["keys", "chords"]
Semitones = Annotated[int, Range(0, 12)]


class Chosen(NamedTuple):
    """What suits keys or chords best, unless it was given."""

    hidden: int
    dropout: float
    learning_rate: float
    batch: int


_USUAL: dict[Outputs, Chosen] = {
    "keys": Chosen(hidden=64, dropout=0.3, learning_rate=6e-3, batch=4),
    "chords": Chosen(hidden=200, dropout=0.5, learning_rate=8e-3, batch=16),
}


@dataclasses.dataclass(frozen=True)
class MusicConfig(Configuration):
    """One network, or several side by side, and how they learn."""

    outputs: Outputs = "keys"
    """keys: 88 independent probabilities per step, as the published numbers are
    counted. chords: note after note of a chord, the highest first, each given those
    above it."""
    hidden: OneOrMore | None = None
    """Units of each layer. Default: 64; of chords 200."""
    layers: OneOrMore = 1
    """Recurrent layers."""
    context: Annotated[int, Range(1, 64)] = 1
    """Chords that are shown at each step, the last ones; of keys alone."""
    beats: Annotated[int, Range(0, KEYS - 1)] = 0
    """Tell at each step its number modulo this, 4 or 16 for one; 0 does not. Of keys
    alone."""
    echo: Annotated[int, Range(0, 3)] = 0
    """Show at each step what came next when the last chords were heard before: 1 does
    so for whole chords, 2 for their highest notes too, 3 for their lowest ones as well.
    Of keys alone."""
    key_units: ZeroOrMore = 0
    """Units of a layer that every key has, with the same weights, and that reads what
    stands around the key; 0 for none. Of keys alone."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    members: OneOrMore = 1
    """Networks trained side by side, whose probabilities are averaged."""
    dropout: Share | None = None
    """Share of activations dropped between layers and before the readout. Default:
    0.3; of chords 0.5."""
    input_dropout: Share = 0.1
    """Share of what is read that is dropped: of keys, or of notes."""
    weight_drop: Share = 0.3
    """Share of recurrent weights dropped, the same all through a step (DropConnect)."""
    transposed: Fraction = 0.0
    """Share of the pieces that are read in another key in training."""
    semitones: Semitones = 5
    """How far they are moved at most, up or down."""
    learning_rate: Positive | None = None
    """Peak of the schedule: a short rise, then a linear decay to zero.
    Default: 0.006; of chords 0.008."""
    weight_decay: Amount = 0.0
    """Decoupled weight decay (AdamW), on matrices only."""
    ema: Share = 0.0
    """Decay of the running average of the weights that is kept; 0 keeps the weights."""
    batch: OneOrMore | None = None
    """Pieces per step. Default: 4; of chords 16."""

    @property
    def chosen(self) -> Chosen:
        """What was given of it, and the rest by what is written: keys or chords."""
        given = {name: getattr(self, name) for name in Chosen._fields}
        known = {name: value for name, value in given.items() if value is not None}
        return _USUAL[self.outputs]._replace(**known)
