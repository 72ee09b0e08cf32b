"""What the rivals in JAX share: everything but the model.

Each describes its model as pure functions of one pytree of parameters. They are
compiled with plain `jax.jit`, the fastest way to call any of them (`nnx.jit` and
`eqx.filter_jit` look through their arguments at every call), the state is donated, and
generation is one compiled loop.
"""

import os
from collections.abc import Callable
from importlib.metadata import version
from itertools import cycle
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.speed.shapes import (
    GENERATED,
    LEARNING_RATE,
    Array,
    Layer,
    Program,
    Shape,
    draw_ids,
    draw_inputs,
    draw_prompt,
)

Params = Any
State = Any


class Model(NamedTuple):
    """A language model as functions of its parameters.

    Attributes:
        params: a pytree.
        logits: (params, ids [T, B]) -> [T, B, V], from the zero state.
        read: (params, ids [T, B]) -> (states, logits [B, V] after the last symbol).
        step: (params, states, ids [B]) -> (states, logits [B, V]).
        gradients: a gradient, in the suite's names and order of gates.
    """

    params: Params
    logits: Callable[[Params, jax.Array], jax.Array]
    read: Callable[[Params, jax.Array], tuple[State, jax.Array]]
    step: Callable[[Params, State, jax.Array], tuple[State, jax.Array]]
    gradients: Callable[[Params], dict[str, Array]]


class OneLayer(NamedTuple):
    """A bare layer: `outputs` is (params, xs [T, B, H]) -> ys [T, B, H]."""

    params: Params
    outputs: Callable[[Params, jax.Array], jax.Array]
    gradients: Callable[[Params], Layer]


def jax_about() -> dict[str, Any]:
    """Versions and devices."""
    devices = jax.devices()
    return {
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "threads": len(os.sched_getaffinity(0)),
    }


def calls_at_a_stretch() -> int:
    """How many calls are made between two looks at the clock.

    On an accelerator nobody waits for each: the next is on its way meanwhile.
    """
    return 1 if jax.default_backend() == "cpu" else 8


def train(model: Model, shape: Shape) -> Program:
    """Adam steps, one per call."""
    count = calls_at_a_stretch()
    optimizer = optax.adam(LEARNING_RATE)
    inputs, targets = (jnp.asarray(ids) for ids in draw_ids(shape))

    def loss(params: Params, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        logits = model.logits(params, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def step(state: tuple, inputs: jax.Array, targets: jax.Array) -> tuple:
        params, memory = state
        nats, gradient = jax.value_and_grad(loss)(params, inputs, targets)
        updates, memory = optimizer.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), nats

    program = jax.jit(step, donate_argnums=0)
    params = jax.tree.map(jnp.copy, model.params)
    state = (params, optimizer.init(params))
    batches = cycle(list(zip(inputs, targets, strict=True)))

    def run() -> None:
        nonlocal state
        for _ in range(count):
            state, _ = program(state, *next(batches))
        jax.block_until_ready(state)

    def proof() -> dict[str, Array]:
        both = jax.jit(jax.value_and_grad(loss))
        nats, gradient = both(model.params, inputs[0], targets[0])
        return {"loss": np.asarray(nats)} | model.gradients(gradient)

    return Program(run, count, proof)


def evaluate(model: Model, shape: Shape) -> Program:
    """The loss of a batch."""
    inputs, targets = (jnp.asarray(ids[0]) for ids in draw_ids(shape))

    @jax.jit
    def program(params: Params, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        logits = model.logits(params, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def run() -> float:
        return float(program(model.params, inputs, targets))

    return Program(run, 1, lambda: {"loss": np.asarray(run())})


def layer(model: OneLayer, shape: Shape, gradient: bool = True) -> Program:
    """Outputs, and the gradients of weights and inputs."""
    xs, dys = (jnp.asarray(array) for array in draw_inputs(shape))
    count = calls_at_a_stretch()

    @jax.jit
    def program(params: Params, xs: jax.Array, dys: jax.Array) -> tuple:
        if not gradient:
            return (model.outputs(params, xs),)
        ys, back = jax.vjp(model.outputs, params, xs)
        return ys, *back(dys)

    def run() -> tuple:
        found = [program(model.params, xs, dys) for _ in range(count)]
        return jax.block_until_ready(found[-1])

    def proof() -> dict[str, Array]:
        ys, slopes, dxs = run()
        return layer_proof(ys, dxs, model.gradients(slopes))

    return Program(run, count, proof)


def layer_proof(ys: jax.Array, dxs: jax.Array, gradient: Layer) -> dict[str, Array]:
    """What the case `layer` is compared by."""
    named = {"ys": ys, "dxs": dxs} | gradient._asdict()
    return {name: np.asarray(array, np.float32) for name, array in named.items()}


def generate(model: Model, shape: Shape) -> Program:
    """The prompt is read once and its state repeated; the likeliest symbol follows."""
    prompt = jnp.asarray(draw_prompt(shape))[:, None]

    @jax.jit
    def program(params: Params, prompt: jax.Array) -> jax.Array:
        states, logits = model.read(params, prompt)
        states, logits = jax.tree.map(
            lambda a: jnp.repeat(a, shape.batch, axis=0), (states, logits)
        )

        def one(carry: tuple, _: None) -> tuple[tuple, jax.Array]:
            states, logits = carry
            ids = jnp.argmax(logits, axis=-1)
            return model.step(params, states, ids), ids

        return jax.lax.scan(one, (states, logits), length=GENERATED)[1]

    def run() -> Array:
        return np.asarray(program(model.params, prompt))

    return Program(run, GENERATED, lambda: {"ids": run()})
