"""Products of rounded factors: what is rounded, what is not, and who decides.

The reference is a NumPy loop there and back which rounds the factors of every product
itself. Where a sum in float32 falls on the other side of a rounding than the sum in
float64, single numbers differ by as much as rounding does. So medians are compared.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpy.typing import ArrayLike, NDArray

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.config import Precision, RunConfig
from lstm_jax.distributed import host
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.task import loss_of
from lstm_jax.lm.training import fit_text
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.nn.recurrence import lstm
from lstm_jax.ops.matmul import ROUNDED, matmul, rounded_products, weight_gradient
from tests.helpers.jaxprs import equations
from tests.helpers.reference_lstm import Case, assert_close, cast, random_case

T, B, D, H = 6, 4, 3, 8
CASE = random_case(0, T, B, D, H)
WEIGHTS = np.random.default_rng(1).normal(size=(T, B, H))
Numbers = NDArray[np.float64]
Round = Callable[[Numbers], Numbers]


def to_bfloat16(numbers: Numbers) -> Numbers:
    """The nearest numbers of 8 significant bits, ties to even, by arithmetic alone."""
    exponent = np.floor(np.log2(np.where(numbers == 0, 1, np.abs(numbers))))
    unit = 2.0 ** (exponent - 7)
    return np.round(numbers / unit) * unit


def exactly(numbers: Numbers) -> Numbers:
    """No rounding."""
    return numbers


def by_hand(case: Case, rounded: Round) -> tuple[Numbers, Case]:
    """The outputs, and the gradient of Σ WEIGHTS * outputs."""
    w_x, w_h = rounded(case.w_x), rounded(case.w_h)
    h, c, seen, outputs = case.h, case.c, [], []
    for x in case.xs:
        z = rounded(x) @ w_x + rounded(h) @ w_h + case.b
        i, f, g, o = np.split(z, 4, axis=1)
        i, f, g, o = (1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-f)), np.tanh(g), o)
        o = 1 / (1 + np.exp(-o))
        after = f * c + i * g
        seen.append((x, h, c, i, f, g, o, np.tanh(after)))
        h, c = o * np.tanh(after), after
        outputs.append(h)
    found = Case(*(np.zeros_like(array) for array in case))
    dh, dc = np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        x, h, c, i, f, g, o, shown = seen[t]
        dh = dh + WEIGHTS[t]
        dc = dc + dh * o * (1 - shown**2)
        gates = (
            dc * g * i * (1 - i),
            dc * c * f * (1 - f),
            dc * i * (1 - g**2),
            dh * shown * o * (1 - o),
        )
        dz = np.concatenate(gates, axis=1)
        low = rounded(dz)
        found.w_x[...] += rounded(x).T @ low
        found.w_h[...] += rounded(h).T @ low
        found.b[...] += dz.sum(0)
        found.xs[t] = low @ w_x.T
        dh, dc = low @ w_h.T, dc * f
    found.h[...], found.c[...] = dh, dc
    return np.stack(outputs), found


def ours(case: Case, engine: str = "fused") -> tuple[jax.Array, Any]:
    """The same by `lstm`; the weighted sum first."""
    params, state = LSTMParams(*case[:3]), LSTMState(case.h, case.c)
    ys, _ = lstm(params, case.xs, state, engine=engine)
    return (jnp.asarray(WEIGHTS, ys.dtype) * ys).sum(), ys


def apart(found: object, expected: object) -> list[float]:
    """The median difference of each array, as a share of its largest number."""

    def of(a: ArrayLike, b: ArrayLike) -> float:
        a, b = np.asarray(a, float), np.asarray(b, float)
        return float(np.median(np.abs(a - b)) / np.abs(b).max())

    return jax.tree.leaves(jax.tree.map(of, found, expected))


def measured(case: Case) -> tuple[Any, Any]:
    """The outputs and the gradient, compiled."""
    both = jax.jit(jax.value_and_grad(ours, has_aux=True))
    (_, ys), gradient = both(cast(case, "float32"))
    return ys, gradient


def test_the_reference(x64: None) -> None:
    """Without rounding it is the LSTM."""
    found, gradient = jax.value_and_grad(ours, has_aux=True)(cast(CASE, "float64"))
    assert_close((found[1], gradient), by_hand(CASE, exactly), 1e-12)
    numbers = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -3.1415926, 1e-9, 0.0])
    as_jax = jnp.asarray(numbers, jnp.bfloat16).astype(float)
    np.testing.assert_array_equal(to_bfloat16(numbers), as_jax)


def test_an_lstm_of_rounded_factors() -> None:
    """Outputs and every gradient are what rounding makes of them, and not float32's."""
    with jax.default_matmul_precision(ROUNDED):
        found = measured(CASE)
    assert max(apart(found, by_hand(CASE, to_bfloat16))) < 1e-5
    assert min(apart(found, by_hand(CASE, exactly))) > 1e-4
    assert {array.dtype.name for array in jax.tree.leaves(found)} == {"float32"}


def test_nothing_is_rounded_unless_asked_for() -> None:
    for asked in (None, "float32", "highest"):
        with jax.default_matmul_precision(asked):
            found = measured(CASE)
        assert max(apart(found, by_hand(CASE, exactly))) < 1e-6


def products_of(function: Callable, *args: object) -> list[tuple[str, ...]]:
    """Of every product in a program the types of both factors and of the result."""
    return [
        tuple(str(v.aval.dtype) for v in (*equation.invars, *equation.outvars))  # pyrefly: ignore[missing-attribute]
        for equation in equations(jax.make_jaxpr(function)(*args))
        if equation.primitive.name == "dot_general"
    ]


