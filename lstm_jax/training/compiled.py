"""Compiled forms of a training step, kept so that a shape is compiled once."""

import functools
import time
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from lstm_jax.distributed.bounded import compilation_is_off, take_turns
from lstm_jax.distributed.mesh import gathered, mesh_of_parts
from lstm_jax.metrics.losses import LossSums
from lstm_jax.training.step import Loss, TrainState, train_steps
from lstm_jax.typing import Batch, Carry, Model, PRNGKey

Advance = Callable[..., Any]  # train_steps, or without its first two arguments


class CompiledSteps:
    """K steps of one loss and one optimizer as programs, one for each shape of batches.

    Folds, seeds and batches of several lengths share them. A program hands back the
    state in the place it came from.

    Args:
        loss: the task.
        optimizer: of `make_optimizer`.
        steps: `train_steps`, or what is called like it.
    """

    def __init__(
        self,
        loss: Loss,
        optimizer: optax.GradientTransformation,
        steps: Advance = train_steps,
    ) -> None:
        self.optimizer = optimizer
        self.loss = loss
        self._steps = steps
        self._compiled: dict[Hashable, Advance] = {}

    def for_shapes(self, state: TrainState, batches: Batch) -> tuple[Advance, float]:
        """The program for batches like these, stacked along a leading axis K.

        Returns:
            The program, and the seconds that compiling it took, 0 if it was there.
        """
        key = (_description(state), _description(batches))
        if key in self._compiled:
            return self._compiled[key], 0.0
        started = time.perf_counter()
        self._compiled[key] = self._compile(state, batches)
        return self._compiled[key], time.perf_counter() - started

    def _compile(self, state: TrainState, batches: Batch) -> Advance:
        places = jax.tree.map(lambda array: array.sharding, state)
        mesh = mesh_of_parts(state.model)
        loss = self.loss if mesh is None else _on_whole_models(self.loss, mesh)
        steps = functools.partial(self._steps, loss, self.optimizer)
        steps = jax.numpy_rank_promotion("allow")(steps)
        program = jax.jit(steps, donate_argnums=0, out_shardings=(places, None))
        if compilation_is_off():  # nothing is compiled ahead of its call then
            return take_turns(program)
        rates = np.zeros(len(jax.tree.leaves(batches)[0]), np.float32)
        return take_turns(program.lower(state, batches, rates, np.int32(0)).compile())


def _on_whole_models(loss: Loss, mesh: Mesh) -> Loss:
    """A loss that puts the parts of its model together first.

    So they travel once per step, as do their gradients. Left to itself, XLA may cut the
    product inside the loop over time instead, and exchange parts at every time step.
    """

    def whole(
        model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
    ) -> tuple[LossSums, Carry]:
        return loss(gathered(mesh, model), carry, batch, key)

    return whole


def _description(tree: object) -> Hashable:
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((a.shape, a.dtype, a.sharding) for a in leaves)
