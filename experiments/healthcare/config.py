"""How a network of the risk is built and trained: flags, free of JAX."""

import dataclasses
from typing import Annotated, Literal

from lstm_jax.config import (
    Amount,
    CellName,
    Configuration,
    OneOrMore,
    Positive,
    Range,
    Share,
)


@dataclasses.dataclass(frozen=True)
class RiskConfig(Configuration):
    """A forward LSTM with a readout after every step, several times over."""

    hours: Annotated[int, Range(1, 48, "1 to 48")] = 2
    """Width of a step. The last one may be shorter."""
    hidden: OneOrMore = 32
    """Units of each layer."""
    layers: OneOrMore = 1
    """Recurrent layers."""
    cell: CellName | Literal["decay"] = "decay"
    """Recurrent cell; decay is an LSTM whose memory fades with the time since the last
    observation."""
    members: OneOrMore = 5
    """Networks trained side by side, whose probabilities are averaged."""
    input_dropout: Share = 0.2
    """Share of the inputs not shown, the same ones at all steps of a stay."""
    dropout: Share = 0.3
    """Share of activations dropped between layers and before the readout."""
    weight_decay: Amount = 0.02
    """Decoupled weight decay (AdamW), on matrices only."""
    learning_rate: Positive = 3e-3
    """Peak of the schedule: a short rise, then a linear decay to zero."""
    batch: OneOrMore = 64
    """Stays per step."""
