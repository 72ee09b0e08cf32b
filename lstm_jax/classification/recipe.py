"""How a text classifier is built and trained: flags, free of JAX."""

import dataclasses
import math

from lstm_jax.classification.words import Level
from lstm_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Recipe:
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
    epochs: int = 6
    """Passes over the texts."""
    seed: int = 0
    """Decides every random draw."""


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe itself, if it makes sense.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    counts = ("features", "hidden", "layers", "members", "batch", "epochs")
    shares = ("dropout", "word_dropout", "label_smoothing")
    for names, expected, holds in (
        (counts, "1 or more", lambda value: value >= 1),
        (("symbols",), "2 or more", lambda value: value >= 2),
        (shares, "a number in [0, 1)", lambda value: 0 <= value < 1),
        (("learning_rate",), "a positive number", lambda value: 0 < value < math.inf),
        (("weight_decay",), "0 or more", lambda value: 0 <= value < math.inf),
        (("seed",), "0 to 4294967295", lambda value: 0 <= value < 2**32),
    ):
        for name in names:
            value = getattr(recipe, name)
            if not holds(value):
                flag = name.replace("_", "-")
                raise InputError(f"--{flag}: expected {expected}, found {value}")
    return recipe
