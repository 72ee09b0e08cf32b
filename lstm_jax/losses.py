"""Losses as sums and weights, never a mean of means.

A batch's loss is two numbers that can be added up over batches, devices and hosts: the
total over all counted positions, and how many there were. The mean is taken once, at
the end, so it does not depend on how the data were cut.
"""

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.data import IGNORED
from lstm_jax.notation import Labels, LabelScores

Same = TypeVar("Same")


class Additive:
    """A pytree of totals: those of two parts of the data add up to those of both."""

    def __add__(self: Same, other: Same) -> Same:
        """Totals of both."""
        return jax.tree.map(jnp.add, self, other)


Totals = TypeVar("Totals", bound=Additive)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sums(Additive):
    """Totals over counted positions: `loss` in nats, `correct` and `count`.

    The counts of `cross_entropy` are int32, exact below 2^31; float32 would stop at
    2^24, and no longer text than that was counted right.
    """

    loss: Array
    correct: Array
    count: Array

    def mean_loss(self) -> float:
        """Nats per counted position."""
        return float(self.loss) / float(self.count)

    def accuracy(self) -> float:
        """The share of counted positions where the highest score was the target's."""
        return float(self.correct) / float(self.count)


def cross_entropy(logits: LabelScores, targets: Labels) -> Sums:
    """Categorical cross-entropy, -ln softmax(logits)[target], summed.

    Positions whose target is `IGNORED` count for nothing.
    """
    logits = logits.astype(jnp.float32)
    counted = targets != IGNORED
    symbols = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    # A comparison instead of a gather: its gradient is no scatter.
    score = jnp.sum(jnp.where(symbols == targets[..., None], logits, 0), axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - score
    correct = jnp.argmax(logits, axis=-1) == targets
    return Sums(
        loss=jnp.sum(jnp.where(counted, nats, 0)),
        correct=jnp.sum(correct & counted, dtype=jnp.int32),
        count=jnp.sum(counted, dtype=jnp.int32),
    )
