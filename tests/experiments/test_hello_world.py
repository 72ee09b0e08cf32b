"""The "hello world" experiment: its data, its learning, its text, its command."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import hello_world
from experiments.hello_world import Model, encode, examples, main
from lstm_jax import LSTMState, lstm_step

Learn = Callable[[int, int], tuple[Model, tuple[jax.Array, jax.Array]]]


@pytest.fixture(scope="module")
def learn() -> Learn:
    """Train from a seed for a number of epochs."""
    train = functools.partial(hello_world.train, hello_world.keras_adam())
    program = jax.jit(train, static_argnums=0)
    arrays = [jnp.array(ids) for ids in examples()]
    return lambda seed, epochs: program(epochs, initial(seed), *arrays)


@functools.cache
def initial(seed: int) -> Model:
    return jax.jit(hello_world.init_model)(jnp.uint32(seed))


def test_examples_are_all_windows_of_three_and_what_follows() -> None:
    windows, targets = examples()
    read = ["".join(" dehlorw"[i] for i in window) for window in windows]
    assert read == ["hel", "ell", "llo", "lo ", "o w", " wo", "wor", "orl"]
    assert "".join(" dehlorw"[i] for i in targets) == "lo world"


def test_model_has_the_sizes_of_the_book() -> None:
    shapes = [array.shape for array in jax.tree.leaves(initial(0))]
    assert shapes == [(1, 200), (50, 200), (200,), (50, 8), (8,)]


def test_training_follows_a_slow_reference(learn: Learn) -> None:
    """Losses, accuracies and weights of all 200 epochs, computed another way.

    The network is stepped in a Python loop, Adam is written in NumPy after Keras's
    formula. Dividing by the corrected √v before adding ε ends 1e-3 away.
    """
    windows, targets = examples()
    one_hot = jnp.eye(8)[jnp.array(targets)]

    def loss(model: Model) -> tuple[jax.Array, jax.Array]:
        state = LSTMState(h=jnp.zeros((8, 50)), c=jnp.zeros((8, 50)))
        for t in range(3):
            x = jnp.array([[float(window[t])] for window in windows])
            state = lstm_step(model.lstm, state, x)
        p = jax.nn.softmax(state.h @ model.w_out + model.b_out)
        return -jnp.sum(one_hot * jnp.log(p)) / 8, p

    slope = jax.jit(jax.value_and_grad(loss, has_aux=True))
    weights, shape = jax.tree.flatten(initial(0))
    weights = [np.asarray(w) for w in weights]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    losses, accuracies = [], []
    for t in range(1, 201):
        (nats, p), gradient = slope(jax.tree.unflatten(shape, weights))
        losses.append(float(nats))
        accuracies.append(np.mean(np.asarray(p).argmax(axis=1) == targets))
        rate = 0.001 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for k, g in enumerate(np.asarray(g) for g in jax.tree.leaves(gradient)):
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.999 * v[k] + 0.001 * g**2
            weights[k] = weights[k] - rate * m[k] / (np.sqrt(v[k]) + 1e-7)

    model, (ours, correct) = learn(0, 200)
    np.testing.assert_allclose(ours, losses, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(correct, accuracies)
    for ours, reference in zip(jax.tree.leaves(model), weights, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_text_is_known_by_heart_after_1500_epochs(learn: Learn, seed: int) -> None:
    model, (loss, accuracy) = learn(seed, 1500)
    assert loss[-1] < 0.01 and accuracy[-1] == 1
    write = jax.jit(functools.partial(hello_world.generate, 8))
    assert hello_world.decode(write(model, jnp.array(encode("hel")))) == "lo world"
    assert hello_world.decode(write(model, jnp.array(encode("o w"))))[:3] == "orl"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, dict]:
    """What the command prints, and the JSON of its last line."""
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr().out
    return printed, json.loads(printed.splitlines()[-1])


def test_command_prints_curve_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    printed, record = run(capsys)
    rows = [line.split() for line in printed.splitlines()]
    epochs = [int(row[0]) for row in rows if row and row[0].isdigit()]
    assert epochs == [1, *range(20, 201, 20)]
    assert ["text", "'hello", "wo'"] in rows
    assert ["200", f"{record['loss']:.6f}", "1.000"] in rows
    assert record["text"] == "hello wo" and record["accuracy"] == 1
    assert record["seed"] == 0 and record["epochs"] == 200 and "keras" not in record
    assert set(record["seconds"]) == {"import", "compile", "run"}
    assert min(record["seconds"].values()) > 0


def test_curve_falls_and_depends_on_the_seed_alone(
    learn: Learn, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (loss, _) = learn(3, 45)
    assert (np.diff(loss) < 0).all()
    printed, record = run(capsys, "--seed", "3", "--epochs", "45")
    rows = [line.split() for line in printed.splitlines()]
    curve = [row[1] for row in rows if row and row[0] in ("1", "20", "40", "45")]
    assert curve == [f"{loss[epoch - 1]:.6f}" for epoch in (1, 20, 40, 45)]
    assert record["seed"] == 3 and record["epochs"] == 45
    assert abs(learn(4, 45)[1][0] - loss).min() > 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs: expected 1 or more, found 0"),
        (["--epochs", "-5"], "--epochs: expected 1 or more, found -5"),
        (["--seed", "-1"], "--seed: expected 0 to 4294967295, found -1"),
        (["--seed", str(2**32)], "--seed: expected 0 to 4294967295, found 4294967296"),
        (["--keras"], "--keras needs Keras: pip install -e '.[peers]'"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hello_world, "find_spec", lambda name: None)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {message}\n")


def test_unknown_backend_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hello_world, "find_spec", lambda name: object())
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    assert main(["--keras"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err == (
        "error: KERAS_BACKEND: expected an installed one of jax, tensorflow, torch, "
        "found 'theano'\n"
    )


def test_help_does_not_wait_for_jax() -> None:
    program = (
        "import sys; from experiments.hello_world import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print({'jax', 'numpy', 'optax', 'keras'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == ""
    assert "--keras" in result.stdout and result.stdout.endswith("\nset()\n")


@pytest.mark.filterwarnings("ignore")  # of Keras and its backends, not ours
def test_keras_learns_the_same_curve(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("keras")
    printed, record = run(capsys, "--keras")
    theirs: dict[str, Any] = record["keras"]
    assert theirs["max_difference"] < 1e-5
    assert abs(theirs["loss"] - record["loss"]) <= theirs["max_difference"]
    assert theirs["accuracy"] == record["accuracy"]
    assert theirs["text"] == record["text"] == "hello wo"
    assert theirs["backend"] == os.environ["KERAS_BACKEND"]
    assert f"Keras on {theirs['backend']}\n" in printed
    assert set(theirs["seconds"]) == {"import", "build", "fit", "generate"}
