"""Keras on the backend that KERAS_BACKEND names: `*_on_batch`, compiled as it decides.

Batch first, as Keras is. Its gradient is not shown to users, so the proof takes one
step of plain gradient descent and looks at what it did to the weights.
"""

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import cycle
from typing import Any

import keras
import numpy as np

from experiments.benchmarks.speed.shapes import (
    LEARNING_RATE,
    PROMPT,
    Array,
    Layer,
    Program,
    Shape,
    draw_ids,
    draw_inputs,
    draw_prompt,
    draw_weights,
)
from lstm_jax.interop import KERAS, Direction, Style

Run = Callable[[], Iterable]  # the outputs, dxs and the gradient of each weight
GENERATED = 64  # symbols per call; a call of Python per symbol is slow
_LARGE_RATE = 1e3  # the gradient must not drown in the rounding of the weights


class Network:
    """Embedding, layers, dense, of the shape's weights."""

    def __init__(self, shape: Shape) -> None:
        weights = draw_weights(shape)
        self.shape = shape
        self.embed = keras.layers.Embedding(shape.vocab, shape.hidden)
        self.lstms = [
            keras.layers.LSTM(shape.hidden, return_sequences=True, return_state=True)
            for _ in weights.layers
        ]
        self.head = keras.layers.Dense(shape.vocab)
        self.reader(1)  # builds the layers
        self.embed.set_weights([weights.embedding])
        self.head.set_weights([weights.w_out, weights.b_out])
        for lstm, layer in zip(self.lstms, weights.layers, strict=True):
            lstm.set_weights(to_list(layer))

    def model(self) -> keras.Model:
        """Ids [B, T] to logits [B, T, V]."""
        ids = keras.Input((self.shape.steps,), dtype="int32")
        xs = self.embed(ids)
        for lstm in self.lstms:
            xs, _, _ = lstm(xs)
        return keras.Model(ids, self.head(xs))

    def reader(self, steps: int) -> keras.Model:
        """Ids [B, T] and states to the last logits [B, V] and states."""
        ids = keras.Input((steps,), dtype="int32")
        xs, before, after = self.embed(ids), [], []
        for lstm in self.lstms:
            states = [keras.Input((self.shape.hidden,)) for _ in "hc"]
            xs, *last = lstm(xs, initial_state=states)
            before += states
            after += last
        return keras.Model([ids, *before], [self.head(xs[:, -1]), *after])


def about() -> dict[str, Any]:
    """Versions, threads, device."""
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        "backend": f"{backend} {import_module(backend).__version__}",
        "threads": len(os.sched_getaffinity(0)),
    }


def to_list(layer: Layer) -> list[Array]:
    """Our layer as Keras has it: kernel, recurrent kernel, bias."""
    return list(KERAS.outward(Style(), Direction(*layer)).values())


def train(shape: Shape) -> Program:
    """One Adam step per call."""
    inputs, targets = (np.ascontiguousarray(a.swapaxes(1, 2)) for a in draw_ids(shape))
    batches = cycle(list(zip(inputs, targets, strict=True)))
    model = compiled(shape, keras.optimizers.Adam(LEARNING_RATE))[1]

    def run() -> float:
        return float(model.train_on_batch(*next(batches)))

    def proof() -> dict[str, Array]:
        network, model = compiled(shape, keras.optimizers.SGD(_LARGE_RATE))
        loss = model.train_on_batch(inputs[0], targets[0])
        weights = draw_weights(shape)
        w_out = network.head.get_weights()[0]
        found = {
            "loss": np.asarray(loss),
            "w_out": (weights.w_out - w_out) / _LARGE_RATE,
        }
        for depth, lstm in enumerate(network.lstms):
            moved = weights.layers[depth].w_h - lstm.get_weights()[1]
            found[f"w_h{depth}"] = moved / _LARGE_RATE
        return found

    return Program(run, 1, proof)


def compiled(
    shape: Shape, optimizer: keras.optimizers.Optimizer
) -> tuple[Network, keras.Model]:
    """The network, and its model ready for training."""
    network = Network(shape)
    model = network.model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return network, model


