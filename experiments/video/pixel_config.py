"""How networks on pixels are built and trained: flags, free of JAX."""

import dataclasses
from typing import Annotated

from lstm_jax.config import Configuration, OneOrMore, Positive, Range


@dataclasses.dataclass(frozen=True)
class PixelConfig(Configuration):
    """A ConvLSTM, and an LSTM on flat frames to be compared with."""

    channels: OneOrMore = 16
    """Channels of each ConvLSTM layer."""
    kernel: Annotated[int, Range(1, 31)] = 3
    """Pixels across that a gate looks at; an odd number."""
    units: OneOrMore = 256
    """Units of each layer of the LSTM on flat frames."""
    layers: OneOrMore = 2
    """Recurrent layers of both."""
    batch: OneOrMore = 8
    """Sequences per step."""
    steps: OneOrMore = 500
    """Optimizer steps of both."""
    learning_rate: Positive = 5e-3
    """Peak of the ConvLSTM's schedule: a short rise, then a linear decay to zero."""
    flat_learning_rate: Positive = 2e-3
    """The same of the LSTM."""
    tested: OneOrMore = 200
    """Sequences of the test."""