LOW = ("bfloat16", "bfloat16", "float32")
FULL = ("float32", "float32", "float32")
IDS = np.random.default_rng(2).integers(7, size=(2, B, T)).astype(np.int32)
BATCH = {
    "inputs": jnp.asarray(IDS[0]),
    "targets": jnp.asarray(IDS[1]),
    "resets": jnp.zeros(B, bool),
}
MODELS = {
    "plain": functools.partial(LanguageModel, 7, H, 2),
    "tied": functools.partial(LanguageModel, 7, H, 1, tie_embedding=True),
    "mogrifier": functools.partial(
        LanguageModel, 7, H, 2, cell=MogrifierCell(rounds=3, capped=True)
    ),
}


def total_of(loss: Callable) -> Callable:
    """A model's loss alone."""

    def total(model: LanguageModel) -> jax.Array:
        return loss(model, model.initial_state(B), BATCH, jax.random.key(0))[0].loss

    return total


@pytest.mark.parametrize("kind", MODELS)
def test_every_product_of_a_model_is_rounded(kind: str) -> None:
    """Those of the gradient too, which is traced after the precision was set back."""
    model = MODELS[kind](rngs=nnx.Rngs(0))
    gradient = jax.grad(total_of(rounded_products(language_loss)))
    assert set(products_of(gradient, model)) == {LOW}
    assert set(products_of(jax.grad(total_of(language_loss)), model)) == {FULL}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_rounded_products(kind: str) -> None:
    """Its loss and gradient are near those of float32, and not the same."""
    model = MODELS[kind](rngs=nnx.Rngs(0))
    both = [
        jax.jit(jax.value_and_grad(total_of(loss)))(model)
        for loss in (rounded_products(language_loss), language_loss)
    ]
    assert_close(both[0], both[1], 0.02)
    assert min(apart(both[0], jax.tree.map(np.asarray, both[1]))) > 0


def test_rounding_leaves_evaluation_alone() -> None:
    model = MODELS["plain"](rngs=nnx.Rngs(0))
    states = model.initial_state(B)
    assert set(products_of(lambda: language_loss(model, states, BATCH, None))) == {FULL}


def test_forward_mode_of_the_reference_engine() -> None:
    """It leaves rounding to JAX, and keeps what a custom gradient has not."""
    case = cast(CASE, "float32")
    with jax.default_matmul_precision(ROUNDED):
        _, slope = jax.jvp(lambda c: ours(c, "scan")[0], (case,), (case,))
    assert np.isfinite(slope)


def test_a_product_of_other_types_is_not_rounded(x64: None) -> None:
    for dtype in ("float16", "float64"):
        a = jnp.ones((2, 3), dtype)
        with jax.default_matmul_precision(ROUNDED):
            assert products_of(matmul, a, a.T) == [(dtype,) * 3]


def test_rounded_and_spread() -> None:
    """Rows on two devices and `vmap` change nothing."""
    case = cast(CASE, "float32")
    value = jax.jit(jax.grad(lambda case: ours(case)[0]))
    rows, whole = PartitionSpec("rows"), PartitionSpec()
    specs = Case(whole, whole, whole, PartitionSpec(None, "rows"), rows, rows)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Auto,))
    with jax.default_matmul_precision(ROUNDED):
        expected = value(case)
        places = [NamedSharding(mesh, spec) for spec in specs]
        spread = value(Case(*map(jax.device_put, case, places)))
        twice = jax.vmap(value)(jax.tree.map(lambda a: jnp.stack([a, a]), case))
    assert_close(spread, expected, 1e-5)
    assert_close(jax.tree.map(lambda a: a[1], twice), expected, 1e-5)


def test_a_gradient_of_two_axes_and_of_three() -> None:
    """The sum goes over all axes but the last."""
    x, dy = np.random.default_rng(3).normal(size=(2, 6, 5)).astype(np.float32)
    w = jnp.zeros((5, 5))
    flat = weight_gradient(jnp.asarray(x), jnp.asarray(dy), w, "float32")
    np.testing.assert_allclose(flat, x.T @ dy, rtol=1e-5)
    x, dy = x.reshape(2, 3, 5), dy.reshape(2, 3, 5)
    deep = weight_gradient(jnp.asarray(x), jnp.asarray(dy), w, "float32")
    np.testing.assert_allclose(deep, flat, rtol=1e-5)


MIXED = TrainConfig(model=ModelConfig(hidden=8, dropout=0.0, precision="mixed"))


def test_mixed_precision_asks_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, rounded in (
        ("flags : fma avx512_bf16 avx2", True),
        ("flags : amx_bf16", True),
        ("flags : fma avx2 avx512f", False),
        ("", False),
    ):
        monkeypatch.setattr(host, "processor_says", lambda said=flags: said)
        assert host.multiplies_bfloat16() is rounded
        assert (loss_of(MIXED) is language_loss) is not rounded
        assert loss_of(TrainConfig()) is language_loss
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert host.multiplies_bfloat16()


@pytest.mark.parametrize("rounded", [False, True])
def test_training_in_mixed_precision(
    rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other numbers than float32's where the processor rounds, the same elsewhere."""
    monkeypatch.setattr("lstm_jax.lm.task.multiplies_bfloat16", lambda: rounded)

    def weights(precision: Precision) -> LanguageModel:
        config = TrainConfig(
            model=ModelConfig(hidden=8, dropout=0.0, precision=precision),
            optimizer=OptimizerConfig(batch=2, length=5),
            run=RunConfig(epochs=1),
        )
        return fit_text("to be or not to be " * 9, config).model

    full, mixed = weights("float32"), weights("mixed")
    same = jax.tree.map(lambda a, b: bool((a == b).all()), full, mixed)
    assert all(jax.tree.leaves(same)) is not rounded
    assert_close(mixed, full, 0.02)
    assert mixed.dtype == jnp.float32
