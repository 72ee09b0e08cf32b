"""The training step of a language model, spread over devices that need not be there."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import lstm_jax
from experiments.speed.shapes import Shape

STEPS = 2  # per call: the loop over them is what "once per step" refers to


def lower(
    shape: Shape, devices: Sequence[jax.Device], platform: str
) -> jax.stages.Lowered:
    """`train_steps` on `shape.batch` rows of each device, ready to be compiled."""
    mesh = Mesh(np.array(devices), ("rows",), axis_types=(AxisType.Auto,))
    optimizer = lstm_jax.make_optimizer(0.01, 1.0, 0.99)
    rows = shape.batch * len(devices)

    def first() -> lstm_jax.TrainState:
        model = lstm_jax.LanguageModel(
            shape.vocab, shape.hidden, shape.layers, rngs=nnx.Rngs(0), engine="fused"
        )
        key = jax.random.key(0)
        return lstm_jax.init_state(model, optimizer, model.blank(rows), key)

    def place(array: jax.ShapeDtypeStruct, *axes: str | None) -> jax.ShapeDtypeStruct:
        places = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=places)

    state = jax.eval_shape(first)
    carry = jax.tree.map(lambda array: place(array, "rows"), state.carry)
    state = jax.tree.map(place, state)
    state = lstm_jax.TrainState(
        state.step, state.model, state.optimizer, carry, state.key
    )
    text = jax.ShapeDtypeStruct((STEPS, shape.steps, rows), jnp.int32)
    batch = {
        "inputs": place(text, None, None, "rows"),
        "targets": place(text, None, None, "rows"),
        "fresh": place(jax.ShapeDtypeStruct((STEPS, rows), bool), None, "rows"),
    }
    rates = place(jax.ShapeDtypeStruct((STEPS,), jnp.float32))
    count = place(jax.ShapeDtypeStruct((), jnp.int32))
    steps = functools.partial(lstm_jax.train_steps, lstm_jax.language_loss, optimizer)
    places = jax.tree.map(lambda array: array.sharding, state)
    program = jax.jit(steps, donate_argnums=0, out_shardings=(places, None))
    traced = program.trace(state, batch, rates, count)
    return traced.lower(lowering_platforms=(platform,))
