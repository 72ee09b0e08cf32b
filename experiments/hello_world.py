"""Learn "hello world" by heart: a textbook's first LSTM program, purely in JAX.

Task      The text's 8 distinct characters are sorted and numbered. 3 characters go in,
          each as one feature whose value is its bare number; an LSTM of 50 units reads
          them; a softmax on its last output tells the 4th. All 8 windows are one batch;
          200 epochs of Adam on the cross-entropy. Then 5 characters are generated from
          "hel", the likeliest each time, while the window slides along.
Command   python -m experiments.hello_world
          python -m experiments.hello_world --keras     (pip install -e '.[peers]')
Expected  EXPECTED
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import tyro

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    import optax
    from jax import Array

    from lstm_jax import LSTMParams

TEXT = "hello world"
CHARACTERS = "".join(sorted(set(TEXT)))
WINDOW = 3
HIDDEN = 50
PROMPT = "hel"
GENERATED = 5
LEARNING_RATE, B1, B2, EPSILON = 1e-3, 0.9, 0.999, 1e-7  # Adam's, as Keras has them
REPORT_EVERY = 20
BACKENDS = ("jax", "tensorflow", "torch")


@dataclasses.dataclass(frozen=True)
class Options:
    """Train an LSTM on "hello world", let it continue "hel", and say how long it took.

    Args:
        seed: of the initial weights.
        epochs: passes over the 8 windows, one Adam step each.
        keras: run the Keras program beside it, from the same initial weights, on the
            backend that KERAS_BACKEND names (jax, unless set).
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


def keras_adam() -> optax.GradientTransformationExtraArgs:
    """Adam as Keras has it: ε is added to √v before v's bias is corrected, not after.

    (Kingma & Ba 2015, end of section 2.) So optax's ε is Keras's over √(1 - β₂ᵗ): 32
    times larger in the first step, which alone moves the losses by 0.001.
    """
    import jax.numpy as jnp
    import optax

    def epsilon(step: Array) -> Array:
        return EPSILON / jnp.sqrt(1 - B2 ** (step + 1))

    return optax.inject_hyperparams(optax.adam)(LEARNING_RATE, B1, B2, epsilon)


def train(
    model: Model, windows: Array, targets: Array, epochs: int
) -> tuple[Model, Curve]:
    """All epochs, one Adam step on the whole batch each, in one scan."""
    import jax
    import optax

    optimizer = keras_adam()

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


def timed(
    function: Callable[..., Any], *arguments: object
) -> tuple[Any, dict[str, float]]:
    """What a function returns, and the seconds to compile it and to run it."""
    import jax

    start = perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    compiled = perf_counter()
    result = jax.block_until_ready(program(*arguments))
    return result, {"compile": compiled - start, "run": perf_counter() - compiled}


def run_jax(options: Options) -> tuple[Outcome, Model]:
    """Our program, and the initial weights, for Keras to start from."""
    start = perf_counter()
    import jax.numpy as jnp
    import optax  # noqa: F401

    import lstm_jax

    lstm_jax.lstm  # noqa: B018
    imported = perf_counter() - start

    windows, targets = (jnp.array(ids) for ids in examples())
    initial, starting = timed(init_model, jnp.uint32(options.seed))
    learn = functools.partial(train, epochs=options.epochs)
    (model, curve), training = timed(learn, initial, windows, targets)
    write = functools.partial(generate, count=GENERATED)
    ids, writing = timed(write, model, jnp.array(encode(PROMPT)))
    stages = (starting, training, writing)
    seconds = {"import": imported} | {
        name: sum(stage[name] for stage in stages) for name in ("compile", "run")
    }
    text = PROMPT + decode(ids.tolist())
    return Outcome(curve.loss.tolist(), curve.accuracy.tolist(), text, seconds), initial


