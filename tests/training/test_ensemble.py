"""Stacked models learn what each would alone, and their chances are averaged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from lstm_jax.metrics.losses import cross_entropy
from lstm_jax.training.ensemble import (
    average_members,
    ensemble_loss,
    member_count,
    members_of,
    stack_members,
)
from lstm_jax.training.step import init_state, train_step
from lstm_jax.typing import Batch, Carry, Model, PRNGKey
from tests.helpers.reference_lstm import assert_close

MEMBERS = 3
BATCH = {
    "x": jnp.float32(np.random.default_rng(0).normal(size=(8, 4))),
    "y": jnp.array([0, 1, 1, 0, 1, 0, 0, 1]),
}


def build(key: PRNGKey) -> Model:
    return {"w": jax.random.normal(key, (4, 2))}


def loss(model: Model, carry: Carry, batch: Batch, key: PRNGKey | None) -> tuple:
    """A linear classifier, with noise on its inputs if there is a key."""
    xs = batch["x"]
    if key is not None:
        xs += jax.random.normal(key, xs.shape)
    return cross_entropy(xs @ model["w"], batch["y"]), carry


TOGETHER = ensemble_loss(loss)
together_loss = jax.jit(TOGETHER)
alone_loss = jax.jit(loss)


def member(models: Model, k: int) -> Model:
    return jax.tree.map(lambda array: array[k], models)


def test_members_are_the_models_of_their_keys() -> None:
    models = stack_members(build, jax.random.key(0), MEMBERS)
    assert member_count(models) == MEMBERS
    for k, key in enumerate(jax.random.split(jax.random.key(0), MEMBERS)):
        assert_close(member(models, k), build(key), 1e-6)


def test_the_loss_is_the_mean_of_the_members_losses() -> None:
    models = stack_members(build, jax.random.key(0), MEMBERS)
    for key in (None, jax.random.key(1)):
        keys = [None] * MEMBERS if key is None else list(jax.random.split(key, MEMBERS))
        alone = [
            alone_loss(member(models, k), (), BATCH, keys[k])[0] for k in range(MEMBERS)
        ]
        together, _ = together_loss(models, (), BATCH, key)
        assert_close(together.loss, np.mean([each.loss for each in alone]), 1e-6)
        correct = np.mean([each.metrics["accuracy"].total for each in alone])
        assert_close(together.metrics["accuracy"].total, correct, 1e-6)
        assert int(together.count) == 8


def test_training_together_is_training_alone() -> None:
    """Under Adam, to which a third of a gradient is as good as the whole."""
    optimizer = optax.scale_by_adam(eps=1e-12)
    models = stack_members(build, jax.random.key(0), MEMBERS)
    key = jax.random.key(2)
    rate = jnp.float32(0.1)
    state = init_state(models, optimizer, (), key)
    alone = [
        init_state(member(models, k), optimizer, jnp.int32(k), key)
        for k in range(MEMBERS)
    ]

    def own(model: Model, k: Array, batch: Batch, key: PRNGKey) -> tuple:
        """The loss of member k, which is the carry, with its own noise."""
        return loss(model, k, batch, jax.random.split(key, MEMBERS)[k])

    step = jax.jit(train_step, static_argnums=(0, 1))
    for _ in range(5):
        state, _ = step(TOGETHER, optimizer, state, BATCH, rate)
        alone = [step(own, optimizer, each, BATCH, rate)[0] for each in alone]
    for k in range(MEMBERS):
        assert_close(member(state.model, k), alone[k].model, 1e-4)
    assert np.abs(state.model["w"][0] - state.model["w"][1]).max() > 0.01


def test_probabilities_are_averaged_not_scores() -> None:
    logits = np.array([[[9.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.log(chances.mean(axis=0))
    assert_close(average_members(jnp.float32(logits)), expected, 1e-6)
    assert expected.argmax() == 0  # whereas two of three say 1


def test_members_are_the_models_that_were_stacked() -> None:
    built = [{"w": jnp.full(3, float(k))} for k in range(4)]
    found = members_of(jax.tree.map(lambda *each: jnp.stack(each), *built))
    jax.tree.map(np.testing.assert_array_equal, found, built)
