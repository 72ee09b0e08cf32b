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

    # These defaults are those of former runs, whose records lack some of the fields.
    level: Level = "word"
    """Unit of text that the model reads: words or characters."""
    symbols: Annotated[int, Range(2, MOST, "2 or more")] = 10_000
    """Vocabulary size; rarer words or characters become one unknown symbol."""
    features: OneOrMore = 128
    """Width of the embeddings."""
    hidden: OneOrMore = 32
    """Units per layer and direction."""
    layers: OneOrMore = 1
    """Recurrent layers."""
    cell: CellName = "lstm"
    """Recurrent cell."""
    members: OneOrMore = 3
    """Ensemble size; the members are trained together and their probabilities
    averaged."""
    dropout: Share = 0.5
    """Dropout rate on embeddings, between layers and before the softmax."""
    word_dropout: Share = 0.4
    """Fraction of input words dropped in training."""
    bayes: Share = 0.0
    """Weight of a naive Bayes classifier on words and word pairs, mixed into the log
    probabilities of the classes; 0 disables it."""
    ngrams: Share = 0.0
    """Weight of a linear model of words, word pairs and character n-grams, mixed into
    the log probabilities of the classes; 0 disables it."""
    ratios: bool = False
    """Feed the networks, beside the embedding of each word, the log-count ratios of the
    classes for the word, for the word pair it ends and for its character n-grams;
    leave-one-out in training."""
    label_smoothing: Share = 0.0
    """Label smoothing: share of each target spread evenly over all classes."""
    weight_decay: Amount = 0.0
    """Decoupled weight decay (AdamW), applied to matrices only."""
    learning_rate: Positive = 4e-3
    """Peak learning rate, after a short warm-up and before a linear decay to zero."""
    batch: OneOrMore = 50
    """Texts per optimizer step."""


# Of a new run. Chosen by inner folds of the first fold's training part, see
# docs/results.md.
RECIPE = ClassifierConfig(features=32, ngrams=0.5, ratios=True)
