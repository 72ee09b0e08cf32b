"""How a text classifier is built and trained: flags, free of JAX."""

import dataclasses
from typing import Annotated

from lstm_jax.config import (
    MOST,
    Amount,
    CellName,
    Configuration,
    OneOrMore,
    Positive,
    Range,
    Share,
)
from lstm_jax.data import Level


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(Configuration):
    """A bidirectional LSTM on words or characters, several times over."""

    level: Level = "word"
    """What is read one by one: a word or a character."""
    symbols: Annotated[int, Range(2, MOST, "2 or more")] = 10_000
    """Different words or characters at most; the rarer ones are unknown."""
    features: OneOrMore = 128
    """Numbers that stand for a word."""
    hidden: OneOrMore = 32
    """Units of each layer, in each direction."""
    layers: OneOrMore = 1
    """Recurrent layers."""
    cell: CellName = "lstm"
    """What a layer repeats over time."""
    members: OneOrMore = 3
    """Models trained side by side, whose probabilities are averaged."""
    dropout: Share = 0.5
    """Share of activations dropped of words, between layers and before the softmax."""
    word_dropout: Share = 0.4
    """Share of words that are not shown."""
    bayes: Share = 0.0
    """Weight of naive Bayes, on words and pairs of words, in the log-probabilities of
    the classes; 0 leaves it out."""
    label_smoothing: Share = 0.0
    """Share of each label spread evenly over all classes."""
    weight_decay: Amount = 0.0
    """Decoupled weight decay (AdamW), on matrices only."""
    learning_rate: Positive = 4e-3
    """Peak of the schedule: a short rise, then a linear decay to zero."""
    batch: OneOrMore = 50
    """Texts per step."""
