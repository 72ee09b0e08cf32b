"""Random weights of recurrent layers, all of them unequal, in the common form."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lstm_jax.interop.activations import SIGMOID, Activation
from lstm_jax.interop.weights import BLOCKS, Direction, Stack, Style, Weights

D = 5


def random_layers(
    style: Style,
    widths: Sequence[int] = (4,),
    ways: int | Sequence[int] = 1,
    *,
    bias: bool = True,
    second_bias: bool = False,
    peepholes: bool = False,
    outputs: int = 0,
    dtype: str = "float32",
) -> Weights:
    """Draw layers on top of each other, of one or two directions, all or each.

    `outputs` is the width of a projection.
    """
    rng = np.random.default_rng(3)
    n = len(BLOCKS[style.kind])

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / 2).astype(dtype)

    def direction(inputs: int, hidden: int) -> Direction:
        out = outputs or hidden
        return Direction(
            normal(inputs, n * hidden),
            normal(out, n * hidden),
            normal(n * hidden) if bias else None,
            normal(n * hidden) if second_bias else None,
            normal(3 * hidden) if peepholes else None,
            normal(hidden, outputs) if outputs else None,
        )

    layers, inputs = [], D
    each = [ways] * len(widths) if isinstance(ways, int) else ways
    for hidden, count in zip(widths, each, strict=True):
        layers.append(tuple(direction(inputs, hidden) for _ in range(count)))
        inputs = count * (outputs or hidden)
    return Stack(style, tuple(layers))


LSTM, GRU = Style(), Style("gru")
OTHERS = (
    Activation("HardSigmoid", 0.25, 0.5),
    Activation("LeakyRelu", 0.125),
    Activation("Softsign"),
)
RELU = (SIGMOID, Activation("Relu"), Activation("Relu"))
SYMMETRIC = (Activation("HardSigmoid", 0.25, 0.5), Activation("Relu"), OTHERS[2])
# Layers of every kind that any system has.
LAYERS = {
    "lstm": random_layers(LSTM, (4, 4)),
    "both biases": random_layers(LSTM, (4, 4), second_bias=True),
    "two directions": random_layers(LSTM, (4, 4), 2),
    "widths": random_layers(LSTM, (4, 3)),
    "one over two directions": random_layers(LSTM, (4, 3), (2, 1)),
    "no bias": random_layers(LSTM, bias=False),
    "peepholes": random_layers(LSTM, (4, 4), 2, peepholes=True),
    "projection": random_layers(LSTM, (4, 4), 2, outputs=3, second_bias=True),
    "wide projection": random_layers(LSTM, outputs=4),
    "coupled": random_layers(Style(coupled=True)),
    "clip": random_layers(Style(clip=0.75), (4, 4), peepholes=True),
    "activations": random_layers(Style(activations=OTHERS), (4, 4), 2),
    "relu": random_layers(Style(activations=RELU), (4, 3), 2),
    "coupled clip": random_layers(
        Style(coupled=True, clip=0.5, activations=SYMMETRIC), bias=False
    ),
    "backward": random_layers(Style(backward=True)),
    "backward layers": random_layers(Style(backward=True), (4, 4)),
    "gru": random_layers(GRU, (4, 4)),
    "gru both biases": random_layers(GRU, (4, 4), 2, second_bias=True),
    "gru no bias": random_layers(GRU, bias=False),
    "gru reset before": random_layers(
        dataclasses.replace(GRU, reset_after=False), (4, 3), second_bias=True
    ),
}
