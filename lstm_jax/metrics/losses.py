"""Losses as sums and weights, never a mean of means.

A batch's loss is two numbers that can be added up over batches, devices and hosts: the
total over all counted positions, and how many there were. The mean is taken once, at
the end, so it does not depend on how the data were cut.
"""

import dataclasses
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.engines.padding import only_real
from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import Labels, LabelScores

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

    `penalty`, in nats too, is what the training objective adds to the loss; it is None
    where there is none, and in no report.
    """

    loss: Array
    correct: Array
    count: Array
    penalty: Array | None = None

    def mean_loss(self) -> float:
        """Nats per counted position."""
        return float(self.loss) / float(self.count)

    def accuracy(self) -> float | None:
        """The share of counted positions where the highest score was the target's.

        None for a task that knows no right and wrong, whose `correct` is not a number.
        """
        share = float(self.correct) / float(self.count)
        return None if math.isnan(share) else share


def cross_entropy(logits: LabelScores, targets: Labels, smoothing: float = 0.0) -> Sums:
    """Categorical cross-entropy, -ln softmax(logits)[target], summed.

    Positions whose target is `IGNORED` count for nothing, whatever their logits are.
    Label smoothing (Szegedy et al. 2016) spreads a share of every target evenly over
    all symbols. What that changes is the `penalty`; the `loss` is the plain one.
    """
    counted = targets != IGNORED
    logits = only_real(logits, counted).astype(jnp.float32)
    symbols = jnp.arange(logits.shape[-1], dtype=targets.dtype)
    # A comparison instead of a gather: its gradient is no scatter.
    score = jnp.sum(jnp.where(symbols == targets[..., None], logits, 0), axis=-1)
    nats = jax.nn.logsumexp(logits, axis=-1) - score
    penalty = None
    if smoothing:
        evenly = nats + score - jnp.mean(logits, axis=-1)  # mean of -ln softmax
        penalty = smoothing * jnp.sum(jnp.where(counted, evenly - nats, 0))
    correct = argmax(logits) == targets
    return Sums(
        loss=jnp.sum(jnp.where(counted, nats, 0)),
        correct=jnp.sum(correct & counted, dtype=jnp.int32),
        count=jnp.sum(counted, dtype=jnp.int32),
        penalty=penalty,
    )
