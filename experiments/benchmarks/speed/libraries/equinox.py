"""Equinox: `eqx.nn.LSTMCell`, mapped over the rows, under `jax.lax.scan`."""

from importlib.metadata import version
from typing import Any

import equinox as eqx
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
from lstm_jax.interop import EQUINOX, Direction, Style

State = tuple[jax.Array, jax.Array]


class Network(eqx.Module):
    """Embedding, layers, dense; time first."""

    embed: eqx.nn.Embedding
    cells: list
    head: eqx.nn.Linear

    def __init__(self, shape: Shape) -> None:
        weights = draw_weights(shape)
        self.embed = eqx.nn.Embedding(weight=jnp.asarray(weights.embedding))
        self.cells = [recurrent(layer) for layer in weights.layers]
        head = eqx.nn.Linear(shape.hidden, shape.vocab, key=jax.random.key(0))
        self.head = eqx.tree_at(
            lambda linear: (linear.weight, linear.bias),
            head,
            (jnp.asarray(weights.w_out.T), jnp.asarray(weights.b_out)),
        )

    def __call__(self, ids: jax.Array) -> tuple[list, jax.Array]:
        """States after the last symbol, and logits [T, B, V]."""
        xs, states = jax.vmap(jax.vmap(self.embed))(ids), []
        for cell in self.cells:
            state, xs = unroll(cell, xs)
            states.append(state)
        return states, jax.vmap(jax.vmap(self.head))(xs)

    def step(self, states: list, ids: jax.Array) -> tuple[list, jax.Array]:
        """One more symbol."""
        x, after = jax.vmap(self.embed)(ids), []
        for cell, state in zip(self.cells, states, strict=True):
            state = jax.vmap(cell)(x, state)
            x = state[0]
            after.append(state)
        return after, jax.vmap(self.head)(x)


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return with_jax.jax_about() | {"equinox": version("equinox")}


def recurrent(layer: Layer) -> eqx.nn.LSTMCell:
    """Our layer as Equinox has it: transposed, in our order of gates."""
    cell = eqx.nn.LSTMCell(len(layer.w_x), len(layer.w_h), key=jax.random.key(0))
    arrays = EQUINOX.outward(Style(), Direction(*layer))
    return eqx.tree_at(
        lambda cell: tuple(getattr(cell, name) for name in arrays),
        cell,
        tuple(map(jnp.asarray, arrays.values())),
    )


def unroll(cell: eqx.nn.LSTMCell, xs: jax.Array) -> tuple[State, jax.Array]:
    """The last state, and the outputs [T, B, H]."""

    def one(state: State, x: jax.Array) -> tuple[State, jax.Array]:
        state = jax.vmap(cell)(x, state)
        return state, state[0]

    zeros = jnp.zeros((xs.shape[1], cell.hidden_size), xs.dtype)
    return jax.lax.scan(one, (zeros, zeros), xs)


def model(shape: Shape) -> with_jax.Model:
    """The language model of the shape's weights."""
    params, static = eqx.partition(Network(shape), eqx.is_array)

    def read(params: Network, ids: jax.Array) -> tuple[list, jax.Array]:
        states, logits = eqx.combine(params, static)(ids)
        return states, logits[-1]

    def gradients(gradient: Network) -> dict[str, Array]:
        found = {"w_out": np.asarray(gradient.head.weight).T}
        for depth, cell in enumerate(gradient.cells):
            found[f"w_h{depth}"] = np.asarray(cell.weight_hh).T
        return found

    return with_jax.Model(
        params,
        lambda params, ids: eqx.combine(params, static)(ids)[1],
        read,
        lambda params, states, ids: eqx.combine(params, static).step(states, ids),
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
    cell = recurrent(draw_weights(shape).layers[0])
    params, static = eqx.partition(cell, eqx.is_array)
    one = with_jax.OneLayer(
        params,
        lambda params, xs: unroll(eqx.combine(params, static), xs)[1],
        lambda grad: Layer(grad.weight_ih.T, grad.weight_hh.T, grad.bias),
    )
    return with_jax.layer(one, shape)
