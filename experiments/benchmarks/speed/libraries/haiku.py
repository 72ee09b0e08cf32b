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
from lstm_jax.interop import HAIKU, Direction, Style, bias_of


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return with_jax.jax_about() | {"dm-haiku": version("dm-haiku")}


def to_linear(layer: Layer) -> dict[str, jax.Array]:
    """Our layer as Haiku has it: one matrix, and a forget bias that it adds 1 to."""
    arrays = HAIKU.outward(Style(), Direction(*layer))
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def from_linear(gradient: dict[str, Any]) -> Layer:
    """A gradient, on the way back, where nothing is added."""
    arrays = {name: np.asarray(array) for name, array in gradient.items()}
    one = HAIKU.inward(Style(), arrays)
    added = HAIKU.inward(Style(), {n: np.zeros_like(a) for n, a in arrays.items()})
    return Layer(one.w_x, one.w_h, bias_of(one) - bias_of(added))


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
