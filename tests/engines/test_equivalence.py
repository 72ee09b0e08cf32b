"""One meaning: every engine, type and option against the NumPy loop.

Tolerances are multiples of the type's epsilon, relative to the largest element. A
number crosses some hundred operations, whose errors add up like a random walk. Central
differences over a step of 1e-5 are good to about 1e-10, so a float64 gradient is held
to that instead.

An engine that needs an accelerator takes part through a stand-in, a fixture that
makes it run here. To add one is to add a `Row`.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from lstm_jax.cells.lstm import LSTMParams, LSTMState
from lstm_jax.engines.dispatch import ENGINES
from lstm_jax.nn.recurrence import lstm
from tests.helpers.reference_lstm import (
    Array,
    Case,
    Outcome,
    assert_close,
    cast,
    random_case,
    sequence,
    slopes,
)

T, B, D, H = 4, 4, 2, 2
LENGTHS = np.array([T, 0, 2, 1])
RESETS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool).T
EPSILONS = {"float64": 64, "float32": 64, "bfloat16": 8}
AHEAD, BACK, BOTH = (False,), (True,), (False, True)  # `reverse` of each direction


class Row(NamedTuple):
    """An engine, and what it promises."""

    engine: str
    stand_in: str | None = None
    dtypes: tuple[str, ...] = tuple(EPSILONS)
    resets: bool = True
    mapped: bool = True  # vmap
    spread: tuple[str, ...] = ("auto", "explicit", "shard_map")  # over devices
    forward: bool = False
    eager: bool = False  # only parts of its program are compiled, each for many tests

    def __str__(self) -> str:
        """A name for the test."""
        return f"{self.engine}-{self.stand_in}" if self.stand_in else self.engine


ROWS = (
    Row("scan", forward=True),
    Row("fused"),
    Row("fused", "weights_first"),
    Row("native", None, ("float32",), spread=("auto", "shard_map")),
    Row("cudnn", "cudnn", ("float32",), resets=False, mapped=False, spread=()),
    Row(
        "pallas_gpu",
        "gpu_kernels",
        ("float32", "bfloat16"),
        spread=("shard_map",),
    ),
    Row(
        "pallas_tpu",
        "interpreted",
        ("float32", "bfloat16"),
        spread=("shard_map",),
        eager=True,
    ),
)
# By module: all tests of a row come together, and share what was compiled.
each_row = pytest.mark.parametrize("row", ROWS, ids=str, scope="module")
pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(scope="module")
def way_of_the_row(row: Row) -> Iterator[None]:
    """For `weights_first` the CPU's way with many units and rows, with few."""
    if row.stand_in != "weights_first":
        yield
        return
    jax.clear_caches()  # they hold what was traced the other way
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_jax.ops.matmul._WIDE", 1)
        patch.setattr("lstm_jax.ops.matmul._SEVERAL_ROWS", 1)
        yield
    jax.clear_caches()


@pytest.fixture
def engine(row: Row, way_of_the_row: None, request: pytest.FixtureRequest) -> str:
    """The row's engine, able to run."""
    if row.stand_in not in (None, "weights_first"):
        request.getfixturevalue(row.stand_in)
    return row.engine


class Options(NamedTuple):
    """Which arguments of `lstm` are given."""

    lengths: bool = False
    resets: bool = False
    state: bool = True

    def masks(self) -> tuple[Array | None, Array | None]:
        """Lengths and resets, None where they are not given."""
        return LENGTHS if self.lengths else None, RESETS if self.resets else None


class Layer(NamedTuple):
    """One direction of one layer; its state may be absent."""

    w_x: Array
    w_h: Array
    b: Array
    h: Array
    c: Array


class Model(NamedTuple):
    """A stack, and what it reads: all there is a gradient of."""

    xs: Array
    layers: list[list[Layer]]  # by depth, then direction


Measured = tuple[Any, Model]  # outputs and last states; the gradient of the loss


def random_model(depth: int, ways: tuple[bool, ...], state: bool = True) -> Model:
    """A stack of random weights, every direction with its own."""
    cases = [
        [
            random_case(10 * n + way, T, B, len(ways) * H if n else D, H)
            for way in range(len(ways))
        ]
        for n in range(depth)
    ]
    layers = [[Layer(*case[:3], *case[4:]) for case in pair] for pair in cases]
    if not state:
        layers = [[layer._replace(h=None, c=None) for layer in one] for one in layers]
    return Model(cases[0][0].xs, layers)


