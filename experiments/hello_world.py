"""Learn "hello world" by heart: a textbook's first LSTM program, purely in JAX.

Task      The text's 8 distinct characters are sorted and numbered. 3 characters go in,
          each as one feature whose value is its bare number; an LSTM of 50 units reads
          them; a softmax on its last output tells the 4th. All 8 windows are one batch;
          200 epochs of Adam on the cross-entropy. Then 5 characters are generated from
          "hel", the likeliest each time, while the window slides along.
Command   python -m experiments.hello_world
          python -m experiments.hello_world --keras     (pip install -e '.[peers]')
Expected  A loss of 0.21 ± 0.07 nats (seeds 0 to 199). 193 of those 200 runs have all 8
          windows right; 194 write "hello wo", the other 6 "helloldw". With --keras the
          two loss curves agree to 1e-6 nats.

The book shows "hello w", one character short of the 5 that its program asks for. As
printed the program gets to neither: np.append refuses to join a window of three
dimensions to a character of two. What is written here is what the program means.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import lstm_jax
from lstm_jax.cli import parse, run_command

if TYPE_CHECKING:  # JAX is imported where it is used, so that --help need not wait
    import optax
    from jax import Array

TEXT = "hello world"
CHARACTERS = "".join(sorted(set(TEXT)))
WINDOW = 3
HIDDEN = 50
PROMPT = "hel"
GENERATED = 5
REPORT_EVERY = 20
KERAS_BACKENDS = ("jax", "tensorflow", "torch")
# Of programs that run for an instant: LLVM, which takes most of the time, does less.
QUICKLY: dict[str, bool | str] = {"xla_backend_optimization_level": "1"}

Result = TypeVar("Result")


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

    lstm: lstm_jax.LSTMParams
    w_out: Array
    b_out: Array


class Outcome(NamedTuple):
    """What a program arrived at, and the seconds its stages took.

    The loss, in nats, and the accuracy of an epoch are those before its update.
    """

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
    """Random weights, distributed as Keras's are."""
    import jax

    key_lstm, key_out = jax.random.split(jax.random.key(seed))
    glorot = jax.nn.initializers.glorot_uniform(dtype=jax.numpy.float32)
    w_out = glorot(key_out, (HIDDEN, len(CHARACTERS)))
    b_out = jax.numpy.zeros(len(CHARACTERS), jax.numpy.float32)
    return Model(lstm_jax.init_lstm(key_lstm, 1, HIDDEN), w_out, b_out)


def scores(model: Model, windows: Array) -> Array:
    """Scores [N, V] of the character after each window [N, 3]: many to one."""
    xs = windows.T[..., None].astype(model.w_out.dtype)  # time first, one feature
    hs, _ = lstm_jax.lstm(model.lstm, xs)
    return hs[-1] @ model.w_out + model.b_out


def keras_adam() -> optax.GradientTransformation:
    """Adam as Keras has it: ε meets √v before v's bias is corrected, not after.

    It is the variant at the end of section 2 of Kingma & Ba (2015). In optax's terms,
    ε is divided by √(1 - β₂ᵗ), which makes it 32 times larger in the first step.
    """
    import jax.numpy as jnp
    import optax

    b1, b2, epsilon = 0.9, 0.999, 1e-7
    adam = optax.inject_hyperparams(optax.adam, static_args=("b1", "b2"))
    return adam(1e-3, b1, b2, lambda t: epsilon / jnp.sqrt(1 - b2 ** (t + 1.0)))


def train(
    optimizer: optax.GradientTransformation,
    epochs: int,
    model: Model,
    windows: Array,
    targets: Array,
) -> tuple[Model, tuple[Array, Array]]:
    """One step on the whole batch per epoch, in one scan; losses and accuracies [E]."""
    import jax
    import optax

    def loss(model: Model) -> tuple[Array, Array]:
        logits = scores(model, windows)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return nats.mean(), (logits.argmax(axis=-1) == targets).mean()

    def epoch(carry: tuple, _: None) -> tuple[tuple, tuple[Array, Array]]:
        model, memory = carry
        measured, gradient = jax.value_and_grad(loss, has_aux=True)(model)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(model, updates), memory), measured

    start = (model, optimizer.init(cast("optax.Params", model)))
    (model, _), curves = jax.lax.scan(epoch, start, length=epochs)
    return model, curves


def generate(count: int, model: Model, window: Array) -> Array:
    """The `count` characters after a window [3], the likeliest each time."""
    import jax
    import jax.numpy as jnp

    def step(window: Array, _: None) -> tuple[Array, Array]:
        best = scores(model, window[None])[0].argmax().astype(window.dtype)
        return jnp.append(window[1:], best), best

    return jax.lax.scan(step, window, length=count)[1]


