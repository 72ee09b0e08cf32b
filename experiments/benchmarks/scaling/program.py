"""The training step of a language model, spread over devices that need not be there."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import lstm_jax
from experiments.benchmarks.speed.shapes import Shape

STEPS = 4  # per call: the loop over them is what "once per step" refers to
OPTIMIZER = lstm_jax.make_optimizer(0.01, 1.0, 0.99)
Batch = dict[str, jax.Array]


def first_state(shape: Shape, rows: int) -> lstm_jax.TrainState:
    """A state to start from."""
    model = lstm_jax.LanguageModel(
        shape.vocab, shape.hidden, shape.layers, rngs=nnx.Rngs(0), engine="fused"
    )
    key = jax.random.key(0)
    return lstm_jax.init_state(model, OPTIMIZER, model.initial_state(rows), key)


def some_batches(shape: Shape, rows: int) -> Batch:
    """Batches for one call, of random symbols."""
    size = (STEPS, rows, shape.steps)
    inputs, targets = jax.random.randint(jax.random.key(1), (2, *size), 0, shape.vocab)
    return {
        "inputs": inputs,
        "targets": targets,
        "resets": jnp.zeros((STEPS, rows), bool),
    }


def lower(
    shape: Shape, devices: Sequence[jax.Device], platform: str
) -> jax.stages.Lowered:
    """`train_steps` on `shape.batch` rows of each device, ready to be compiled."""
    mesh = Mesh(np.array(devices), ("rows",), axis_types=(AxisType.Auto,))
    rows = shape.batch * len(devices)

    def place(array: jax.ShapeDtypeStruct, *axes: str | None) -> jax.ShapeDtypeStruct:
        places = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=places)

    def place_rows(array: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return place(array, None, "rows")

    state = jax.eval_shape(lambda: first_state(shape, rows))
    carry = jax.tree.map(lambda array: place(array, "rows"), state.carry)
    state = jax.tree.map(place, state)
    state = lstm_jax.TrainState(
        state.step, state.model, state.optimizer, carry, state.key
    )
    batches = jax.eval_shape(lambda: some_batches(shape, rows))
    batches = jax.tree.map(place_rows, batches)
    rates = place(jax.ShapeDtypeStruct((STEPS,), jnp.float32))
    count = place(jax.ShapeDtypeStruct((), jnp.int32))
    steps = functools.partial(
        lstm_jax.train_steps, lstm_jax.models.language_loss, OPTIMIZER
    )
    places = jax.tree.map(lambda array: array.sharding, state)
    program = jax.jit(steps, donate_argnums=0, out_shardings=(places, None))
    traced = program.trace(state, batches, rates, count)
    return traced.lower(lowering_platforms=(platform,))
