"""Flax linen: `nn.RNN` over `nn.OptimizedLSTMCell`, time first."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import flax.linen as nn
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
from lstm_jax.interop import LINEN, Direction, Style, bias_of


class Network(nn.Module):
    """Embedding, layers, dense."""

    shape: Shape

    def setup(self) -> None:
        """The parts."""
        self.embed = nn.Embed(self.shape.vocab, self.shape.hidden)
        self.cells = [
            nn.OptimizedLSTMCell(self.shape.hidden) for _ in range(self.shape.layers)
        ]
        self.rnns = [
            nn.RNN(cell, time_major=True, return_carry=True) for cell in self.cells
        ]
        self.head = nn.Dense(self.shape.vocab)

    def __call__(self, ids: jax.Array) -> tuple[list, jax.Array]:
        """States after the last symbol, and logits [T, B, V]."""
        xs, states = self.embed(ids), []
        for rnn in self.rnns:
            state, xs = rnn(xs)
            states.append(state)
        return states, self.head(xs)

    def step(self, states: list, ids: jax.Array) -> tuple[list, jax.Array]:
        """One more symbol."""
        x, after = self.embed(ids), []
        for cell, state in zip(self.cells, states, strict=True):
            state, x = cell(state, x)
            after.append(state)
        return after, self.head(x)


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    return with_jax.jax_about() | {"flax": version("flax")}


def to_cell(layer: Layer) -> dict[str, Any]:
    """Our layer as linen has it: a matrix per gate, the bias on the hidden side."""
    cell: dict[str, Any] = {}
    for path, array in LINEN.outward(Style(), Direction(*layer)).items():
        gate, name = path.split("/")
        cell.setdefault(gate, {})[name] = jnp.asarray(array)
    return cell


def from_cell(cell: dict[str, Any]) -> Layer:
    """The way back."""
    arrays = {
        f"{gate}/{name}": np.asarray(array)
        for gate, dense in cell.items()
        for name, array in dense.items()
    }
    one = LINEN.inward(Style(), arrays)
    return Layer(one.w_x, one.w_h, bias_of(one))


def model(shape: Shape) -> with_jax.Model:
    """The language model of the shape's weights."""
    weights = draw_weights(shape)
    apply: Callable[..., Any] = Network(shape).apply
    params: dict[str, Any] = {
        f"cells_{depth}": to_cell(layer) for depth, layer in enumerate(weights.layers)
    }
    params["embed"] = {"embedding": jnp.asarray(weights.embedding)}
    params["head"] = {
        "kernel": jnp.asarray(weights.w_out),
        "bias": jnp.asarray(weights.b_out),
    }

    def read(params: dict, ids: jax.Array) -> tuple[list, jax.Array]:
        states, logits = apply(params, ids)
        return states, logits[-1]

    def gradients(gradient: dict) -> dict[str, Array]:
        inner = gradient["params"]
        found = {"w_out": np.asarray(inner["head"]["kernel"])}
        for depth in range(shape.layers):
            found[f"w_h{depth}"] = from_cell(inner[f"cells_{depth}"]).w_h
        return found

    return with_jax.Model(
        {"params": params},
        lambda params, ids: apply(params, ids)[1],
        read,
        lambda params, states, ids: apply(params, states, ids, method=Network.step),
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


def layer(shape: Shape, gradient: bool = True) -> Program:
    """See `with_jax`."""
    rnn = nn.RNN(nn.OptimizedLSTMCell(shape.hidden), time_major=True)
    outputs: Callable[..., Any] = rnn.apply
    cell = to_cell(draw_weights(shape).layers[0])
    one = with_jax.OneLayer(
        {"params": {"cell": cell}},
        outputs,
        lambda gradient: from_cell(gradient["params"]["cell"]),
    )
    return with_jax.layer(one, shape, gradient)