def evaluate(shape: Shape) -> Program:
    """The loss of a batch."""
    inputs, targets = (np.ascontiguousarray(a[0].T) for a in draw_ids(shape))
    model = compiled(shape, keras.optimizers.Adam())[1]

    def run() -> float:
        return float(model.test_on_batch(inputs, targets))

    return Program(run, 1, lambda: {"loss": np.asarray(run())})


def generate(shape: Shape) -> Program:
    """The prompt is read once and its state repeated; the likeliest symbol follows."""
    network = Network(shape)
    read, step = network.reader(PROMPT), network.reader(1)
    prompt = draw_prompt(shape)[None]
    blank = [np.zeros((1, shape.hidden), np.float32)] * (2 * shape.layers)

    def run() -> Array:
        found = read.predict_on_batch([prompt, *blank])
        logits, *states = (np.repeat(a, shape.batch, axis=0) for a in found)
        made = [logits.argmax(-1)]
        for _ in range(GENERATED - 1):
            ids = made[-1][:, None].astype(np.int32)
            logits, *states = step.predict_on_batch([ids, *states])
            made.append(logits.argmax(-1))
        return np.stack(made)

    return Program(run, GENERATED, lambda: {"ids": run()})


def layer(shape: Shape) -> Program:
    """Outputs, and the gradients of weights and inputs, as the backend has them."""
    lstm = keras.layers.LSTM(shape.hidden, return_sequences=True)
    lstm.build((shape.batch, shape.steps, shape.hidden))
    lstm.set_weights(to_list(draw_weights(shape).layers[0]))
    xs, dys = (np.ascontiguousarray(a.swapaxes(0, 1)) for a in draw_inputs(shape))
    differentiate = {
        "jax": with_jax,
        "tensorflow": with_tensorflow,
        "torch": with_torch,
    }
    run = differentiate[keras.backend.backend()](lstm, xs, dys)

    def proof() -> dict[str, Array]:
        ys, dxs, *gradient = (np.asarray(array) for array in run())
        found = {"ys": ys.swapaxes(0, 1), "dxs": dxs.swapaxes(0, 1)}
        return found | dict(zip(("w_x", "w_h", "b"), gradient, strict=True))

    return Program(run, 1, proof)


def with_jax(lstm: keras.layers.LSTM, xs: Array, dys: Array) -> Run:
    """Outputs and gradients by `jax.vjp`, compiled."""
    import jax

    def outputs(weights: list, xs: jax.Array) -> jax.Array:
        return lstm.stateless_call(weights, others, xs)[0]

    @jax.jit
    def program(weights: list, xs: jax.Array, dys: jax.Array) -> tuple:
        ys, back = jax.vjp(outputs, weights, xs)
        gradient, dxs = back(dys)
        return ys, dxs, *gradient

    weights = [variable.value for variable in lstm.trainable_variables]
    others = [variable.value for variable in lstm.non_trainable_variables]
    on_device = jax.device_put((xs, dys))
    return lambda: jax.block_until_ready(program(weights, *on_device))


def with_tensorflow(lstm: keras.layers.LSTM, xs: Array, dys: Array) -> Run:
    """Outputs and gradients by `tf.GradientTape`, compiled."""
    import tensorflow as tf

    weights = [variable.value for variable in lstm.trainable_variables]

    @tf.function(jit_compile=True)
    def program(xs: tf.Tensor, dys: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(xs)
            ys = lstm(xs)
        return ys, *tape.gradient(ys, [xs, *weights], output_gradients=dys)

    on_device = tf.constant(xs), tf.constant(dys)
    return lambda: program(*on_device)


def with_torch(lstm: keras.layers.LSTM, xs: Array, dys: Array) -> Run:
    """Outputs and gradients by PyTorch's tape."""
    import torch

    weights = [variable.value for variable in lstm.trainable_variables]
    device = weights[0].device
    xs, dys = (torch.from_numpy(array).to(device) for array in (xs, dys))
    xs.requires_grad_()

    def run() -> list[Array]:
        ys = lstm(xs)
        gradient = torch.autograd.grad(ys, [xs, *weights], dys)
        return [array.detach().cpu().numpy() for array in (ys, *gradient)]

    return run
