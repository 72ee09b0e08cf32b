"""Learn "hello world" by heart: the first LSTM program of a textbook, purely in JAX.

Task      The text's 8 distinct characters, sorted, are numbered. 3 characters go in,
          each as one feature whose value is its bare number; an LSTM of 50 units reads
          them; a softmax on its last output gives the 4th character. All 8 windows are
          one batch; 200 epochs of Adam on categorical cross-entropy. Then 5 characters
          are generated from "hel", the likeliest each time, the window sliding along.
Command   python -m experiments.hello_world
          python -m experiments.hello_world --keras    (pip install -e '.[peers]')
Expected  PLACEHOLDER
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    from jax import Array

    from lstm_jax import LSTMParams

TEXT = "hello world"
CHARACTERS = "".join(sorted(set(TEXT)))
WINDOW = 3
HIDDEN = 50
PROMPT = "hel"
GENERATED = 5
ADAM = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-7}  # Keras's own
REPORT_EVERY = 20


@dataclasses.dataclass(frozen=True)
class Options:
    """Train an LSTM on "hello world", let it continue "hel", and say how long it took.

    Args:
        seed: of the initial weights.
        epochs: passes over the 8 windows, one Adam step each.
        keras: run the Keras program too, from the same weights (KERAS_BACKEND: jax).
        json: end with one line of JSON.
    """

    seed: int = 0
    epochs: int = 200
    keras: bool = False
    json: bool = False


class Model(NamedTuple):
    """The weights: an LSTM, and a dense layer [H, V] with its bias [V]."""

    lstm: LSTMParams
    w_out: Array
    b_out: Array


class Curve(NamedTuple):
    """Loss in nats and accuracy of every epoch, as they were before its update."""

    loss: Array
    accuracy: Array


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a program arrived at, and the seconds its stages took."""

    loss: list[float]
    accuracy: list[float]
    text: str
    seconds: dict[str, float]


def encode(text: str) -> list[int]:
    """The number of each character."""
    return [CHARACTERS.index(character) for character in text]


def decode(ids: list[int]) -> str:
    """The character of each number."""
    return "".join(CHARACTERS[i] for i in ids)


def examples() -> tuple[list[list[int]], list[int]]:
    """Every window of 3 characters that has a successor [N, 3], and the successors."""
    ids = encode(TEXT)
    starts = range(len(ids) - WINDOW)
    return [ids[i : i + WINDOW] for i in starts], [ids[i + WINDOW] for i in starts]


def init_model(seed: Array) -> Model:
    """Random weights as Keras draws them: Glorot, orthogonal, and forget bias 1."""
    import jax

    from lstm_jax import init_lstm

    key_lstm, key_out = jax.random.split(jax.random.key(seed))
    glorot = jax.nn.initializers.glorot_uniform()
    w_out = glorot(key_out, (HIDDEN, len(CHARACTERS)))
    return Model(init_lstm(key_lstm, 1, HIDDEN), w_out, jax.numpy.zeros(w_out.shape[1]))


def scores(model: Model, windows: Array) -> Array:
    """Scores [N, V] of the character after each window [N, 3]: many to one."""
    from lstm_jax import lstm

    xs = windows.T[..., None].astype(model.w_out.dtype)  # time first, one feature
    hs, _ = lstm(model.lstm, xs)
    return hs[-1] @ model.w_out + model.b_out


def measure(model: Model, windows: Array, targets: Array) -> tuple[Array, Curve]:
    """The mean cross-entropy, to differentiate, and the same with the accuracy."""
    import jax.numpy as jnp
    import optax

    logits = scores(model, windows)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    correct = jnp.argmax(logits, axis=-1) == targets
    return nats.mean(), Curve(nats.mean(), correct.mean())


def train(
    model: Model, windows: Array, targets: Array, epochs: int
) -> tuple[Model, Curve]:
    """All epochs, one Adam step on the whole batch each, in one scan."""
    import jax
    import optax

    optimizer = optax.adam(**ADAM)

    def epoch(carry: tuple, _: None) -> tuple[tuple, Curve]:
        model, memory = carry
        gradient, point = jax.grad(measure, has_aux=True)(model, windows, targets)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(model, updates), memory), point

    start = (model, optimizer.init(model))
    (model, _), curve = jax.lax.scan(epoch, start, length=epochs)
    return model, curve


def generate(model: Model, window: Array, count: int) -> Array:
    """The `count` characters after a window [3], the likeliest each time."""
    import jax
    import jax.numpy as jnp

    def step(window: Array, _: None) -> tuple[Array, Array]:
        best = jnp.argmax(scores(model, window[None])[0]).astype(window.dtype)
        return jnp.append(window[1:], best), best

    return jax.lax.scan(step, window, length=count)[1]
