"""One optimizer step, and many of them in one compiled call. All pure functions.

Everything a run knows is in `TrainState`, handed in and handed back. The file knows no
task: a loss is a function `(model, carry, batch, key) -> (LossSums, carry)`.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.experimental.layout import Layout, with_layout_constraint

from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.engines.devices import on_gpu
from lstm_jax.metrics.losses import LossSums
from lstm_jax.training.optimizer import EmaState
from lstm_jax.typing import Batch, Carry, Count, Model, PRNGKey, Scalar

Loss = Callable[[Model, Carry, Batch, PRNGKey | None], tuple[LossSums, Carry]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a training step reads and writes.

    `step` counts optimizer steps taken; `key` is never consumed: step n draws from
    `fold_in(key, n)`, so that a resumed run draws what the first would have drawn.
    """

    step: Array
    model: Model
    optimizer: optax.OptState
    carry: Carry
    key: Array

    @property
    def has_ema(self) -> bool:
        """Whether there is an exponential moving average (EMA) of the model."""
        return isinstance(_last_link(self.optimizer), EmaState)

    @property
    def eval_model(self) -> Model:
        """The model to be used: its EMA if there is one."""
        last = _last_link(self.optimizer)
        return last.average if isinstance(last, EmaState) else self.model


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepReport:
    """What a step measured: the batch's `sums`, and the gradient's norm."""

    sums: LossSums
    gradient_norm: Array


def _last_link(optimizer: optax.OptState) -> object:
    """The state of the last part of a chain."""
    return optimizer[-1] if isinstance(optimizer, tuple) and optimizer else None


def init_state(
    model: Model, optimizer: optax.GradientTransformation, carry: Carry, key: PRNGKey
) -> TrainState:
    """The state before the first step."""
    return TrainState(jnp.int32(0), model, optimizer.init(model), carry, key)


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    learning_rate: Scalar,
) -> tuple[TrainState, StepReport]:
    """One gradient step on the mean loss of the batch, in nats, and its penalty."""

    def mean_loss(model: Model) -> tuple[Array, tuple[LossSums, Carry]]:
        key = jax.random.fold_in(state.key, state.step)
        sums, carry = loss(model, state.carry, batch, key)
        total, weight = sums.loss, sums.count
        total = total if sums.penalty is None else total + sums.penalty
        plain = dataclasses.replace(sums, penalty=None)
        return total / jnp.maximum(weight, 1), (plain, carry)

    gradient, (sums, carry) = jax.grad(mean_loss, has_aux=True)(state.model)
    gradient = _laid_out_as_parameters(gradient)
    direction, optimizer_state = optimizer.update(
        gradient, state.optimizer, state.model
    )
    model = jax.tree.map(
        lambda w, d: (w - learning_rate * d).astype(w.dtype), state.model, direction
    )
    norm = optax.tree.norm(gradient).astype(_kind_of_norm(state.model))
    report = StepReport(sums, norm)
    return TrainState(state.step + 1, model, optimizer_state, carry, state.key), report


def _laid_out_as_parameters(gradient: Model) -> Model:
    """Pin the gradient's memory to the order of its axes, on a GPU.

    XLA would have products that are weight gradients written with their axes turned
    round, and therefore the parameters too: it turns them and the optimizer's state at
    both ends of every call, and a row of a table is read across the grain.
    """
    if not on_gpu():
        return gradient

    def pinned(array: Array) -> Array:
        return with_layout_constraint(array, Layout(tuple(range(array.ndim))))

    return jax.tree.map(lambda a: pinned(a) if a.ndim > 1 else a, gradient)


def train_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batches: Batch,
    learning_rates: Array,
    count: Count,
) -> tuple[TrainState, StepReport]:
    """The first `count` of K steps: batch k at learning rate k, all in one program.

    One call for many steps allocates its working memory once and dispatches once. A
    step whose loss or gradient is not finite is not taken, and none after it: the state
    that comes back is the one before, and says by its `step` how many were taken.

    Args:
        loss: the task.
        optimizer: as for `train_step`.
        state: where to start.
        batches: batches stacked along a leading axis K.
        learning_rates: [K].
        count: how many of the K to take, data and no shape: no new compilation.

    Returns:
        The state after, and the report with sums added up and norms averaged.
    """
    step = bounded_jit(functools.partial(train_step, loss, optimizer), inline=True)

    def going(carried: tuple) -> Array:
        k, _, _, finite = carried
        return (k < count) & finite

    def one(carried: tuple) -> tuple:
        k, state, total, _ = carried
        batch = jax.tree.map(lambda a: a[k], batches)
        new, report = step(state, batch, learning_rates[k])
        total_loss, norm = report.sums.loss, report.gradient_norm
        finite = jnp.isfinite(total_loss) & jnp.isfinite(norm)
        state, total = jax.tree.map(
            lambda after, before: jnp.where(finite, after, before),
            (new, jax.tree.map(jnp.add, total, report)),
            (state, total),
        )
        return k + 1, state, total, finite

    # Traced here, and found again by the loop: JAX keeps the traces of a program.
    first = jax.tree.map(lambda a: a[0], (batches, learning_rates))
    _, report = jax.eval_shape(step, state, *first)
    start = (jnp.int32(0), state, _nothing_yet(report), jnp.bool(True))
    _, state, total, _ = jax.lax.while_loop(going, one, start)
    return state, dataclasses.replace(
        total, gradient_norm=total.gradient_norm / jnp.maximum(count, 1)
    )


def _nothing_yet(report: StepReport) -> StepReport:
    """Make the report of no step: zeros of its shapes, to which many can be added."""
    return jax.tree.map(
        lambda a: jnp.zeros(a.shape, jnp.promote_types(a.dtype, jnp.float32)), report
    )


def _kind_of_norm(model: Model) -> jnp.dtype:
    """float32, or float64 if there are such weights; the norm alone may promote."""
    return jnp.result_type(jnp.float32, *jax.tree.leaves(model))


def train_steps_jointly(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batches: Batch,
    learning_rates: Array,
    count: Count,
) -> tuple[TrainState, StepReport]:
    """As `train_steps`, of several models at once that know nothing of each other.

    Args:
        loss: the task of all of them.
        optimizer: as for `train_step`.
        state: one `step`; everything else with a leading axis, a place for each model.
        batches: stacked along a leading axis K; the models' own along the second one.
        learning_rates: [K], the same for all.
        count: how many of the K to take.

    Returns:
        The state after, and the report with sums added up and norms averaged, over the
        models too.
    """

    def one(parts: tuple, batches: Batch) -> tuple[TrainState, StepReport]:
        own = TrainState(state.step, *parts)
        return train_steps(loss, optimizer, own, batches, learning_rates, count)

    parts = (state.model, state.optimizer, state.carry, state.key)
    after, report = jax.vmap(one, in_axes=(0, 1))(parts, batches)
    total = jax.tree.map(lambda each: jnp.sum(each, axis=0), report)
    return dataclasses.replace(after, step=jnp.min(after.step)), dataclasses.replace(
        total, gradient_norm=jnp.mean(report.gradient_norm)
    )


def eval_step(loss: Loss, model: Model, carry: Carry, batch: Batch) -> tuple:
    """The sums of one batch without dropout, and the carry to go on from."""
    return loss(model, carry, batch, None)
