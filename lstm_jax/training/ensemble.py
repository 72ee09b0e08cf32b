"""Several models of one shape, trained side by side in one program.

Stacked along a leading axis, the members are one pytree, and `jax.vmap` makes of a
model's loss that of all of them. They differ in their first parameters and in their
noise, read the same batches, and never meet before their probabilities are averaged.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from lstm_jax.metrics.losses import LossSums, Mean, Metric
from lstm_jax.training.step import Loss
from lstm_jax.typing import Batch, Carry, Model, PRNGKey


def stack_members(
    build: Callable[[PRNGKey], Model], key: PRNGKey, members: int
) -> Model:
    """The models that `build` makes of different keys, stacked."""
    return jax.lax.map(build, jax.random.split(key, members))


def member_count(models: Model) -> int:
    """How many models were stacked."""
    return len(jax.tree.leaves(models)[0])


def members_of(models: Model) -> list[Model]:
    """The models that were stacked."""
    return [
        jax.tree.map(lambda array, k=k: array[k], models)
        for k in range(member_count(models))
    ]


def ensemble_loss(loss: Loss) -> Loss:
    """The loss of stacked models: the mean over members of what `loss` says of one.

    The members' gradients are those they would have alone, divided by their number, to
    which Adam is indifferent; a norm to clip to is that of all of them. The reported
    accuracy is the members' own, not that of their average. All metrics have to be a
    `Mean`, of the same weight for every member.
    """

    def mean_of_members(
        models: Model, carry: Carry, batch: Batch, key: PRNGKey | None
    ) -> tuple[LossSums, Carry]:
        members = member_count(models)
        keys = None if key is None else jax.random.split(key, members)
        axes = (0, 0, None, None if key is None else 0)
        sums, carry = jax.vmap(loss, in_axes=axes)(models, carry, batch, keys)
        means: dict[str, Metric] = {}
        for name, metric in sums.metrics.items():
            assert isinstance(metric, Mean)
            means[name] = Mean(metric.total.mean(axis=0), metric.weight[0])
        penalty = None if sums.penalty is None else sums.penalty.mean(axis=0)
        return LossSums(means, penalty), carry

    return mean_of_members


def average_members(logits: Array) -> Array:
    """The mean of the members' probabilities, as logarithms.

    Args:
        logits: what each member says, before a softmax, [members, ..., classes].

    Returns:
        ln of the mean probability, [..., classes]: logits of the ensemble.
    """
    logs = jax.nn.log_softmax(logits)
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(len(logits))