def run_keras(initial: Model, epochs: int) -> Outcome:
    """The Keras program, from our initial weights: its gates come in our order."""
    start = perf_counter()
    import numpy as np

    os.environ["KERAS_BACKEND"] = keras_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = importlib.import_module("keras")
    imported = perf_counter()

    reader = keras.layers.LSTM(HIDDEN)
    softmax = keras.layers.Dense(len(CHARACTERS), activation="softmax")
    network = keras.Sequential([keras.Input((WINDOW, 1)), reader, softmax])
    gates = initial.lstm
    reader.set_weights([np.asarray(w) for w in (gates.w_x, gates.w_h, gates.b)])
    softmax.set_weights([np.asarray(w) for w in (initial.w_out, initial.b_out)])
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    windows, targets = examples()
    xs = np.array(windows, np.float32)[..., None]
    ys = np.eye(len(CHARACTERS), dtype=np.float32)[targets]
    built = perf_counter()
    history = network.fit(xs, ys, epochs=epochs, shuffle=False, verbose=0).history
    fitted = perf_counter()

    ids = encode(PROMPT)
    for _ in range(GENERATED):
        window = np.array([ids[-WINDOW:]], np.float32)[..., None]
        ids.append(int(network.predict(window, verbose=0)[-1].argmax()))
    seconds = {
        "import": imported - start,
        "build": built - imported,
        "fit": fitted - built,
        "generate": perf_counter() - fitted,
    }
    return Outcome(history["loss"], history["accuracy"], decode(ids), seconds)


def keras_backend() -> str:
    """The backend Keras is to run on."""
    return os.environ.get("KERAS_BACKEND") or "jax"


def complaint(options: Options) -> str | None:
    """What is wrong with the options, in one line."""
    if options.epochs < 1:
        return f"--epochs: expected 1 or more, found {options.epochs}"
    if not 0 <= options.seed < 2**32:
        return f"--seed: expected 0 to 4294967295, found {options.seed}"
    if not options.keras:
        return None
    backend = keras_backend()
    if backend not in BACKENDS:
        return f"KERAS_BACKEND: expected {', '.join(BACKENDS)}, found {backend!r}"
    if find_spec("keras") is None:
        return "--keras needs Keras: pip install -e '.[peers]'"
    if find_spec(backend) is None:
        return f"KERAS_BACKEND={backend} needs {backend}: pip install -e '.[peers]'"
    return None


def difference(ours: Outcome, theirs: Outcome) -> float:
    """The largest difference of the two loss curves, in nats."""
    return max(abs(a - b) for a, b in zip(ours.loss, theirs.loss, strict=True))


def show(name: str, outcome: Outcome) -> None:
    """Print the curve, the text and the seconds of one program."""
    print(f"{name}\n  epoch   loss (nats)   accuracy")
    last = len(outcome.loss)
    for epoch in sorted({1, *range(REPORT_EVERY, last, REPORT_EVERY), last}):
        loss, accuracy = outcome.loss[epoch - 1], outcome.accuracy[epoch - 1]
        print(f"  {epoch:5d}   {loss:11.6f}   {accuracy:8.3f}")
    print(f"  text     {outcome.text!r}")
    stages = ", ".join(f"{stage} {s:.3f}" for stage, s in outcome.seconds.items())
    print(f"  seconds  {stages}, total {sum(outcome.seconds.values()):.3f}\n")


def summary(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON has it: the last point of the curve, text and seconds."""
    return {
        "loss": outcome.loss[-1],
        "accuracy": outcome.accuracy[-1],
        "text": outcome.text,
        "seconds": {stage: round(s, 4) for stage, s in outcome.seconds.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = (tyro.conf.FlagCreatePairsOff,)
    options = tyro.cli(Options, args=arguments, config=config)
    if problem := complaint(options):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    ours, initial = run_jax(options)
    show("lstm_jax", ours)
    record = {"seed": options.seed, "epochs": options.epochs} | summary(ours)
    if options.keras:
        theirs = run_keras(initial, options.epochs)
        apart = difference(ours, theirs)
        show(f"Keras on {keras_backend()}", theirs)
        print(f"The loss curves differ by {apart:.1e} nats at most.")
        record["keras"] = summary(theirs) | {
            "backend": keras_backend(),
            "max_difference": apart,
        }
    if options.json:
        print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
