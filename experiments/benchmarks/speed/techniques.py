"""What every idea is worth: the recurrence from naive to ours, one idea at a time.

A ladder for the bare layer, forward and backward, on one device. Each rung keeps what
the one before it had.

    eager      a Python loop, every operation dispatched by itself
    unrolled   the same loop inside one compiled program
    scan       a loop inside the program: `jax.lax.scan` over [h, x] @ W
    hoisted    x @ w_x for all time steps as one product before the loop
    one tanh   a single tanh over all gates, σ(x) = (1 + tanh(x/2)) / 2

Then come the engine `fused` with its hand-written gradient, and the one that `auto`
takes. `train` is our language model with an embedding and a product in the place of the
table.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax
from experiments.benchmarks.speed.libraries import lstm_jax as ours
from experiments.benchmarks.speed.libraries import with_jax
from experiments.benchmarks.speed.shapes import (
    Array,
    Layer,
    Program,
    Shape,
    draw_weights,
)

about = ours.about
prepare = ours.prepare
State = tuple[jax.Array, jax.Array]
Params = lstm_jax.LSTMParams


def four_activations(z: jax.Array, c: jax.Array) -> State:
    """H and c from the gates' pre-activations, one call per gate."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def one_tanh(z: jax.Array, c: jax.Array) -> State:
    """The same from a single tanh; z comes with all but the block g halved."""
    i, f, g, o = jnp.split(jnp.tanh(z), 4, axis=-1)
    c = (f + 1) / 2 * c + (i + 1) / 2 * g
    return (o + 1) / 2 * jnp.tanh(c), c


def python_loop(params: Params, xs: jax.Array) -> jax.Array:
    """A step after the other, written out in Python."""
    w, b = jnp.concatenate([params.w_h, params.w_x]), params.b
    assert b is not None
    h = c = jnp.zeros((xs.shape[1], len(params.w_h)))
    hs = []
    for x in xs:
        z = jnp.concatenate([h, x], axis=-1) @ w + b
        h, c = four_activations(z, c)
        hs.append(h)
    return jnp.stack(hs)


def plain_scan(params: Params, xs: jax.Array, unroll: int = 1) -> jax.Array:
    """The textbook's step under `jax.lax.scan`."""
    w, b = jnp.concatenate([params.w_h, params.w_x]), params.b
    assert b is not None

    def step(state: State, x: jax.Array) -> tuple[State, jax.Array]:
        h, c = state
        z = jnp.concatenate([h, x], axis=-1) @ w + b
        state = four_activations(z, c)
        return state, state[0]

    zeros = jnp.zeros((xs.shape[1], len(params.w_h)))
    return jax.lax.scan(step, (zeros, zeros), xs, unroll=unroll)[1]


def hoisted_scan(
    params: Params, xs: jax.Array, apply_gates: Callable = four_activations
) -> jax.Array:
    """The inputs' product before the loop."""
    scale = jnp.ones(4)
    if apply_gates is one_tanh:
        scale = jnp.array([0.5, 0.5, 1.0, 0.5])
    scale = jnp.repeat(scale, len(params.w_h))
    assert params.b is not None
    z = (xs @ params.w_x + params.b) * scale
    w_h = params.w_h * scale

    def step(state: State, z: jax.Array) -> tuple[State, jax.Array]:
        h, c = state
        state = apply_gates(z + h @ w_h, c)
        return state, state[0]

    zeros = jnp.zeros((xs.shape[1], len(params.w_h)))
    return jax.lax.scan(step, (zeros, zeros), z)[1]


LADDER: dict[str, Callable[[Params, jax.Array], jax.Array]] = {
    "unrolled": python_loop,
    "scan": plain_scan,
    "scan, unroll 4": functools.partial(plain_scan, unroll=4),
    "hoisted": hoisted_scan,
    "one tanh": functools.partial(hoisted_scan, apply_gates=one_tanh),
}


def layer(shape: Shape, technique: str) -> Program:
    """One rung."""
    params = Params(*map(jnp.asarray, draw_weights(shape).layers[0]))
    if technique == "eager":
        return eager(params, shape)
    one = with_jax.OneLayer(params, LADDER[technique], as_layer)
    return with_jax.layer(one, shape)


def eager(params: Params, shape: Shape) -> Program:
    """The Python loop without compilation, which is what `disable_jit` leaves."""
    inner = with_jax.layer(with_jax.OneLayer(params, python_loop, as_layer), shape)

    def run() -> object:
        with jax.disable_jit():
            return inner.run()

    return Program(run, 1, inner.proof)


def as_layer(gradient: Params) -> Layer:
    """A gradient as NumPy."""
    return Layer(*map(np.asarray, (gradient.w_x, gradient.w_h, gradient.b)))


def train(shape: Shape) -> Program:
    """Our layers below an embedding and a product, one step per call, one device."""
    weights = draw_weights(shape)
    params = {
        "embedding": weights.embedding,
        "layers": [Params(*map(jnp.asarray, layer)) for layer in weights.layers],
        "w_out": weights.w_out,
        "b_out": weights.b_out,
    }

    def logits(params: dict, ids: jax.Array) -> jax.Array:
        xs = params["embedding"][ids]
        for layer in params["layers"]:
            xs, _ = lstm_jax.lstm(layer, xs)
        return xs @ params["w_out"] + params["b_out"]

    def gradients(gradient: dict) -> dict[str, Array]:
        found = {"w_out": np.asarray(gradient["w_out"])}
        for depth, layer in enumerate(gradient["layers"]):
            found[f"w_h{depth}"] = np.asarray(layer.w_h)
        return found

    def never(*_: object) -> tuple:
        raise NotImplementedError("this model only trains")

    on_device = jax.tree.map(jnp.asarray, params)
    model = with_jax.Model(on_device, logits, never, never, gradients)
    return with_jax.train(model, shape)