def run_jax(options: Options) -> tuple[Outcome, Model]:
    """Our program; also its initial weights, for Keras to start from."""
    start = perf_counter()
    import jax
    import numpy as np

    optimizer = keras_adam()
    seconds = {"import": perf_counter() - start, "compile": 0.0, "run": 0.0}

    def timed(function: Callable[..., Result], *arguments: object) -> Result:
        start = perf_counter()
        program = jax.jit(function).lower(*arguments).compile(QUICKLY)
        compiled = perf_counter()
        result = jax.block_until_ready(program(*arguments))
        seconds["compile"] += compiled - start
        seconds["run"] += perf_counter() - compiled
        return result

    windows, targets = (np.array(ids, np.int32) for ids in examples())
    initial = timed(init_model, np.uint32(options.seed))
    learn = functools.partial(train, optimizer, options.epochs)
    model, (loss, accuracy) = timed(learn, initial, windows, targets)
    write = functools.partial(generate, GENERATED)
    ids = timed(write, model, np.array(encode(PROMPT), np.int32))
    text = PROMPT + decode(ids.tolist())
    return Outcome(loss.tolist(), accuracy.tolist(), text, seconds), initial


def run_keras(initial: Model, epochs: int) -> Outcome:
    """The Keras program from the same weights; its gates come in our order."""
    times = [perf_counter()]
    import numpy as np

    os.environ["KERAS_BACKEND"] = keras_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        keras = importlib.import_module("keras")
    times.append(perf_counter())

    reader = keras.layers.LSTM(HIDDEN)
    softmax = keras.layers.Dense(len(CHARACTERS), activation="softmax")
    network = keras.Sequential([keras.Input((WINDOW, 1)), reader, softmax])
    gates = initial.lstm
    reader.set_weights([np.asarray(w) for w in (gates.w_x, gates.w_h, gates.b)])
    softmax.set_weights([np.asarray(w) for w in (initial.w_out, initial.b_out)])
    network.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    times.append(perf_counter())

    windows, targets = examples()
    xs = np.array(windows, np.float32)[..., None]
    ys = np.eye(len(CHARACTERS), dtype=np.float32)[targets]
    history = network.fit(xs, ys, epochs=epochs, shuffle=False, verbose=0).history
    times.append(perf_counter())

    ids = encode(PROMPT)
    for _ in range(GENERATED):
        window = np.array([ids[-WINDOW:]], np.float32)[..., None]
        ids.append(int(network.predict(window, verbose=0)[-1].argmax()))
    times.append(perf_counter())
    stages = ("import", "build", "fit", "generate")
    seconds = {s: b - a for s, a, b in zip(stages, times, times[1:], strict=False)}
    return Outcome(history["loss"], history["accuracy"], decode(ids), seconds)


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Keep the error stream shut: TensorFlow greets there at every log level."""
    stream = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stream, 2)
        os.close(stream)


def keras_backend() -> str:
    """The backend Keras is to run on."""
    return os.environ.get("KERAS_BACKEND") or "jax"


def complaint(options: Options) -> str | None:
    """What is wrong with the options, in one line."""
    if options.epochs < 1:
        return f"--epochs: expected 1 or more, found {options.epochs}"
    if not 0 <= options.seed < 2**32:
        return f"--seed: expected 0 to {2**32 - 1}, found {options.seed}"
    if options.keras and find_spec("keras") is None:
        return "--keras needs Keras: pip install -e '.[peers]'"
    backend = keras_backend()
    if options.keras and (backend not in KERAS_BACKENDS or find_spec(backend) is None):
        known = ", ".join(KERAS_BACKENDS)
        return f"KERAS_BACKEND: expected an installed one of {known}, found {backend!r}"
    return None


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
    """An outcome with the last points of its curves."""
    last = {"loss": outcome.loss[-1], "accuracy": outcome.accuracy[-1]}
    return outcome._asdict() | last


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = (Options.__doc__ or "").split("\n\n")[0]
    options = parse(Options, "hello_world", about, arguments, package="experiments")
    if problem := complaint(options):
        print(f"error: {problem}", file=sys.stderr)
        return 2
    lstm_jax.distributed.enable_compilation_cache()
    ours, initial = run_jax(options)
    show("lstm_jax", ours)
    record = {"seed": options.seed, "epochs": options.epochs} | summary(ours)
    if options.keras:
        theirs = run_keras(initial, options.epochs)
        show(f"Keras on {keras_backend()}", theirs)
        pairs = zip(ours.loss, theirs.loss, strict=True)
        apart = max(abs(a - b) for a, b in pairs)
        print(f"The loss curves differ by at most {apart:.1e} nats.")
        which = {"backend": keras_backend(), "max_difference": apart}
        record["keras"] = which | summary(theirs)
    if options.json:
        print(json.dumps(record))
    return 0


if __name__ == "__main__":
    run_command(main)
