"""Haiku: `hk.dynamic_unroll` of `hk.LSTM`, time first."""

from importlib.metadata import version
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.speed.libraries import with_jax
from experiments.benchmarks.speed.shapes import (
    Array,
    Layer,
    Program,
    Shape,
    draw_weights,
)


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return with_jax.jax_about() | {"dm-haiku": version("dm-haiku")}


def swap_gates(w: Array) -> Array:
    """Gates i, f, g, o to Haiku's i, g, f, o, and back."""
    i, f, g, o = np.split(np.asarray(w), 4, axis=-1)
    return np.concatenate([i, g, f, o], axis=-1)


def to_linear(layer: Layer) -> dict[str, jax.Array]:
    """Our layer as Haiku has it: one matrix, and a forget bias that it adds 1 to."""
    b = layer.b.copy()
    b[len(b) // 4 : len(b) // 2] -= 1
    w = np.concatenate([layer.w_x, layer.w_h])
    return {"w": jnp.asarray(swap_gates(w)), "b": jnp.asarray(swap_gates(b))}


def from_linear(gradient: dict[str, Any]) -> Layer:
    """A gradient, on the way back."""
    w = swap_gates(gradient["w"])
    w_x, w_h = np.split(w, 2)
    return Layer(w_x, w_h, swap_gates(gradient["b"]))


def model(shape: Shape) -> with_jax.Model:
    """The language model of the shape's weights."""

    def parts() -> tuple:
        embed = hk.Embed(shape.vocab, shape.hidden, name="embed")
        cores = [hk.LSTM(shape.hidden, name=f"lstm_{n}") for n in range(shape.layers)]
        return embed, cores, hk.Linear(shape.vocab, name="head")

    def unroll(ids: jax.Array) -> tuple[list, jax.Array]:
        embed, cores, head = parts()
        xs, states = embed(ids), []
        for core in cores:
            xs, state = hk.dynamic_unroll(core, xs, core.initial_state(ids.shape[1]))
            states.append(state)
        return states, head(xs)

    def advance(states: list, ids: jax.Array) -> tuple[list, jax.Array]:
        embed, cores, head = parts()
        x, after = embed(ids), []
        for core, state in zip(cores, states, strict=True):
            x, state = core(x, state)
            after.append(state)
        return after, head(x)

    whole = hk.without_apply_rng(hk.transform(unroll)).apply
    step = hk.without_apply_rng(hk.transform(advance)).apply

    def read(params: dict, ids: jax.Array) -> tuple[list, jax.Array]:
        states, logits = whole(params, ids)
        return states, logits[-1]

    def gradients(gradient: dict) -> dict[str, Array]:
        found = {"w_out": np.asarray(gradient["head"]["w"])}
        for depth in range(shape.layers):
            linear = gradient[f"lstm_{depth}/linear"]
            found[f"w_h{depth}"] = from_linear(linear).w_h
        return found

    weights = draw_weights(shape)
    params: dict[str, Any] = {
        f"lstm_{depth}/linear": to_linear(layer)
        for depth, layer in enumerate(weights.layers)
    }
    params["embed"] = {"embeddings": jnp.asarray(weights.embedding)}
    params["head"] = {"w": jnp.asarray(weights.w_out), "b": jnp.asarray(weights.b_out)}
    return with_jax.Model(
        params, lambda params, ids: whole(params, ids)[1], read, step, gradients
    )


def train(shape: Shape) -> Program:
    """See `with_jax`."""
    return with_jax.train(model(shape), shape)


def evaluate(shape: Shape) -> Program:
    """See `with_jax`."""
    return with_jax.evaluate(model(shape), shape)


def generate(shape: Shape) -> Program:
    """See `with_jax`."""
    return with_jax.generate(model(shape), shape)


def layer(shape: Shape) -> Program:
    """See `with_jax`."""

    def unroll(xs: jax.Array) -> jax.Array:
        core = hk.LSTM(shape.hidden, name="lstm")
        return hk.dynamic_unroll(core, xs, core.initial_state(shape.batch))[0]

    one = with_jax.OneLayer(
        {"lstm/linear": to_linear(draw_weights(shape).layers[0])},
        hk.without_apply_rng(hk.transform(unroll)).apply,
        lambda gradient: from_linear(gradient["lstm/linear"]),
    )
    return with_jax.layer(one, shape)
