"""How a detector is built and trained: flags, free of JAX."""

import dataclasses

from lstm_jax.config import Amount, CellName, Configuration, OneOrMore, Positive, Share


@dataclasses.dataclass(frozen=True)
class DetectorConfig(Configuration):
    """An LSTM that says how the next point is distributed."""

    hidden: OneOrMore = 32
    """Units of each layer."""
    layers: OneOrMore = 1
    """Recurrent layers."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    parts: OneOrMore = 3
    """Distributions that are mixed."""
    dropout: Share = 0.0
    """Share of activations dropped between layers."""
    weight_decay: Amount = 1e-3
    """Decoupled weight decay (AdamW), on matrices only."""
    learning_rate: Positive = 5e-3
    """Peak of the schedule: a short rise, then a linear decay to zero."""
    rows: OneOrMore = 32
    """Stretches of series per step."""
    length: OneOrMore = 256
    """Points of a stretch."""
    steps: OneOrMore = 300
    """Optimizer steps, unless --epochs says how many."""
    false_alarms: Positive = 5.0
    """An alarm is a point so strange that a series as long has fewer such points by
    chance than this. More alarms: a greater number."""
