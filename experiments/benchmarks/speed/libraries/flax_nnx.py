"""Flax NNX: `nnx.RNN` over `nnx.OptimizedLSTMCell`, split into graph and parameters."""

from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmarks.speed.libraries import with_jax
from experiments.benchmarks.speed.shapes import (
    Array,
    Layer,
    Program,
    Shape,
    draw_weights,
)
from lstm_jax.interop import NNX, Direction, Style


class Network(nnx.Module):
    """Embedding, layers, dense."""

    def __init__(self, shape: Shape) -> None:
        rngs = nnx.Rngs(0)
        weights = draw_weights(shape)
        self.embed = nnx.Embed(shape.vocab, shape.hidden, rngs=rngs)
        self.embed.embedding[...] = jnp.asarray(weights.embedding)
        self.rnns = nnx.List(recurrent(layer) for layer in weights.layers)
        self.head: Any = nnx.Linear(shape.hidden, shape.vocab, rngs=rngs)
        self.head.kernel[...] = jnp.asarray(weights.w_out)
        bias: Any = self.head.bias  # to a type checker it may be None
        bias[...] = jnp.asarray(weights.b_out)

    def __call__(self, ids: jax.Array) -> tuple[list, jax.Array]:
        """States after the last symbol, and logits [T, B, V]."""
        xs, states = self.embed(ids), []
        for rnn in self.rnns:
            state, xs = rnn(xs, initial_carry=blank(xs), return_carry=True)
            states.append(state)
        return states, self.head(xs)

    def step(self, states: list, ids: jax.Array) -> tuple[list, jax.Array]:
        """One more symbol."""
        x, after = self.embed(ids), []
        for rnn, state in zip(self.rnns, states, strict=True):
            state, x = rnn.cell(state, x)
            after.append(state)
        return after, self.head(x)


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return with_jax.jax_about() | {"flax": version("flax")}


def recurrent(layer: Layer) -> nnx.RNN:
    """A layer of these weights: all gates in one matrix, in our order."""
    rngs = nnx.Rngs(0)
    cell: Any = nnx.OptimizedLSTMCell(len(layer.w_x), len(layer.w_h), rngs=rngs)
    for path, array in NNX.outward(Style(), Direction(*layer)).items():
        dense, name = path.split("/")
        getattr(getattr(cell, dense), name)[...] = jnp.asarray(array)
    return nnx.RNN(cell, time_major=True, rngs=False)


def blank(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The zero state for inputs [T, B, H]: given one, the layer needs no generator."""
    zeros = jnp.zeros(xs.shape[1:], xs.dtype)
    return zeros, zeros


def model(shape: Shape) -> with_jax.Model:
    """The language model of the shape's weights."""
    graph, params, rest = nnx.split(Network(shape), nnx.Param, ...)

    def merge(params: nnx.State) -> Network:
        return nnx.merge(graph, params, rest)

    def read(params: nnx.State, ids: jax.Array) -> tuple[list, jax.Array]:
        states, logits = merge(params)(ids)
        return states, logits[-1]

    def gradients(gradient: nnx.State) -> dict[str, Array]:
        network = merge(gradient)
        found = {"w_out": np.asarray(network.head.kernel[...])}
        for depth, rnn in enumerate(network.rnns):
            cell: Any = rnn.cell
            found[f"w_h{depth}"] = np.asarray(cell.dense_h.kernel[...])
        return found

    return with_jax.Model(
        params,
        lambda params, ids: merge(params)(ids)[1],
        read,
        lambda params, states, ids: merge(params).step(states, ids),
        gradients,
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
    rnn = recurrent(draw_weights(shape).layers[0])
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)

    def gradients(gradient: nnx.State) -> Layer:
        cell: Any = nnx.merge(graph, gradient, rest).cell
        dense = cell.dense_h
        return Layer(cell.dense_i.kernel[...], dense.kernel[...], dense.bias[...])

    one = with_jax.OneLayer(
        params,
        lambda params, xs: nnx.merge(graph, params, rest)(xs, initial_carry=blank(xs)),
        gradients,
    )
    return with_jax.layer(one, shape)
