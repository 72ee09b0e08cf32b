"""`jax.export` with numbers of steps and rows that are known later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from lstm_jax.cells.lstm import LSTM_CELL, init_lstm
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.language import LanguageModel
from lstm_jax.nn.recurrence import lstm, unroll

RNG = np.random.default_rng(0)
FLOAT, INT = jnp.float32, jnp.int32


def shaped(shape: str, dtype: jnp.dtype | type = FLOAT) -> jax.ShapeDtypeStruct:
    """An argument of a shape with letters in it, which are any numbers."""
    sizes = export.symbolic_shape(shape, scope=SCOPE)
    return jax.ShapeDtypeStruct(sizes, dtype)


SCOPE = export.SymbolicScope()


@pytest.mark.parametrize("engine", ["auto", "fused", "scan"])
def test_a_layer_is_exported_for_any_steps_and_rows(engine: str) -> None:
    """Ragged and with its gradient, which also is right for other sizes."""
    params = init_lstm(jax.random.key(0), 3, 4)

    def both(xs: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        def total(xs: jax.Array) -> jax.Array:
            return lstm(params, xs, lengths=lengths, engine=engine)[0].sum()

        return lstm(params, xs, lengths=lengths, engine=engine)[0], jax.grad(total)(xs)

    exported = export.export(jax.jit(both))(shaped("t, b, 3"), shaped("b", INT))
    for steps, rows in ((5, 2), (1, 1), (40, 3)):
        xs = jnp.asarray(RNG.normal(size=(steps, rows, 3)), FLOAT)
        lengths = jnp.asarray(RNG.integers(steps + 1, size=rows), INT)
        for one, other in zip(
            exported.call(xs, lengths), both(xs, lengths), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_auto_is_exported_with_known_sizes_too() -> None:
    """Where it is otherwise a kernel of this machine."""
    params = init_lstm(jax.random.key(0), 3, 4)
    exported = export.export(jax.jit(lambda xs: lstm(params, xs)[0]))(
        jax.ShapeDtypeStruct((40, 4, 3), FLOAT)
    )
    xs = jnp.asarray(RNG.normal(size=(40, 4, 3)), FLOAT)
    np.testing.assert_allclose(exported.call(xs), lstm(params, xs)[0], atol=1e-5)


@pytest.mark.parametrize("first", ["called", "exported"])
def test_a_function_is_exported_before_or_after_it_is_called(first: str) -> None:
    """JAX traces it once for both, with its gradient; the kernel is for calls alone."""
    if why := why_not_built():
        pytest.skip(f"the engine native {why}")
    params = init_lstm(jax.random.key(0), 3, 4)
    xs = jnp.asarray(RNG.normal(size=(40, 4, 3)), FLOAT)

    @jax.jit
    def both(xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        def total(xs: jax.Array) -> jax.Array:
            return jnp.sum(lstm(params, xs)[0] ** 2)

        return jax.value_and_grad(total)(xs)

    if first == "called":
        both(xs)
    exported = export.export(both)(jax.ShapeDtypeStruct(xs.shape, FLOAT))
    assert "@lstm_jax" not in exported.mlir_module()
    if first == "called" or len(jax.devices()) == 1:
        called = both.lower(xs).as_text()
        assert "@lstm_jax_forward_keep" in called and "@lstm_jax_backward" in called
    for one, other in zip(exported.call(xs), both(xs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", [LSTM_CELL, MogrifierCell(1)], ids=lambda c: c.name)
def test_an_engine_by_name_is_exported_too(cell: Cell) -> None:
    if why := why_not_built():
        pytest.skip(f"the engine native {why}")
    params = cell.init(jax.random.key(0), 3, 4)
    xs = jnp.asarray(RNG.normal(size=(5, 2, 3)), FLOAT)
    several = jax.jit(jax.vmap(lambda xs: unroll(cell, params, xs, engine="native")[0]))
    exported = export.export(several)(jax.ShapeDtypeStruct((2, *xs.shape), FLOAT))
    pair = jnp.stack([xs, -xs])
    np.testing.assert_allclose(exported.call(pair), several(pair), atol=1e-5)


def test_networks_are_exported() -> None:
    model = LanguageModel(5, 4, 2, cell="gru", rngs=nnx.Rngs(0))
    read = export.export(jax.jit(lambda ids: model(ids)[0]))(shaped("b, t", INT))
    ids = jnp.asarray(RNG.integers(5, size=(3, 7)), INT)
    np.testing.assert_allclose(read.call(ids), model(ids)[0], atol=1e-5)
    classify = SequenceClassifier(3, 4, 1, 2, rngs=nnx.Rngs(0))
    exported = export.export(jax.jit(lambda xs: classify(xs)))(shaped("b, t, 3"))
    xs = jnp.asarray(RNG.normal(size=(2, 6, 3)), FLOAT)
    np.testing.assert_allclose(exported.call(xs), classify(xs), atol=1e-5)


def test_an_engine_that_needs_numbers_says_so() -> None:
    (steps,) = export.symbolic_shape("t", scope=SCOPE)
    choice = explain_engine(steps=steps, rows=4, hidden=8, platform="cpu")
    assert choice.name == "fused"
    assert "symbols of jax.export" in choice.others["native"]
    with pytest.raises(ValueError, match="engine 'native': needs sizes that are numb"):
        explain_engine("native", steps=steps, rows=4, hidden=8, platform="cpu")


def test_remat_of_symbolic_steps_is_refused() -> None:
    params = init_lstm(jax.random.key(0), 3, 4)
    function = jax.jit(lambda xs: lstm(params, xs, remat=True)[0])
    with pytest.raises(ValueError, match="remat: expected a number of time steps"):
        export.export(function)(shaped("t, 2, 3"))