def stack(
    run: Callable[..., Outcome], join: Callable, model: Model, ways: tuple[bool, ...]
) -> tuple[Array, list]:
    """The top outputs and every last state, with `run` for one layer and direction."""
    xs, states = model.xs, []
    for layers in model.layers:
        outcomes = [
            run(Case(*layer[:3], xs, *layer[3:]), reverse=way)
            for layer, way in zip(layers, ways, strict=True)
        ]
        xs = join([ys for ys, _, _ in outcomes], -1)
        states.append([(h, c) for _, h, c in outcomes])
    return xs, states


WEIGHTS = np.random.default_rng(9).normal(size=(T, B, 2 * H))


def loss(outcome: tuple[Array, list], weights: Array) -> Array:
    """A number that depends on all outputs and, not linearly, on every last state."""
    ys, states = outcome
    total = (weights[..., : ys.shape[-1]] * ys).sum()
    for h, c in itertools.chain(*states):
        total = total + (weights[0, :, :H] * h**2).sum()
        total = total + (weights[-1, :, :H] * (c + h) ** 3).sum()
    return total


def ours(
    model: Model,
    lengths: Array | None,
    resets: Array | None,
    ways: tuple[bool, ...],
    engine: str,
) -> tuple[Array, list]:
    """The stack by `lstm`."""

    def run(case: Case, reverse: bool) -> Outcome:
        ys, last = lstm(
            LSTMParams(case.w_x, case.w_h, case.b),
            case.xs,
            None if case.h is None else LSTMState(case.h, case.c),
            lengths=lengths,
            resets=resets,
            reverse=reverse,
            engine=engine,
        )
        return ys, last.h, last.c

    return stack(run, jnp.concatenate, model, ways)


def measure(
    model: Model,
    weights: Array,
    lengths: Array | None,
    resets: Array | None,
    ways: tuple[bool, ...],
    engine: str,
) -> Measured:
    """What a stack makes of its inputs, and the gradient of the loss of that."""

    def measured(model: Model) -> tuple[Array, tuple]:
        outcome = ours(model, lengths, resets, ways, engine)
        return loss(outcome, weights), outcome

    (_, outcome), gradient = jax.value_and_grad(measured, has_aux=True)(model)
    return outcome, gradient


program = jax.jit(measure, static_argnames=("ways", "engine"))


def runner(engine: str) -> Callable[..., Measured]:
    """`measure`, compiled if the engine's row says so."""
    return measure if any(r.eager for r in ROWS if r.engine == engine) else program


def library(
    model: Model,
    masks: tuple[Array | None, Array | None],
    ways: tuple[bool, ...],
    engine: str,
    dtype: str,
) -> Measured:
    """`measure`, compiled, in arithmetic of a type."""
    arrays = cast((model, WEIGHTS), dtype)
    run = runner(engine)
    return run(*arrays, *jax.tree.map(jnp.asarray, masks), ways=ways, engine=engine)


@functools.cache
def reference(depth: int, ways: tuple[bool, ...], options: Options) -> Measured:
    """The same by the NumPy loop and its slopes."""
    lengths, resets = options.masks()
    run = functools.partial(sequence, lengths=lengths, resets=resets)
    model = random_model(depth, ways, options.state)

    def outcome(model: Model) -> tuple[Array, list]:
        return stack(run, np.concatenate, model, ways)

    gradient = slopes(lambda model: loss(outcome(model), WEIGHTS), model)
    return outcome(model), gradient


def assert_same(found: Measured, expected: Measured, dtype: str) -> None:
    """Values and gradients agree as well as the type allows."""
    tolerance = EPSILONS[dtype] * float(jnp.finfo(dtype).eps)
    assert_close(found[0], expected[0], tolerance)
    assert_close(found[1], expected[1], max(tolerance, 1e-8))


