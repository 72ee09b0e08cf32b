"""How a text classifier is built and trained: flags, free of JAX."""

import dataclasses

from lstm_jax.config import Configuration, check_flags
from lstm_jax.data import Level


@dataclasses.dataclass(frozen=True)
class Recipe(Configuration):
    """A bidirectional LSTM on words or characters, several times over."""

    level: Level = "word"
    """What is read one by one: a word or a character."""
    symbols: int = 10_000
    """Different words or characters at most; the rarer ones are unknown."""
    features: int = 128
    """Numbers that stand for a word."""
    hidden: int = 32
    """Units of each layer, in each direction."""
    layers: int = 1
    """LSTM layers."""
    members: int = 3
    """Models trained side by side, whose probabilities are averaged."""
    dropout: float = 0.5
    """Share of activations dropped of words, between layers and before the softmax."""
    word_dropout: float = 0.4
    """Share of words that are not shown."""
    label_smoothing: float = 0.0
    """Share of each label spread evenly over all classes."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW), on matrices only."""
    learning_rate: float = 4e-3
    """Peak of the schedule: a short rise, then a linear decay to zero."""
    batch: int = 50
    """Texts per step."""


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe itself, if it makes sense.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    check_flags(
        recipe,
        counts=("features", "hidden", "layers", "members", "batch"),
        several=("symbols",),
        shares=("dropout", "word_dropout", "label_smoothing"),
        positive=("learning_rate",),
        amounts=("weight_decay",),
    )
    return recipe
