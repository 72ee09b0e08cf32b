"""JAX's own switches change no result: float64, no compilation, checks of ranks, NaNs.

The quick part traces programs in this process, where JAX finds most faults; the slow
one runs every command, and every application, in a process of its own.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import experiments
from lstm_jax.config import RegularizerConfig
from lstm_jax.decoding.autoregressive import generate_ids
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.decoding.likelihood import score_ids, search_ids
from lstm_jax.metrics.losses import loss_sums
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.nn.layers import StackedLSTM
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.optimizer import make_optimizer
from lstm_jax.training.step import init_state, train_steps
from tests.helpers.commands import environment
from tests.models.test_any_cell import NETWORKS


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """All that changes what a program is, at once."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"), jax.debug_nans(True):
        yield


OPTIMIZER = make_optimizer(0.1, 1.0, 0.99, ema=0.9)
NOISY = RegularizerConfig(
    input_dropout=0.1, weight_drop=0.1, zoneout_cell=0.1, temporal_penalty=0.1
)


def small(regularizer: RegularizerConfig) -> LanguageModel:
    return LanguageModel(
        5, 3, 1, rngs=nnx.Rngs(0), dropout=0.25, regularizer=regularizer
    )


def lesson(steps: int) -> dict[str, np.ndarray]:
    """Batches [K, B, T] of a few symbols."""
    ids = np.arange(steps * 8, dtype=np.int32).reshape(steps, 2, 4) % 5
    return {
        "inputs": ids,
        "targets": (ids + 1) % 5,
        "resets": np.ones((steps, 2), bool),
    }


def test_training_is_traced_with_every_regularizer() -> None:
    model = jax.eval_shape(lambda: small(NOISY))
    with strict():
        state = jax.eval_shape(
            lambda: init_state(
                small(NOISY),
                OPTIMIZER,
                small(NOISY).initial_state(2),
                jax.random.key(0),
            )
        )
        rates = np.ones(3, np.float32)
        after, report = jax.eval_shape(
            lambda *given: train_steps(language_loss, OPTIMIZER, *given),
            *(state, lesson(3), rates, np.int32(3)),
        )
    types = [[a.dtype for a in jax.tree.leaves(m)] for m in (model, after.model)]
    assert types[0] == types[1]
    assert report.gradient_norm.dtype == jnp.float32


@pytest.mark.parametrize("name", NETWORKS)
def test_every_loss_has_its_gradient(name: str) -> None:
    network = NETWORKS[name]
    with strict():
        spec_arguments = dict(network.arguments)
        model = jax.eval_shape(lambda: _built(name, spec_arguments))

        def loss(model: nnx.Module) -> jax.Array:
            carry = model.initial_state(3) if isinstance(model, LanguageModel) else ()
            return network.loss(model, carry, network.batch, jax.random.key(1))[0].loss

        slope = jax.eval_shape(jax.grad(loss), model)
    assert {a.dtype for a in jax.tree.leaves(slope)} == {np.dtype("float32")}


def _built(name: str, arguments: dict) -> nnx.Module:
    from lstm_jax.models.saved import ModelSpec

    return ModelSpec(name, arguments).build(jax.random.key(0))


@pytest.mark.parametrize("engine", ["scan", "fused", "native"])
def test_layers_have_gradients(engine: str) -> None:
    """Those that a person asks for, outside of any program of the library."""
    xs, lengths = jnp.ones((2, 5, 3), jnp.float32), jnp.array([5, 2], jnp.int32)
    with strict():
        layer = jax.eval_shape(
            lambda: StackedLSTM(3, 4, num_layers=2, engine=engine, rngs=nnx.Rngs(0))
        )
        slope = jax.eval_shape(
            jax.grad(lambda layer: layer(xs, lengths=lengths)[0].var()), layer
        )
    assert {a.dtype for a in jax.tree.leaves(slope)} == {np.dtype("float32")}


