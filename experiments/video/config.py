"""How a network is built and trained: flags, free of JAX."""

import dataclasses
from typing import Annotated

from experiments.video.augment import AugmentConfig
from lstm_jax.config import (
    Amount,
    CellName,
    Configuration,
    OneOrMore,
    Positive,
    Range,
    Share,
)

MOST_FRAMES = 10_000


@dataclasses.dataclass(frozen=True)
class VideoConfig(Configuration):
    """A bidirectional LSTM on the joints of a body, several times over."""

    frames: Annotated[int, Range(2, MOST_FRAMES)] = 40
    """Frames that every sequence is resampled to."""
    hidden: OneOrMore = 64
    """Units of each layer, in each direction."""
    layers: OneOrMore = 2
    """Recurrent layers."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    members: OneOrMore = 4
    """Networks trained side by side, whose probabilities are averaged."""
    dropout: Share = 0.4
    """Share of activations dropped between layers and before the softmax."""
    input_dropout: Share = 0.1
    """Share of the numbers of a frame that are not shown."""
    label_smoothing: Share = 0.1
    """Share of each label spread evenly over all classes."""
    weight_decay: Amount = 0.01
    """Decoupled weight decay (AdamW), on matrices only."""
    learning_rate: Positive = 3e-3
    """Peak of the schedule: a short rise, then a linear decay to zero."""
    batch: OneOrMore = 32
    """Sequences per step."""
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    """How much they are varied."""
