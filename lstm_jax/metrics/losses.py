"""Losses as sums and weights, never a mean of means.

A batch's loss is two numbers that can be added up over batches, devices and hosts: the
total over all counted positions, and how many there were. The mean is taken once, at
the end, so it does not depend on how the data were cut.
"""

import dataclasses
import math
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.data.special_ids import IGNORED
from lstm_jax.engines.padding import only_real
from lstm_jax.ops.argmax import argmax
from lstm_jax.typing import LabelLogits, Labels

Same = TypeVar("Same")
Total = Any  # an array: of JAX, or of NumPy once it is on the host


class Additive:
    """A pytree of totals: those of two parts of the data add up to those of both."""

    def __add__(self: Same, other: Same) -> Same:
        """Totals of both."""
        return jax.tree.map(jnp.add, self, other)


Totals = TypeVar("Totals", bound=Additive)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean(Additive):
    """A weighted mean in the making: a `total`, and the `weight` to divide it by."""

    total: Total
    weight: Total

    def value(self) -> float:
        """Divide: the mean over everything that was added up; NaN of nothing."""
        weight = float(self.weight)
        return float(self.total) / weight if weight else math.nan


class Metric(Protocol):
    """What a task may measure: totals that add up, and one number of them."""

    def __add__(self: Same, other: Same) -> Same:
        """Add the totals of other data."""
        ...

    def value(self) -> float:
        """Make the number of the totals."""
        ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossSums(Additive):
    """Named totals of a batch: what was measured, and what is to be minimized.

    `metrics` has "loss", a `Mean` in nats or whatever the task's loss is counted in,
    and whatever else the task measures, by name; a task that knows no right and wrong
    has no "accuracy". `penalty`, in units of the loss's total, is what the training
    objective adds to it; it is None where there is none, and in no report.
    """

    metrics: dict[str, Metric]
    penalty: Array | None = None

    @property
    def loss(self) -> Total:
        """The total loss."""
        return self._loss.total

    @property
    def count(self) -> Total:
        """What the total loss is divided by: how many positions were counted."""
        return self._loss.weight

    @property
    def _loss(self) -> Mean:
        loss = self.metrics["loss"]
        assert isinstance(loss, Mean)
        return loss

    def mean_loss(self) -> float:
        """Divide: the loss per counted position."""
        return self._loss.value()

    def values(self) -> dict[str, float]:
        """Make a number of every metric, by its name, the loss first."""
        names = dict.fromkeys(("loss", *self.metrics))  # compiled code sorts them
        return {name: self.metrics[name].value() for name in names}


def loss_sums(loss: Array, weight: Array | float, **means: Array) -> LossSums:
    """Name the totals of a batch that are all divided by the same weight.

    Args:
        loss: the total loss.
        weight: what it is divided by, the count of positions for one.
        means: totals of other metrics, by name.
    """
    totals, weight = {"loss": loss, **means}, jnp.asarray(weight)
    return LossSums({name: Mean(total, weight) for name, total in totals.items()})


def cross_entropy(
    logits: LabelLogits, targets: Labels, smoothing: float = 0.0
) -> LossSums:
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
    found = loss_sums(
        jnp.sum(jnp.where(counted, nats, 0)),
        # int32 is exact below 2^31; float32 would stop at 2^24, and no longer text
        # than that would be counted right.
        weight=jnp.sum(counted, dtype=jnp.int32),
        accuracy=jnp.sum(correct & counted, dtype=jnp.int32),
    )
    return dataclasses.replace(found, penalty=penalty)


def binary_cross_entropy(logits: Array, targets: Array, counted: Array) -> LossSums:
    """Bernoulli negative log-likelihood of several independent outputs, summed.

    Per counted position the sum over its K outputs of -ln p of what came, with
    p = sigmoid(logit): 88 keys of a piano, for one.

    Args:
        logits: [..., K].
        targets: [..., K], 0 or 1.
        counted: [...], True where a position counts; the others may hold anything.
    """
    logits = only_real(logits, counted).astype(jnp.float32)
    # -ln sigmoid(x) = softplus(-x), and of 1 - sigmoid(x) it is softplus(x).
    nats = jax.nn.softplus(jnp.where(targets > 0, -logits, logits)).sum(axis=-1)
    total = jnp.sum(jnp.where(counted, nats, 0))
    return loss_sums(total, jnp.sum(counted, dtype=jnp.int32))
