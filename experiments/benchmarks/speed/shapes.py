"""What is computed: sizes, weights and data, the same in every library.

The model is an embedding [V, H], L LSTM layers of H units and a dense layer [H, V].
Everything is NumPy and follows from the shape alone, so that every worker process
draws the same numbers for itself.
"""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
CASES = ("train", "evaluate", "layer", "generate")
BATCHES = 16  # different batches that training goes round in
PROMPT = 16  # symbols read before the first is generated
GENERATED = 256  # symbols per call
LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Shape:
    """Layers L, units H, rows B, time steps T, symbols V."""

    name: str
    layers: int
    hidden: int
    batch: int
    steps: int
    vocab: int = 65

    @property
    def train_flops(self) -> float:
        """Of the matrix products in one training step, as anybody would count them."""
        per_symbol = 8 * self.layers * self.hidden**2 + self.hidden * self.vocab
        return 3.0 * 2 * self.steps * self.batch * per_symbol

    @property
    def executed_flops(self) -> float:
        """Of the products that `lstm_jax` executes: fewer, a table serves layer 0."""
        table_gradient = 2.0 * self.steps * self.batch * 4 * self.hidden * self.vocab
        return 3 * self.forward_flops + table_gradient

    @property
    def forward_flops(self) -> float:
        """Of them those of an evaluation."""
        hidden, vocab, layers = self.hidden, self.vocab, self.layers
        forward = 8 * layers * hidden**2 - 4 * hidden**2 + layers * hidden * vocab
        return 2.0 * self.steps * self.batch * forward

    @property
    def layer_flops(self) -> float:
        """Of the products of a bare layer of these sizes, forward and backward."""
        return 3.0 * 2 * self.steps * self.batch * 8 * self.hidden**2


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 1, 50, 32, 3),
        Shape("small", 1, 128, 32, 64),
        Shape("mid", 1, 256, 64, 64),
        Shape("charrnn", 2, 512, 64, 64),
        Shape("big", 1, 1024, 64, 64),
    )
}


class Layer(NamedTuple):
    """`w_x` [D, 4H], `w_h` [H, 4H], `b` [4H]; gates i, f, g, o."""

    w_x: Array
    w_h: Array
    b: Array


class Weights(NamedTuple):
    """`embedding` [V, H], the layers, `w_out` [H, V], `b_out` [V]."""

    embedding: Array
    layers: list[Layer]
    w_out: Array
    b_out: Array


class Program(NamedTuple):
    """Something to time.

    Attributes:
        run: one call, which returns when its work is done.
        units: how many steps (or symbols, when generating) one call takes.
        proof: what it computes from the initial weights, to be compared.
    """

    run: Callable[[], object]
    units: float
    proof: Callable[[], dict[str, Array]]


Options = dict[str, Any]


def draw_weights(shape: Shape) -> Weights:
    """Random weights, all of them unequal; PyTorch's range."""
    rng = _generator("weights", shape)
    hidden = shape.hidden

    def uniform(*size: int) -> Array:
        limit = hidden**-0.5
        return rng.uniform(-limit, limit, size).astype(np.float32)

    layers = [
        Layer(
            uniform(hidden, 4 * hidden),
            uniform(hidden, 4 * hidden),
            uniform(4 * hidden),
        )
        for _ in range(shape.layers)
    ]
    embedding = rng.normal(size=(shape.vocab, hidden)).astype(np.float32)
    return Weights(
        embedding, layers, uniform(hidden, shape.vocab), uniform(shape.vocab)
    )


def draw_ids(shape: Shape) -> tuple[Array, Array]:
    """Symbols and their successors [BATCHES, T, B]."""
    rng = _generator("ids", shape)
    size = (BATCHES, shape.steps + 1, shape.batch)
    ids = rng.integers(0, shape.vocab, size, dtype=np.int32)
    return np.ascontiguousarray(ids[:, :-1]), np.ascontiguousarray(ids[:, 1:])


def draw_inputs(shape: Shape) -> tuple[Array, Array]:
    """Dense inputs of a layer, and the gradient that reaches its outputs [T, B, H]."""
    rng = _generator("inputs", shape)
    size = (2, shape.steps, shape.batch, shape.hidden)
    xs, dys = rng.normal(size=size).astype(np.float32)
    return xs, dys


def draw_prompt(shape: Shape) -> Array:
    """Symbols to be continued [PROMPT]."""
    return _generator("prompt", shape).integers(0, shape.vocab, PROMPT, dtype=np.int32)


def _generator(purpose: str, shape: Shape) -> np.random.Generator:
    sizes = dataclasses.astuple(shape)[1:]
    return np.random.default_rng([zlib.crc32(purpose.encode()), *sizes])