def check(
    row: Row, dtype: str, depth: int, ways: tuple[bool, ...], options: list[Options]
) -> None:
    """One program, given its options as data: a zero state, full lengths, no flags."""
    if dtype not in row.dtypes:
        pytest.skip(f"{row.engine} has no {dtype}")
    for option in options:
        if option.resets and not row.resets:
            continue
        model = random_model(depth, ways)
        if not option.state:
            layers = [
                [one._replace(h=0 * one.h, c=0 * one.c) for one in layers]
                for layers in model.layers
            ]
            model = model._replace(layers=layers)
        lengths, resets = option.masks()
        lengths = np.full(B, T) if lengths is None else lengths
        if resets is None and row.resets:
            resets = np.zeros((T, B), bool)
        found = library(model, (lengths, resets), ways, row.engine, dtype)
        expected = reference(depth, ways, option)
        if not option.state:  # the reference has no gradient there
            layers = [
                [one._replace(h=None, c=None) for one in layers]
                for layers in found[1].layers
            ]
            found = found[0], found[1]._replace(layers=layers)
        assert_same(found, expected, dtype)
        ys, states = found[0]
        assert ys.dtype == dtype
        cell_dtype = "float32" if dtype == "bfloat16" else dtype
        assert {c.dtype.name for _, c in itertools.chain(*states)} == {cell_dtype}


ALL_OPTIONS = [Options(*on) for on in itertools.product([False, True], repeat=3)]
SOME_OPTIONS = [Options(True, True), Options(True, False, False), Options(False, True)]
each_dtype = pytest.mark.parametrize("dtype", EPSILONS)


@pytest.mark.parametrize(("depth", "ways"), [(1, BOTH), (3, AHEAD)], ids=str)
@each_dtype
@each_row
def test_matrix(row: Row, engine: str, dtype: str, depth: int, ways: tuple) -> None:
    """A cover of the matrix below."""
    check(row, dtype, depth, ways, SOME_OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("ways", [AHEAD, BACK, BOTH], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 3])
@each_dtype
@each_row
def test_whole_matrix(
    row: Row, engine: str, dtype: str, depth: int, ways: tuple
) -> None:
    check(row, dtype, depth, ways, ALL_OPTIONS)


# Each pair of (lengths, resets, state, reverse), each on and off.
PAIRS = {(0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)}
ABSENT = [
    pytest.param(*map(bool, on), marks=() if on in PAIRS else pytest.mark.slow)
    for on in itertools.product([0, 1], repeat=4)
]


@pytest.mark.parametrize(("lengths", "resets", "state", "reverse"), ABSENT)
@each_row
def test_absent_options(
    row: Row, engine: str, lengths: bool, resets: bool, state: bool, reverse: bool
) -> None:
    """An argument that is None leaves no trace in the program, and changes nothing."""
    if resets and not row.resets:
        pytest.skip(f"{engine} has no resets")
    options, ways = Options(lengths, resets, state), (reverse,)
    dtype = row.dtypes[0]
    model = random_model(1, ways, state)
    found = library(model, options.masks(), ways, engine, dtype)
    assert_same(found, reference(1, ways, options), dtype)


@each_row
def test_chunked_is_whole(row: Row, engine: str) -> None:
    """The carried state says all, to values and gradients, ragged rows included."""
    cut, dtype = 1, row.dtypes[0]
    lengths = np.clip([LENGTHS, LENGTHS - cut], 0, [[cut], [T - cut]])

    def in_chunks(model: Model) -> tuple[Array, list]:
        outputs, states = [], []
        for xs, length in zip(jnp.split(model.xs, [cut]), lengths, strict=True):
            model = model._replace(xs=xs)
            ys, states = ours(model, jnp.asarray(length), None, AHEAD, engine)
            outputs.append(ys)
            h, c = states[0][0]
            model = model._replace(layers=[[model.layers[0][0]._replace(h=h, c=c)]])
        return jnp.concatenate(outputs), states

    def chunks(model: Model, weights: Array) -> Measured:
        gradient = jax.grad(lambda model: loss(in_chunks(model), weights))(model)
        return in_chunks(model), gradient

    model = random_model(1, AHEAD)
    run = chunks if row.eager else jax.jit(chunks)
    found = run(*cast((model, WEIGHTS), dtype))
    whole = library(model, Options(lengths=True).masks(), AHEAD, engine, dtype)
    assert_close(found, whole, 64 * float(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("mapped", ["everything", "inputs"])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.mapped], ids=str, scope="module"
)
def test_vmap_is_a_loop(row: Row, engine: str, mapped: str) -> None:
    """Several models at once, or one on several batches."""
    models = [
        jax.tree.map(lambda a, s=s: np.roll(a, s), random_model(1, BACK))
        for s in range(3)
    ]
    if mapped == "inputs":
        models = [models[0]._replace(xs=model.xs) for model in models]
    lengths = np.stack([LENGTHS, LENGTHS[::-1], np.full(B, 2)])
    dtype = "float64" if "float64" in row.dtypes else row.dtypes[0]
    options = {"ways": BACK, "engine": engine}

    def each(xs: Array, layers: list, length: Array) -> Measured:
        weights = cast(WEIGHTS, dtype)
        return runner(engine)(Model(xs, layers), weights, length, None, **options)

    stacked = cast(jax.tree.map(lambda *a: np.stack(a), *models), dtype)
    axes, layers = (0, 0, 0), stacked.layers
    if mapped == "inputs":
        axes, layers = (0, None, 0), cast(models[0].layers, dtype)
    together = jax.vmap(each, axes)(stacked.xs, layers, jnp.asarray(lengths))
    alone = [
        each(cast(model.xs, dtype), cast(model.layers, dtype), jnp.asarray(length))
        for model, length in zip(models, lengths, strict=True)
    ]
    tolerance = 32 * float(jnp.finfo(dtype).eps)
    assert_close(together, jax.tree.map(lambda *a: jnp.stack(a), *alone), tolerance)


