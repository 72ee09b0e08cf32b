"""This library, through its public names, the way its own commands use it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import lstm_jax
from experiments.benchmarks.speed.libraries.with_jax import (
    calls_at_a_stretch,
    jax_about,
    layer_proof,
)
from experiments.benchmarks.speed.shapes import (
    BATCHES,
    GENERATED,
    LEARNING_RATE,
    Array,
    Layer,
    Program,
    Shape,
    draw_ids,
    draw_inputs,
    draw_prompt,
    draw_weights,
)

_CALL_FLOPS = 1e11  # of a call: more steps than that cost are no use to a stop-watch
_FEWEST_STEPS = 4
_CALLS = 4  # of a ceiling's program at a stretch
_ANY_ROWS = 1 << 20


def prepare(devices: int) -> None:
    """Before JAX is first used: this many virtual devices, on a CPU."""
    lstm_jax.distributed.keep_freed_memory()
    lstm_jax.distributed.set_cpu_device_count(devices)


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return jax_about() | {"lstm_jax": lstm_jax.__version__}


def language_model(
    shape: Shape, engine: str = "auto", dtype: str = "float32"
) -> lstm_jax.LanguageModel:
    """The model of the shape's weights.

    Our layer 0 reads a table instead of an embedding and a product: it is filled with
    their product, which makes it the same function. Our softmax sees the outputs of
    every layer: the rows of the lower ones are zero, and their cost remains.
    """
    weights = draw_weights(shape)
    model = lstm_jax.LanguageModel(
        shape.vocab,
        shape.hidden,
        shape.layers,
        rngs=nnx.Rngs(0),
        engine=engine,
        dtype=jnp.dtype(dtype),
    )
    for depth, (ours, theirs) in enumerate(
        zip(model.layers, weights.layers, strict=True)
    ):
        w_x = theirs.w_x if depth else weights.embedding @ theirs.w_x
        ours.w_x[...] = jnp.asarray(w_x)
        ours.w_h[...] = jnp.asarray(theirs.w_h)
        ours.b[...] = jnp.asarray(theirs.b)
    below = np.zeros(((shape.layers - 1) * shape.hidden, shape.vocab), np.float32)
    model.w_out[...] = jnp.asarray(np.concatenate([below, weights.w_out]))
    model.b_out[...] = jnp.asarray(weights.b_out)
    return model


def train(
    shape: Shape,
    engine: str = "auto",
    dtype: str = "float32",
    steps: int = BATCHES,
    mixed: bool = False,
) -> Program:
    """Adam steps, up to `steps` of them in one compiled call."""
    loss = lstm_jax.models.language_loss
    loss = lstm_jax.ops.rounded_products(loss) if mixed else loss
    mesh = lstm_jax.distributed.row_mesh(shape.batch)
    model = language_model(shape, engine, dtype)
    optimizer = lstm_jax.make_optimizer(weight_decay=0.0, clip_norm=1.0, beta2=0.999)
    state = lstm_jax.init_state(
        model, optimizer, model.initial_state(shape.batch), jax.random.key(0)
    )
    states = lstm_jax.distributed.shard_rows(mesh, state.carry)
    state = lstm_jax.distributed.replicate(mesh, dataclasses.replace(state, carry=()))
    state = dataclasses.replace(state, carry=states)
    inputs, targets = draw_ids(shape)
    batches = _spread_batches(shape, inputs, targets)
    count = min(steps, max(_FEWEST_STEPS, int(_CALL_FLOPS / shape.train_flops)))
    if calls_at_a_stretch() > 1:  # what a user's call has
        count = steps
    rates = np.full(BATCHES, LEARNING_RATE, np.float32)
    program = jax.jit(
        functools.partial(lstm_jax.train_steps, loss, optimizer),
        donate_argnums=0,
        out_shardings=(jax.tree.map(lambda array: array.sharding, state), None),
    )

    def run() -> None:
        nonlocal state
        state, report = program(state, batches, rates, np.int32(count))
        jax.block_until_ready((state.step, report))

    def proof() -> dict[str, Array]:
        model = language_model(shape, engine, dtype)
        mean_loss = lstm_jax.ops.rounded_products(_mean_loss) if mixed else _mean_loss
        both = jax.jit(jax.value_and_grad(mean_loss, has_aux=True))
        (loss, _), gradient = both(model, _first(batches))
        found = {"loss": np.asarray(loss)}
        for depth, layer in enumerate(gradient.layers):
            found[f"w_h{depth}"] = np.asarray(layer.w_h[...])
        found["w_out"] = np.asarray(gradient.w_out[...])[-shape.hidden :]
        return found

    return Program(run, count, proof)


def evaluate(
    shape: Shape, engine: str = "auto", dtype: str = "float32", mixed: bool = False
) -> Program:
    """The loss of a batch.

    The parameters are taken out of the module once, as rivals have them: JAX would do
    it at every call, in Python.
    """
    mesh = lstm_jax.distributed.row_mesh(shape.batch)
    model = lstm_jax.distributed.replicate(mesh, language_model(shape, engine, dtype))
    batches = _spread_batches(shape, *draw_ids(shape))
    batch = _first(batches)
    mean_loss = lstm_jax.ops.rounded_products(_mean_loss) if mixed else _mean_loss
    params, structure = jax.tree.flatten(model)
    program = jax.jit(
        lambda params, batch: mean_loss(structure.unflatten(params), batch)[0]
    )

    def run() -> float:
        return float(program(params, batch))

    return Program(run, 1, lambda: {"loss": np.asarray(run())})


def layer(
    shape: Shape,
    engine: str = "auto",
    dtype: str = "float32",
    gradient: bool = True,
    mixed: bool = False,
) -> Program:
    """One layer on dense input: outputs, and the gradients of weights and inputs."""
    mesh = lstm_jax.distributed.row_mesh(shape.batch)
    xs, dys = (
        lstm_jax.distributed.shard_rows(mesh, jnp.asarray(a, jnp.dtype(dtype)), axis=1)
        for a in draw_inputs(shape)
    )
    weights = draw_weights(shape).layers[0]
    params = lstm_jax.LSTMParams(*(jnp.asarray(w, jnp.dtype(dtype)) for w in weights))
    params = lstm_jax.distributed.replicate(mesh, params)
    count = calls_at_a_stretch()

    @jax.jit
    def program(params: lstm_jax.LSTMParams, xs: jax.Array, dys: jax.Array) -> tuple:
        def outputs(params: lstm_jax.LSTMParams, xs: jax.Array) -> jax.Array:
            run = lstm_jax.lstm
            run = lstm_jax.ops.rounded_products(run) if mixed else run
            return run(params, xs, engine=engine)[0]

        if not gradient:
            return (outputs(params, xs),)
        ys, back = jax.vjp(outputs, params, xs)
        return ys, *back(dys)

    def run() -> tuple:
        found = [program(params, xs, dys) for _ in range(count)]
        return jax.block_until_ready(found[-1])

    def proof() -> dict[str, Array]:
        ys, slopes, dxs = run()
        return layer_proof(ys, dxs, Layer(slopes.w_x, slopes.w_h, slopes.b))

    return Program(run, count, proof)


def generate(shape: Shape, engine: str = "auto", dtype: str = "float32") -> Program:
    """Greedy continuations of one prompt, one per row: the whole call of a user."""
    model = language_model(shape, engine, dtype)
    prompt = draw_prompt(shape)

    def run() -> Array:
        pieces = lstm_jax.generate_ids(model, prompt, GENERATED, samples=shape.batch)
        return np.concatenate(list(pieces))

    return Program(run, GENERATED, lambda: {"ids": run()})


def gemm(shape: Shape, size: int = 1024) -> Program:
    """The ceiling: float32 products, as many side by side as there are devices.

    A unit is 1e9 floating-point operations.
    """
    devices = len(jax.devices())
    mesh = lstm_jax.distributed.row_mesh(_ANY_ROWS)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(devices * size, size)).astype(np.float32)
    left = lstm_jax.distributed.shard_rows(mesh, jnp.asarray(rows))
    right = lstm_jax.distributed.replicate(mesh, jnp.asarray(rows[:size]))
    program = jax.jit(jnp.dot)

    def run() -> jax.Array:
        return jax.block_until_ready(program(left, right))

    return Program(run, 2 * devices * size**3 / 1e9, dict)


def copy(shape: Shape, dtype: str = "float32") -> Program:
    """A ceiling: an array read and written once. A unit is 1e9 bytes."""
    array = _square(shape, dtype)
    return _repeated(jax.jit(lambda array: array + 1), (array,), 2 * array.nbytes / 1e9)


def product(shape: Shape, dtype: str = "float32") -> Program:
    """A ceiling: a square product on one device. A unit is 1e9 operations."""
    array = _square(shape, dtype)
    return _repeated(jax.jit(jnp.dot), (array, array), 2 * shape.hidden**3 / 1e9)


def _square(shape: Shape, dtype: str) -> jax.Array:
    """Random numbers: zeros are multiplied faster."""
    size = (shape.hidden, shape.hidden)
    return jnp.asarray(np.random.default_rng(0).standard_normal(size, "float32"), dtype)


def _repeated(
    program: Callable[..., jax.Array], arguments: tuple, units: float
) -> Program:
    """A program called several times at a stretch: starting one is no part of it."""

    def run() -> None:
        last = [program(*arguments) for _ in range(_CALLS)][-1]
        jax.block_until_ready(last)

    return Program(run, _CALLS * units, dict)


def _mean_loss(model: lstm_jax.LanguageModel, batch: dict) -> tuple[jax.Array, tuple]:
    """The mean loss of a batch from the zero state, in nats."""
    states = model.initial_state(len(batch["inputs"]))
    sums, states = lstm_jax.models.language_loss(model, states, batch, None)
    return sums.loss / sums.count, states


def _spread_batches(
    shape: Shape, inputs: Array, targets: Array
) -> dict[str, jax.Array]:
    arrays = {
        "inputs": np.ascontiguousarray(inputs.swapaxes(1, 2)),
        "targets": np.ascontiguousarray(targets.swapaxes(1, 2)),
        "resets": np.ones((len(inputs), shape.batch), bool),
    }
    mesh = lstm_jax.distributed.row_mesh(shape.batch)
    return lstm_jax.distributed.shard_batch(mesh, arrays, axis=1)


def _first(batches: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: array[0] for name, array in batches.items()}
