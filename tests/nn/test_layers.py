"""The Flax layers against the functional core, and as plain pytrees.

Arithmetic is float32: 6e-8 per operation, a few dozen of them in a chain, so results
that should be equal must agree to 2e-6 of the largest element.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM
from lstm_jax.nn.recurrence import lstm, unroll
from tests.helpers.reference_lstm import Array, assert_close, random_case

T, B, D, H = 6, 4, 3, 5
CASE = random_case(0, T, B, D, H)
XS = jnp.asarray(CASE.xs.swapaxes(0, 1), "float32")  # [B, T, D]
STATES = [
    LSTMState(*jnp.asarray(np.random.default_rng(seed).normal(size=(2, B, H)), "f4"))
    for seed in range(4)
]
LENGTHS = jnp.array([T, 2, 0, 3])
RESETS = jnp.asarray(np.random.default_rng(0).random((B, T)) < 0.3)

Layer = Any  # one of the kinds below, or its gradient
KINDS: dict[str, Callable[..., Layer]] = {
    "LSTM": functools.partial(LSTM, D, H),
    "Bidirectional": functools.partial(Bidirectional, D, H),
    "StackedLSTM": functools.partial(StackedLSTM, D, H, 2),
    "both": functools.partial(StackedLSTM, D, H, 2, bidirectional=True),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_tree = pytest.mark.parametrize("kind", ["Bidirectional", "StackedLSTM"])
each_stack = pytest.mark.parametrize("kind", ["StackedLSTM", "both"])
each_engine = pytest.mark.parametrize("engine", ["scan", "fused"])
each_way = pytest.mark.parametrize("reverse", [False, True], ids=["ahead", "back"])


def make(kind: str, seed: int = 0, **options: object) -> Layer:
    """A layer as it is initialized."""
    return KINDS[kind](rngs=nnx.Rngs(seed), **options)


def shaken(layer: Layer, seed: int = 0) -> Layer:
    """The layer with random numbers in every parameter, the biases too."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), layer)


def named(layer: Layer) -> list[tuple[str, Array]]:
    """Every parameter with its path."""
    leaves = jax.tree_util.tree_leaves_with_path(layer)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


@functools.partial(jax.jit, static_argnames="reverse")
def read(layer: Layer, *inputs: object, **options: object) -> tuple[Array, Any]:
    """What the layer makes of its arguments, compiled."""
    return layer(*inputs, **options)


def distance(layer: Layer, xs: Array) -> Array:
    """A loss: how far the outputs are from a wave."""
    ys, _ = layer(xs)
    return jnp.mean((ys - jnp.sin(jnp.arange(ys.shape[-1]))) ** 2)


# Against the functional core.


@each_way
@each_engine
def test_lstm_is_the_core_batch_first(engine: str, reverse: bool) -> None:
    layer = shaken(make("LSTM", engine=engine))
    options = {"lengths": LENGTHS, "reverse": reverse}
    ys, last = read(layer, XS, STATES[0], resets=RESETS, **options)
    core = jax.jit(lstm, static_argnames=("reverse", "engine"))
    options |= {"resets": RESETS.T, "engine": engine}
    expected = core(layer.params, XS.swapaxes(0, 1), STATES[0], **options)
    assert_close((ys.swapaxes(0, 1), last), expected, 2e-6)


def test_bidirectional_is_two_lstm() -> None:
    layer = shaken(make("Bidirectional"))
    options = {"lengths": LENGTHS, "resets": RESETS}
    ys, last = read(layer, XS, tuple(STATES[:2]), **options)
    ahead, end = read(layer.forward, XS, STATES[0], **options)
    back, start = read(layer.backward, XS, STATES[1], reverse=True, **options)
    assert_close((ys, last), (jnp.concatenate([ahead, back], -1), (end, start)), 2e-6)