@pytest.mark.parametrize("state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("way", ["auto", "explicit", "shard_map"])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.spread], ids=str, scope="module"
)
def test_sharded_is_single(row: Row, engine: str, way: str, state: bool) -> None:
    """Two devices with half of the rows each compute what one does with all.

    In `shard_map`, JAX adds up the gradients of what is the same on both devices.
    """
    if way not in row.spread:
        pytest.skip(f"{engine} is not spread in this way")
    explicit = AxisType.Explicit if way == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2,), ("data",), axis_types=(explicit,))
    dtype = row.dtypes[0]
    model = cast(random_model(1, BACK, state), dtype)
    rows, columns = PartitionSpec("data"), PartitionSpec(None, "data")
    spread = jax.tree.map(lambda _: PartitionSpec(), model)._replace(xs=columns)
    if state:
        spread.layers[0][0] = spread.layers[0][0]._replace(h=rows, c=rows)
    places = (spread, columns, rows, columns)
    arguments = (model, cast(WEIGHTS, dtype), *map(jnp.asarray, (LENGTHS, RESETS)))
    function = functools.partial(measure, ways=BACK, engine=engine)
    one = runner(engine)(*arguments, ways=BACK, engine=engine)
    if way == "shard_map":
        ends = (columns, [[(rows, rows)]]), spread
        function = jax.shard_map(function, mesh=mesh, in_specs=places, out_specs=ends)
    with jax.set_mesh(mesh):

        def put(spec: PartitionSpec, array: Array) -> Array:
            return jax.device_put(array, NamedSharding(mesh, spec))

        is_spec = {"is_leaf": lambda leaf: isinstance(leaf, PartitionSpec)}
        both = jax.jit(function)(*jax.tree.map(put, places, arguments, **is_spec))
    assert len(both[0][0].sharding.device_set) == 2
    assert_close(both, one, 32 * float(jnp.finfo(dtype).eps))


@each_row
def test_check_grads(row: Row, engine: str) -> None:
    """JAX's own test, of every derivative the engine promises."""
    dtype = row.dtypes[0]
    lengths, resets = jax.tree.map(jnp.asarray, Options(True, row.resets).masks())
    model, weights = cast((random_model(1, BACK), WEIGHTS), dtype)

    def number(model: Model) -> Array:
        arrays = jax.tree.map(jnp.asarray, model)  # the differences come from NumPy
        return loss(ours(arrays, lengths, resets, BACK, engine), weights)

    number = number if row.eager else jax.jit(number)

    modes = ["fwd", "rev"] if row.forward else ["rev"]
    loose = {} if dtype == "float64" else {"eps": 1e-2, "rtol": 0.02, "atol": 0.02}
    check_grads(number, (model,), 1, modes, **{"rtol": 1e-6, **loose})


def test_every_engine_has_a_row() -> None:
    assert {row.engine for row in ROWS} == set(ENGINES)