def test_steps_are_taken_without_compilation() -> None:
    """By the eager functions, to the same result."""

    def loss(model: dict, carry: tuple, batch: dict, key: object) -> tuple:
        errors = (batch["x"] @ model["w"]) ** 2
        return loss_sums(errors.sum(), jnp.float32(len(errors))), carry

    def learned() -> float:
        model = {"w": jnp.array([1.0, -2.0, 0.5])}
        state = init_state(model, OPTIMIZER, (), jax.random.key(0))
        batches = {"x": jnp.arange(12, dtype=jnp.float32).reshape(2, 2, 3)}
        steps, _ = CompiledSteps(loss, OPTIMIZER).for_shapes(state, batches)
        after, _ = steps(state, batches, np.full(2, 0.1, np.float32), np.int32(2))
        return float(after.model["w"].sum())

    with jax.disable_jit():
        eager = learned()
    assert eager == pytest.approx(learned(), rel=1e-5)


def test_ids_are_made_and_scored_as_ever() -> None:
    """Drawn, penalized, by a beam; from a model that was made without the switches."""
    model, prompt = small(RegularizerConfig()), np.array([1, 2])
    rules = SamplingConfig(0.8, top_k=4, top_p=0.9, min_p=0.01, repetition_penalty=1.5)
    expected = score_ids(model, prompt)
    with strict():
        (made,) = generate_ids(model, prompt, 3, rules, samples=2)
        beams = jax.eval_shape(
            lambda: search_ids(model, prompt, 3, width=2, alpha=0.5, end=0)
        )
        found = score_ids(model, prompt)
    assert (made.dtype, made.shape) == (np.int32, (3, 2))
    assert [a.dtype.name for a in beams] == ["int32", "int32", "float32"]
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# The slow part: processes of their own.

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "float64": {"JAX_ENABLE_X64": "1"},
    "ranks": {"JAX_NUMPY_RANK_PROMOTION": "raise"},
    "nans": {"JAX_DEBUG_NANS": "1"},
    "no compilation": {"JAX_DISABLE_JIT": "1"},
    "narrow": {"COLUMNS": "4"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "homeless": {"HOME": "", "JAX_COMPILATION_CACHE_DIR": ""},
}
TINY = ("--layers", 1, "--hidden", 8, "--batch", 2, "--length", 8)
APPLICATIONS = sorted(
    path.parent.name for path in Path(experiments.__path__[0]).glob("*/__main__.py")
)


def process(module: str, *given: object, **variables: str) -> None:
    """Run a module to its end, which has to be a good one."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, given)],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{module}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_command_works(name: str, tmp_path: Path) -> None:
    """And models go from a process with the switch to one without, and back."""
    switch = ENVIRONMENTS[name]
    text, run, usual = (tmp_path / part for part in ("text.txt", "run", "usual"))
    text.write_text("the cat sat on the mat. \u00e4 " * 9, encoding="utf-8")
    given = ("--data", text, *TINY)
    process("lstm_jax.train", *given, "--epochs", 1, "--run-dir", usual)
    process("lstm_jax.train", *given, "--epochs", 1, "--run-dir", run, **switch)
    process("lstm_jax.train", "--run-dir", run, "--resume", "--epochs", 2, **switch)
    process("lstm_jax.train", "--run-dir", usual, "--resume", "--epochs", 2, **switch)
    folds = ("--data", text, "--hidden", 8, "--folds", 2, "--epochs", 1)
    process("lstm_jax.crossval", *folds, "--run-dir", tmp_path / "folds", **switch)
    for variables, path in ((switch, run), (switch, usual), ({}, run)):
        process("lstm_jax.evaluate", path, "--dynamic", "--json", **variables)
        process("lstm_jax.inspect", path, "--json", **variables)
        for how in (("--top-p", 0.9), ("--beam", 2, "--stop", "at", ".")):
            process("lstm_jax.generate", path, "--length", 9, *how, **variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float64", "ranks", "nans"])
@pytest.mark.parametrize("application", APPLICATIONS)
def test_every_application_works(application: str, name: str, tmp_path: Path) -> None:
    given = ("--smoke", "--run-dir", tmp_path / "run")
    process(f"experiments.{application}", *given, **ENVIRONMENTS[name])