def test_bidirectional_rows_alone() -> None:
    """A ragged batch is each row by itself, cut to its length: padding is not read."""
    layer = shaken(make("Bidirectional"))
    ys, last = read(layer, XS, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert not ys[row, length:].any()
        if length == 0:
            continue
        alone = read(layer, XS[row : row + 1, :length])
        mine = jax.tree.map(lambda a, row=row: a[row : row + 1], (ys[:, :length], last))
        assert_close(mine, alone, 2e-6)


@each_stack
def test_stack_is_its_layers_in_turn(kind: str) -> None:
    stack = shaken(make(kind))
    pairs = tuple(STATES[:2]), tuple(STATES[2:])
    before = pairs if kind == "both" else pairs[0]
    options = {"lengths": LENGTHS, "resets": RESETS}
    outcome = read(stack, XS, before, **options)
    middle, first = read(stack.layers[0], XS, before[0], **options)
    top, second = read(stack.layers[1], middle, before[1], **options)
    assert_close(outcome, (top, (first, second)), 2e-6)
    assert top.shape == (B, T, 2 * H if kind == "both" else H)


def test_stack_in_two_chunks() -> None:
    """The states a stack returns are the ones it takes."""
    stack, cut = shaken(make("StackedLSTM")), 2
    first, state = read(stack, XS[:, :cut])
    second, last = read(stack, XS[:, cut:], state)
    assert_close((jnp.concatenate([first, second], 1), last), read(stack, XS), 2e-6)


# What the constructors do with their arguments.


@each_kind
def test_initial_weights(kind: str) -> None:
    """They depend on the key, and no two layers or directions get the same."""
    one, same, other = (make(kind, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    drawn = [leaf for leaf in jax.tree.leaves((one, other)) if leaf.ndim == 2]
    assert len({np.asarray(leaf).tobytes() for leaf in drawn}) == len(drawn)


@each_kind
def test_dtype_reaches_every_parameter(kind: str) -> None:
    layer = jax.eval_shape(lambda: make(kind, dtype=jnp.bfloat16))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(layer)} == {"bfloat16"}
    ys, _ = jax.eval_shape(read, layer, XS)
    assert ys.dtype == "bfloat16"


@each_kind
def test_engine_reaches_every_layer(kind: str) -> None:
    """Forward mode exists in the scan engine alone."""

    def along(layer: Layer) -> Array:
        return jax.jvp(lambda xs: distance(layer, xs), (XS,), (XS,))[1]

    jax.jit(along).lower(make(kind, engine="scan"))
    with pytest.raises(ValueError, match=r"engine 'fused': .* can: scan"):
        jax.jit(along).lower(make(kind, engine="fused"))
    with pytest.raises(ValueError, match="found 'fast'"):
        make(kind, engine="fast")


def test_stack_refuses_to_be_empty() -> None:
    with pytest.raises(ValueError, match="expected 1 layer or more, got 0"):
        StackedLSTM(D, H, 0, rngs=nnx.Rngs(0))


@each_kind
def test_inputs_of_another_width(kind: str) -> None:
    with pytest.raises(
        ValueError, match=r"expected inputs \[B, T, 3\].*found \[4, 6, 2"
    ):
        make(kind)(XS[..., :2])


# As plain pytrees.


def test_jit() -> None:
    """Every other test reads with `jax.jit`; it changes nothing."""
    layer = shaken(make("both"))
    options = {"lengths": LENGTHS, "resets": RESETS}
    assert_close(read(layer, XS, **options), layer(XS, **options), 2e-6)


@each_tree
def test_grad(kind: str) -> None:
    """The gradient is a layer too; along a direction it is JAX's forward derivative."""
    fused, scan = (shaken(make(kind, engine=engine)) for engine in ("fused", "scan"))
    direction = shaken(scan, seed=1)
    gradient = jax.jit(jax.grad(distance))(fused, XS)
    assert type(gradient) is type(fused)

    @jax.jit
    def along(layer: Layer, direction: Layer) -> Array:
        return jax.jvp(lambda layer: distance(layer, XS), (layer,), (direction,))[1]

    leaves = zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    products = [np.vdot(np.float64(a), np.float64(b)) for a, b in leaves]
    # Hundreds of products of both signs are added, so the sum is less exact than each.
    np.testing.assert_allclose(sum(products), along(scan, direction), rtol=1e-4)


@each_tree
def test_vmap_over_models(kind: str) -> None:
    layers = [shaken(make(kind), seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    together = jax.vmap(lambda layer: read(layer, XS, lengths=LENGTHS))(stacked)
    alone = [read(layer, XS, lengths=LENGTHS) for layer in layers]
    assert_close(together, jax.tree.map(lambda *a: jnp.stack(a), *alone), 2e-6)


@each_tree
def test_optax(kind: str) -> None:
    """One step of Adam moves every parameter and lowers the loss."""
    layer, adam = make(kind), optax.adam(1e-2)

    @jax.jit
    def fit(layer: Layer) -> tuple[Array, Layer]:
        loss, gradient = jax.value_and_grad(distance)(layer, XS)
        updates, _ = adam.update(gradient, adam.init(layer), layer)
        return loss, optax.apply_updates(layer, updates)

    loss, after = fit(layer)
    assert fit(after)[0] < loss
    for one, other in zip(*map(jax.tree.leaves, (layer, after)), strict=True):
        assert (one != other).all()


class Tagger(nnx.Module):
    """Somebody's own module: a label for every step."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.reader = StackedLSTM(D, H, 2, rngs=rngs, dropout=0.5)
        self.readout = nnx.Linear(H, 2, rngs=rngs)

    def __call__(self, xs: Array, key: Array | None = None) -> Array:
        """Scores [B, T, 2]."""
        ys, _ = self.reader(xs, lengths=LENGTHS, key=key)
        return self.readout(ys)


@jax.jit
def tagging_loss(tagger: Tagger, key: Array | None = None) -> Array:
    """How badly it tells whether the inputs of a step sum to more than zero."""
    labels = (XS.sum(axis=-1) > 0).astype(int)
    losses = optax.softmax_cross_entropy_with_integer_labels(tagger(XS, key), labels)
    return losses.mean()


def test_inside_another_module() -> None:
    """Flax's own transformations give the gradient JAX's give, and it lowers the loss.

    The key reaches the stack inside.
    """
    tagger = Tagger(nnx.Rngs(0))
    with pytest.warns(UserWarning, match="no key was given"):
        loss, gradient = jax.jit(jax.value_and_grad(tagging_loss))(tagger)
    assert tagging_loss(tagger, jax.random.key(0)) != loss
    optimizer = nnx.Optimizer(tagger, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def fit(tagger: Tagger, optimizer: nnx.Optimizer) -> tuple[Array, nnx.State]:
        loss, gradient = nnx.value_and_grad(tagging_loss)(tagger)
        optimizer.update(tagger, gradient)
        return loss, gradient

    with pytest.warns(UserWarning, match="no key was given"):
        same = fit(tagger, optimizer)
    assert_close(same, (loss, nnx.state(gradient)), 2e-6)
    assert tagging_loss(tagger) < loss


# Dropout.


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_rates_that_are_no_share(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout: .* in \[0, 1\), found {rate}"):
        make("StackedLSTM", dropout=rate)


def test_dropout_needs_a_key() -> None:
    """Without one there is none; with one, the key alone decides."""
    plain, dropping = (shaken(make("both", dropout=rate)) for rate in (0.0, 0.5))
    quiet, _ = read(plain, XS)
    np.testing.assert_array_equal(read(dropping, XS)[0], quiet)
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    assert_close(read(plain, XS, key=keys[0])[0], quiet, 2e-6)

    one, same, other = (read(dropping, XS, key=key)[0] for key in keys)
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01
    assert np.abs(one - quiet).max() > 0.01


def test_dropout_is_between_layers() -> None:
    """Neither what the first layer reads is dropped, nor what the last one says."""
    stack = shaken(make("StackedLSTM", dropout=0.5))
    ys, (first, second) = read(stack, XS, key=jax.random.key(0))
    _, (first_quiet, second_quiet) = read(stack, XS)
    assert_close(first, first_quiet, 2e-6)
    assert np.abs(second.h - second_quiet.h).max() > 0.01
    assert (ys != 0).all()


def test_every_depth_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key serves the whole stack, but not one mask."""
    keys = []

    def record(key: Array, xs: Array, rate: float, time_axis: None) -> Array:
        keys.append((jax.random.key_data(key).tolist(), rate))
        return xs

    monkeypatch.setattr("lstm_jax.nn.layers.dropout", record)
    stack = StackedLSTM(D, H, 3, dropout=0.5, rngs=nnx.Rngs(0))
    stack(XS, key=jax.random.key(0))
    assert [rate for _, rate in keys] == [0.0, 0.5, 0.5]  # no dropout of the inputs
    assert keys[1] != keys[2]


# Without biases.


@pytest.mark.parametrize("kind", ["LSTM", "both"])
def test_no_bias_is_a_bias_of_zeros(kind: str) -> None:
    """There is no such parameter, and every other one has the same gradient."""
    bare, full = shaken(make(kind, use_bias=False)), make(kind)
    weights = dict(named(bare))
    assert not [path for path in weights if path.endswith(".b")]
    filled = [weights.get(path, jnp.zeros_like(leaf)) for path, leaf in named(full)]
    full = jax.tree.unflatten(jax.tree.structure(full), filled)
    measured = jax.jit(jax.value_and_grad(distance))
    (loss, slopes), (expected, others) = measured(bare, XS), measured(full, XS)
    assert_close(loss, expected, 2e-6)
    for path, slope in named(slopes):
        assert_close(slope, dict(named(others))[path], 2e-6)


@pytest.mark.parametrize("cell", ["gru", "peephole", "mogrifier", "coupled"])
def test_no_bias_in_any_cell(cell: str) -> None:
    layer = LSTM(D, H, cell=cell, use_bias=False, rngs=nnx.Rngs(0))
    params = layer.params
    assert params.b is None
    assert vars(params).get("b_hn") is None
    ys, _ = read(layer, XS)
    blank = layer.cell.initial_state(jnp.zeros((B, H)))
    step = layer.cell.step(params, blank, XS[:, 0])
    assert_close(step.h, ys[:, 0], 1e-6)
    zeros = dataclasses.replace(params, b=jnp.zeros(params.w_h.shape[-1]))
    same, _ = unroll(layer.cell, zeros, XS.swapaxes(0, 1))
    assert_close(same.swapaxes(0, 1), ys, 2e-6)


# Widths, merged directions, residual connections, initial parameters.


@pytest.mark.parametrize(
    ("merge", "joined"),
    [
        ("sum", lambda a, b: a + b),
        ("mul", lambda a, b: a * b),
        ("ave", lambda a, b: (a + b) / 2),
        ("none", lambda a, b: (a, b)),
    ],
)
def test_directions_are_merged(merge: str, joined: Callable) -> None:
    layer = shaken(make("Bidirectional", merge=merge))
    ys, _ = read(layer, XS, lengths=LENGTHS)
    ahead, _ = read(layer.forward, XS, lengths=LENGTHS)
    back, _ = read(layer.backward, XS, lengths=LENGTHS, reverse=True)
    assert_close(ys, joined(ahead, back), 2e-6)
    assert layer.out_features == H


def test_layers_of_their_own_widths() -> None:
    """And merged outputs go into the next layer."""
    stack = StackedLSTM(D, (4, 7, 2), bidirectional=True, merge="sum", rngs=nnx.Rngs(0))
    assert [len(layer.forward.w_x) for layer in stack.layers] == [D, 4, 7]
    ys, states = read(stack, XS)
    assert ys.shape == (B, T, 2)
    assert [state[1].c.shape[-1] for state in states] == [4, 7, 2]
    same, _ = read(stack, XS, states)
    assert same.shape == ys.shape


def test_residual_connections() -> None:
    """What a layer reads is added whole to what it makes, whatever is dropped of it."""
    plain = shaken(make("StackedLSTM", dropout=0.5))
    adding = shaken(make("StackedLSTM", dropout=0.5, residual=True))
    below, _ = read(plain.layers[0], XS)
    for options in ({}, {"key": jax.random.key(0)}):
        ys, states = read(plain, XS, **options)
        assert_close(read(adding, XS, **options), (ys + below, states), 2e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru", "coupled"])
def test_initial_parameters_of_ones_own(cell: str) -> None:
    """Each is drawn by gate; the others are those of the cell."""
    orthogonal = jax.nn.initializers.orthogonal(2.0)
    options = {
        "kernel_init": jax.nn.initializers.constant(3.0),
        "recurrent_init": orthogonal,
        "bias_init": jax.nn.initializers.constant(0.25),
    }
    layer = make("LSTM", cell=cell, **options)
    blocks = jnp.split(layer.w_h[...], len(layer.cell.blocks), -1)
    for block in blocks:
        assert_close(block.T @ block, 4 * jnp.eye(H), 1e-5)
    assert len({block.tobytes() for block in map(np.asarray, blocks)}) == len(blocks)
    assert (layer.w_x[...] == 3).all()
    assert (layer.b[...] == 0.25).all()
    kept = make("LSTM", cell=cell, kernel_init=options["kernel_init"])
    plain = make("LSTM", cell=cell)
    assert_close((kept.w_h[...], kept.b[...]), (plain.w_h[...], plain.b[...]), 0)


# Exported programs.


@pytest.mark.parametrize("engine", ["auto", "scan"])
def test_exported_for_any_batch_and_length(engine: str) -> None:
    """With lengths, a mask and resets; "auto" is an engine that can."""
    layer = make("Bidirectional", engine=engine)

    def along(xs: Array, lengths: Array, mask: Array) -> Array:
        return layer(xs, lengths=lengths, mask=mask, resets=mask)[0]

    rows, steps = jax.export.symbolic_shape("rows, steps")
    types = (
        jax.ShapeDtypeStruct((rows, steps, D), "float32"),
        jax.ShapeDtypeStruct((rows,), "int32"),
        jax.ShapeDtypeStruct((rows, steps), bool),
    )
    exported = jax.export.export(jax.jit(along))(*types)
    given = XS, LENGTHS, RESETS
    assert_close(exported.call(*given), jax.jit(along)(*given), 2e-6)
    with pytest.raises(ValueError, match="needs sizes that are numbers, not symbols"):
        explain_engine("native", steps=steps, rows=rows, hidden=H)
