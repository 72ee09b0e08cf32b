"""The CPU kernel at sizes that its vectors and tiles do not divide."""

import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell, gate_weights
from lstm_jax.cells.protocol import Cell, Params
from lstm_jax.distributed.mesh import replicate, row_mesh, shard_rows
from lstm_jax.engines.dispatch import explain_engine
from lstm_jax.engines.mogrifier import Weights
from lstm_jax.engines.native import calls
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.engines.native.calls import CallOptions
from lstm_jax.engines.native.engine import StaticArgs, _recur
from lstm_jax.engines.native.mogrifier import StaticArgs as MogrifierArgs
from lstm_jax.engines.native.mogrifier import _recur as _recur_mogrifier
from lstm_jax.engines.native.project import StaticArgs as ProductArgs
from lstm_jax.engines.native.project import _project, project
from lstm_jax.engines.native.weights import affine_gradients, weight_gradient
from lstm_jax.nn.recurrence import lstm, unroll
from lstm_jax.ops.matmul import rounded_products
from tests.helpers.reference_lstm import (
    Case,
    assert_close,
    cast,
    random_case,
    sequence,
)

each_size = pytest.mark.parametrize(
    ("steps", "rows", "hidden"),
    [(1, 1, 1), (3, 3, 16), (4, 15, 17), (3, 33, 50), (4, 2, 130), (3, 64, 31)],
)


@pytest.fixture(scope="module", autouse=True)
def needs_a_compiler() -> None:
    if why := why_not_built():
        pytest.skip(f"the engine native {why}")


def masks(steps: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths, 0 among them, and resets."""
    random = np.random.default_rng(0)
    lengths = random.integers(0, steps + 1, rows)
    lengths[0] = steps
    return lengths, random.random((steps, rows)) < 0.3


def run(case: Case, reverse: bool, engine: str) -> tuple[jax.Array, LSTMState]:
    """The layer with lengths and resets."""
    lengths, resets = masks(*case.xs.shape[:2])
    return lstm(
        LSTMParams(case.w_x, case.w_h, case.b),
        case.xs,
        LSTMState(case.h, case.c),
        lengths=jnp.asarray(lengths),
        resets=jnp.asarray(resets),
        reverse=reverse,
        engine=engine,
    )


def gradient(case: Case, reverse: bool, engine: str) -> Case:
    """That of a number that depends on all results."""
    weights = np.random.default_rng(1).normal(size=(*case.xs.shape[:2], len(case.w_h)))

    def loss(case: Case) -> jax.Array:
        ys, last = run(case, reverse, engine)
        return (ys * weights).sum() + (last.h**2).sum() + (last.c**3).sum()

    return jax.jit(jax.grad(loss))(case)


@each_size
def test_sizes_need_not_fit(steps: int, rows: int, hidden: int) -> None:
    """Values are those of the NumPy loop, gradients those of `fused` in float64."""
    case = random_case(hidden, steps, rows, 3, hidden)
    case, reverse = case._replace(w_h=case.w_h / hidden**0.5), steps % 2 == 0
    lengths, resets = masks(steps, rows)
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), case)
    ys, last = run(single, reverse, "native")
    expected = sequence(case, lengths, resets, reverse)
    assert_close((ys, last.h, last.c), expected, 4e-6)
    with jax.enable_x64(True):
        slopes = gradient(jax.tree.map(jnp.asarray, case), reverse, "fused")
    assert_close(gradient(single, reverse, "native"), slopes, 1e-5)


@each_size
def test_rounded_factors(steps: int, rows: int, hidden: int) -> None:
    """With factors in bfloat16 it is as far from `fused` as roundings may differ."""
    case = random_case(hidden, steps, rows, 3, hidden)
    case = case._replace(w_h=case.w_h / hidden**0.5)
    case = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), case)
    found, expected = (
        rounded_products(functools.partial(gradient, case, False))(engine)
        for engine in ("native", "fused")
    )
    assert_close(found, expected, 2e-2)


def test_it_rounds_to_nearest_even_and_keeps_nan() -> None:
    """One step from h, with weights that single out a product."""
    numbers = np.array([1.00390625, 1.01171875, -1.00390625, 3e38, 1e-40, 1], "f")
    expected = np.asarray(jnp.asarray(numbers, jnp.bfloat16), np.float32)
    w_h = np.zeros((6, 24), np.float32)
    w_h[range(6), range(12, 18)] = 1e-3  # into the candidate
    z = np.zeros((1, 1, 24), np.float32)
    z[..., :6], z[..., 18:] = 100, 100  # open i and o

    @jax.jit
    @rounded_products
    def candidate(h: jax.Array) -> jax.Array:
        static = StaticArgs(CallOptions(False, True, 1), spread=False)
        return _recur(static, z, w_h, h, jnp.zeros((1, 6)), None, None)[2][0]

    factor = np.float32(jnp.asarray(1e-3, jnp.bfloat16))
    np.testing.assert_allclose(
        candidate(numbers[None]), np.tanh(expected * factor), rtol=1e-5, atol=1e-30
    )
    assert jnp.isnan(candidate(numbers[None] * jnp.nan)).all()


@pytest.mark.parametrize("rows", [16, 67])
def test_threads_divide_the_rows(rows: int) -> None:
    """All threads of XLA's pool give what one gives; less work is one's alone."""
    case = random_case(5, 12, rows, 1, 96)
    assert 8 * case.xs.shape[0] * rows * 96**2 > 1e7
    z = np.repeat(case.xs, 4 * 96, axis=-1).astype(np.float32)
    h, c, w_h = (x.astype(np.float32) for x in (case.h, case.c, case.w_h / 10))
    one, all_of_them = (
        jax.jit(functools.partial(_recur, StaticArgs(options, spread=False)))(
            z, w_h, h, c, None, None
        )
        for options in (CallOptions(False, False, 1), CallOptions(False, False, 0))
    )
    assert_close(all_of_them, one, 1e-6)


def test_a_program_on_one_device_has_all_threads() -> None:
    """Where there are several devices, too; spread over them, each has one thread."""
    layers = {"lstm": LSTM_CELL, "mogrifier": MogrifierCell(2)}
    mesh, xs = row_mesh(16, 2), jnp.ones((8, 16, 5))
    for name, cell in layers.items():
        params = cell.init(jax.random.key(0), 5, 8)
        program = jax.jit(
            jax.grad(lambda params, xs, cell=cell: unroll(cell, params, xs)[0].sum())
        )
        for given, threads in (
            ((params, xs), 0),
            ((replicate(mesh, params), shard_rows(mesh, xs, axis=1)), 1),
        ):
            text = program.lower(*given).compile().as_text() or ""
            found = set(re.findall(r"threads = (\d+)", text))
            assert found == {str(threads)}, name


def test_a_process_of_one_device_has_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many devices other processes bring."""
    assert calls._threads_of_a_device() == 1
    monkeypatch.setattr(jax, "local_device_count", lambda backend: 1)
    assert calls._threads_of_a_device() == 0


def test_programs_of_other_options_have_other_texts() -> None:
    """By which the cache of compiled programs knows them, without the addresses."""
    mesh, xs = row_mesh(16, 2), jnp.ones((8, 16, 5))
    xs = shard_rows(mesh, xs, axis=1)

    def text(cell: Cell, reverse: bool = False, rounded: bool = False) -> str:
        def run(params: Params, xs: jax.Array) -> jax.Array:
            return unroll(cell, params, xs, reverse=reverse)[0]

        program = rounded_products(run) if rounded else run
        params = replicate(mesh, cell.init(jax.random.key(0), 5, 8))
        lowered = jax.jit(program).lower(params, xs).as_text()
        assert "CustomSPMDPartitioning" in lowered
        return re.sub(r'backend_config = "\d+"', "", lowered)

    mogrifier, capped = MogrifierCell(2), MogrifierCell(2, capped=True)
    texts = [
        *(text(mogrifier), text(capped), text(capped, rounded=True)),
        *(text(LSTM_CELL), text(LSTM_CELL, rounded=True)),
    ]
    assert len(set(texts)) == len(texts)
    assert text(capped) == texts[1]


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("engine", ["native", "fused"])
@pytest.mark.parametrize(
    "cell", [LSTM_CELL, MogrifierCell(2)], ids=["lstm", "mogrifier"]
)
def test_models_of_their_own_on_the_same_inputs(
    cell: Cell, engine: str, rounded: bool
) -> None:
    """In `shard_map`, with so many rows that the kernel makes the product of inputs."""
    mesh, xs = row_mesh(16, 2), jnp.asarray(random_case(0, 64, 16, 3, 1).xs, "f")
    several = jax.vmap(lambda key: cell.init(key, 3, 8))(
        jax.random.split(jax.random.key(0))
    )

    def loss(params: Params, xs: jax.Array) -> jax.Array:
        return jnp.sin(unroll(cell, params, xs, engine=engine)[0]).sum()

    loss = rounded_products(loss) if rounded else loss

    def own(params: Params, xs: jax.Array) -> tuple:
        params = jax.tree.map(lambda a: a[0], params)
        of_params, of_xs = jax.grad(loss, argnums=(0, 1))(params, xs)
        return jax.tree.map(lambda a: a[None], of_params), of_xs

    rows, alike = PartitionSpec("rows"), PartitionSpec()
    mapped = jax.shard_map(
        own, mesh=mesh, in_specs=(rows, alike), out_specs=(rows, alike)
    )
    of_params, of_xs = jax.vmap(jax.grad(loss, argnums=(0, 1)), (0, None))(several, xs)
    tolerance = 1e-2 if rounded else 1e-5
    assert_close(jax.jit(mapped)(several, xs), (of_params, of_xs.sum(0)), tolerance)


def test_a_shard_map_over_some_axes_is_for_fused() -> None:
    """The others are divided by XLA, which can't divide a call there."""
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((2, 1), ("data", "model"), axis_types=auto)
    case = jax.tree.map(lambda a: jnp.asarray(a, "f"), random_case(0, 8, 16, 3, 4))
    params = LSTMParams(case.w_x, case.w_h, case.b)
    names = []

    def run(xs: jax.Array) -> jax.Array:
        names.append(explain_engine(steps=8, rows=8, hidden=4).name)
        return lstm(params, xs)[0]

    spec = PartitionSpec(None, "data")
    mapped = jax.shard_map(
        run, mesh=mesh, axis_names={"data"}, in_specs=spec, out_specs=spec
    )
    assert_close(jax.jit(mapped)(case.xs), lstm(params, case.xs)[0], 1e-5)
    assert set(names) == {"fused"}


def test_it_does_not_wait_for_a_pool_that_waits_for_it() -> None:
    """More layers at a time than XLA has threads, each asking for all of them."""
    case = random_case(5, 6, 64, 1, 96)
    z = np.repeat(case.xs, 4 * 96, axis=-1).astype(np.float32)
    h, c, w_h = (x.astype(np.float32) for x in (case.h, case.c, case.w_h / 10))
    static = StaticArgs(CallOptions(False, False, 0), spread=False)

    @jax.jit
    def many(zs: jax.Array) -> list[jax.Array]:
        return [_recur(static, z, w_h, h, c, None, None)[0].sum() for z in zs]

    for _ in range(20):
        sums = many(jnp.stack([z] * 8))
        assert len({float(each) for each in sums}) == 1


def test_what_is_no_number_stays_none() -> None:
    case = random_case(3, 3, 2, 2, 5)
    case = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), case)
    xs = case.xs.at[1, 1].set(jnp.nan)
    params = LSTMParams(case.w_x, case.w_h, case.b)
    ys, _ = lstm(params, xs, engine="native")
    assert jnp.isfinite(ys[:, 0]).all() and jnp.isnan(ys[1:, 1]).all()


@pytest.mark.parametrize("forward", [False, True])
def test_second_derivatives_are_those_of_scan(forward: bool) -> None:
    """A gradient's gradient along a direction, by reverse mode and by forward mode."""
    case = jax.tree.map(lambda a: jnp.asarray(a, "f"), random_case(0, 3, 2, 2, 3))
    direction = jax.tree.map(jnp.cos, case)

    def along(engine: str) -> Case:
        def slope(case: Case) -> Case:
            return gradient(case, True, engine)

        if forward:
            return jax.jvp(slope, (case,), (direction,))[1]
        return jax.vjp(slope, case)[1](direction)[0]

    assert_close(along("native"), along("scan"), 1e-5)


@pytest.mark.parametrize(
    ("steps", "rows", "inputs", "outputs", "bias"),
    [
        (600, 1, 1, 4, True),
        (11, 50, 17, 31, False),
        (3, 333, 130, 96, True),
        (40, 64, 300, 20, True),
    ],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_the_product_of_the_inputs(
    steps: int, rows: int, inputs: int, outputs: int, bias: bool, rounded: bool
) -> None:
    """Values and all gradients, those of NumPy in float64, of rounded factors too."""
    rng = np.random.default_rng(inputs)
    xs, w, dz, b = (
        np.asarray(rng.normal(size=shape), np.float32)
        for shape in (
            (steps, rows, inputs),
            (inputs, outputs),
            (steps, rows, outputs),
            outputs,
        )
    )

    def both(xs: jax.Array, w: jax.Array, b: jax.Array | None) -> tuple:
        z, back = jax.vjp(project, xs, w, b)
        return z, *back(jnp.asarray(dz))

    both = rounded_products(both) if rounded else both
    found = jax.jit(both)(xs, w, b if bias else None)

    def factor(a: np.ndarray) -> np.ndarray:
        a = np.asarray(jnp.asarray(a, jnp.bfloat16), "f") if rounded else a
        return a.astype(np.float64)

    z = factor(xs) @ factor(w) + (b if bias else 0)
    dw = np.einsum("tbd,tbg->dg", factor(xs), factor(dz))
    expected = (z, factor(dz) @ factor(w).T, dw, dz.sum((0, 1)) if bias else None)
    assert_close(found, expected, 1e-5)


def test_the_product_is_divided_by_rows() -> None:
    """On two devices, by XLA or by shard_map; under vmap it is repeated."""
    case = jax.tree.map(lambda a: jnp.asarray(a, "f"), random_case(0, 16, 64, 5, 8))
    mesh = row_mesh(64, 2)

    def slopes(w: tuple, xs: jax.Array) -> tuple:
        def loss(w: tuple, xs: jax.Array) -> jax.Array:
            return (project(xs, *w) ** 2).sum()

        return jax.grad(loss, (0, 1))(w, xs)

    weights = case.w_x, case.b
    expected = jax.jit(slopes)(weights, case.xs)
    xs, everywhere = shard_rows(mesh, case.xs, axis=1), replicate(mesh, weights)
    program = jax.jit(slopes).lower(everywhere, xs).compile()
    assert "f32[16,32,32]" in (program.as_text() or "")  # each device has its rows
    assert_close(program(everywhere, xs), expected, 1e-5)
    rows, alike = PartitionSpec(None, "rows"), PartitionSpec()
    inside = jax.shard_map(
        slopes, mesh=mesh, in_specs=(alike, rows), out_specs=(alike, rows)
    )
    assert_close(jax.jit(inside)(everywhere, xs), expected, 1e-5)
    twice = jax.vmap(slopes, (None, 0))(weights, jnp.stack([case.xs, 2 * case.xs]))
    assert_close(jax.tree.map(lambda a: a[0], twice), expected, 1e-5)


def test_the_product_is_exported_as_that_of_xla() -> None:
    xs, w = jnp.ones((16, 64, 5)), jnp.ones((5, 8))
    static = ProductArgs(CallOptions(False, False, 1), spread=False)
    program = jax.jit(lambda xs, w: _project(static, xs, w, None))
    assert "lstm_jax_project" in program.lower(xs, w).as_text()
    exported = jax.export.export(program)(xs, w)
    assert "lstm_jax_project" not in exported.mlir_module()
    assert_close(exported.call(xs, w), jnp.full((16, 64, 8), 5.0), 1e-6)


def test_a_row_of_the_product_does_not_depend_on_its_company() -> None:
    rng = np.random.default_rng(0)
    xs, w = (np.asarray(rng.normal(size=n), "f") for n in ((512, 3, 40), (40, 36)))
    three, one = (jax.jit(project)(each, w, None) for each in (xs, xs[:, 1:2]))
    np.testing.assert_array_equal(three[:, 1:2], one)


@pytest.mark.parametrize(
    ("steps", "rows", "inputs", "outputs"),
    [(1200, 1, 1, 1), (3, 333, 130, 70), (40, 64, 300, 20), (9, 64, 40, 1100)],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_weight_gradients(
    steps: int, rows: int, inputs: int, outputs: int, rounded: bool
) -> None:
    """Those of NumPy in float64, and on all threads as on one."""
    rng = np.random.default_rng(inputs)
    w, b = jnp.zeros((inputs, outputs)), jnp.zeros(outputs)
    xs, dz = (
        jnp.asarray(rng.normal(size=(steps, rows, width)), jnp.float32)
        for width in (inputs, outputs)
    )

    def found(threads: int, xs: jax.Array, dz: jax.Array) -> tuple:
        options = CallOptions(False, rounded, threads)
        gradients = functools.partial(affine_gradients, options, False)
        return jax.jit(gradients)(xs, dz, w, b)

    def factor(a: jax.Array) -> np.ndarray:
        a = a.astype(jnp.bfloat16) if rounded else a
        return np.asarray(a, np.float64)

    expected = np.einsum("tbd,tbg->dg", factor(xs), factor(dz))
    one = found(1, xs, dz)
    assert_close(one, (expected, np.asarray(dz, np.float64).sum((0, 1))), 1e-5)
    for few, many in zip(one, found(0, xs, dz), strict=True):
        np.testing.assert_array_equal(few, many)
    broken = found(0, xs.at[0, 0, -1].set(jnp.nan), dz.at[-1, -1, 0].set(jnp.nan))[0]
    assert np.isnan(broken[-1]).all() and np.isnan(broken[:, 0]).all()
    np.testing.assert_array_equal(broken[:-1, 1:], one[0][:-1, 1:])


def test_the_derivative_of_weight_gradients_is_that_of_xla() -> None:
    """It is that of a product, forward and backward; exported it is one of XLA's."""
    rng = np.random.default_rng(0)
    xs, dz, dw = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((8, 64, 5), (8, 64, 6), (5, 6))
    )

    def ours(xs: jax.Array, dz: jax.Array) -> jax.Array:
        return weight_gradient(CallOptions(False, False, 0), False, xs, dz, dw)

    def product(xs: jax.Array, dz: jax.Array) -> jax.Array:
        return jnp.einsum("tbd,tbg->dg", xs, dz)

    assert "lstm_jax_weights" in jax.jit(ours).lower(xs, dz).as_text()
    assert (
        "lstm_jax_weights" not in jax.export.export(jax.jit(ours))(xs, dz).mlir_module()
    )

    def slopes(function: Callable[[jax.Array, jax.Array], jax.Array]) -> tuple:
        forward = jax.jvp(function, (xs, dz), (xs[::-1], dz[::-1]))
        return forward, jax.vjp(function, xs, dz)[1](dw)

    assert_close(slopes(jax.jit(ours)), slopes(jax.jit(product)), 1e-5)


def test_second_derivatives_inside_shard_map() -> None:
    """Each device's share, of so many rows that the kernel makes the gradients."""
    case = jax.tree.map(lambda a: jnp.asarray(a, "f"), random_case(0, 64, 32, 3, 4))
    mesh, alike = row_mesh(32, 2), PartitionSpec()
    params = LSTMParams(case.w_x, case.w_h, case.b)

    def slopes(engine: str, params: LSTMParams, xs: jax.Array) -> LSTMParams:
        return jax.grad(lambda p: (lstm(p, xs, engine=engine)[0] ** 2).sum())(params)

    def twice(engine: str) -> LSTMParams:
        inside = jax.shard_map(
            functools.partial(slopes, engine),
            mesh=mesh,
            in_specs=(alike, PartitionSpec(None, "rows")),
            out_specs=alike,
        )

        def penalty(params: LSTMParams) -> jax.Array:
            found = jax.jit(inside)(params, case.xs)
            return jnp.stack([(a**2).sum() for a in jax.tree.leaves(found)]).sum()

        return jax.grad(penalty)(params)

    assert_close(twice("native"), twice("scan"), 1e-4)


def random_mogrifier(cell: MogrifierCell, rows: int, inputs: int, hidden: int) -> tuple:
    """Its weights, inputs of four steps, and a state, in float32."""
    rng = np.random.default_rng(hidden)
    params = cell.init(jax.random.key(0), inputs, hidden)
    shapes = (4, rows, inputs), (rows, hidden), (rows, hidden)
    xs, h, c = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    return params, xs, LSTMState(h, c)


def mogrified(cell: MogrifierCell, engine: str, operands: tuple) -> tuple:
    """Outputs, last state, and all gradients, with lengths and resets."""
    lengths, resets = map(jnp.asarray, masks(*operands[1].shape[:2]))
    backward = cell.rounds % 2 == 1

    def loss(operands: tuple) -> tuple:
        options = {"lengths": lengths, "resets": resets, "reverse": backward}
        params, xs, state = operands
        ys, last = unroll(cell, params, xs, state, engine=engine, **options)
        total = (jnp.cos(ys) * ys).sum() + (last.h**2).sum() + (last.c**3).sum()
        return total, (ys, last)

    return jax.jit(jax.grad(loss, has_aux=True))(operands)


@pytest.mark.parametrize(
    ("rounds", "rows", "inputs", "hidden"),
    [
        (1, 15, 40, 16),
        (5, 17, 3, 50),
        pytest.param(0, 1, 1, 1, marks=pytest.mark.slow),
        pytest.param(5, 3, 17, 31, marks=pytest.mark.slow),
        pytest.param(2, 64, 33, 130, marks=pytest.mark.slow),
    ],
)
def test_mogrifiers_need_not_fit(
    rounds: int, rows: int, inputs: int, hidden: int
) -> None:
    """As `scan` in float64; as `fused` with rounded factors."""
    cell = MogrifierCell(rounds, capped=rounds != 5)
    operands = random_mogrifier(cell, rows, inputs, hidden)
    with jax.enable_x64(True):
        exact = cast(operands, "float64")
        expected = jax.tree.map(np.asarray, mogrified(cell, "scan", exact))
    assert_close(mogrified(cell, "native", operands), expected, 1e-5)
    native, fused = (
        rounded_products(functools.partial(mogrified, cell))(engine, operands)
        for engine in ("native", "fused")
    )
    assert_close(native, fused, 2e-2)


def test_second_derivatives_of_a_mogrifier_are_those_of_scan() -> None:
    cell = MogrifierCell(1, capped=True)
    operands = random_mogrifier(cell, 3, 2, 3)
    direction = jax.tree.map(jnp.cos, operands)

    def along(engine: str) -> tuple:
        slope = functools.partial(mogrified, cell, engine)
        return jax.vjp(lambda given: slope(given)[0], operands)[1](direction)[0]

    assert_close(along("native"), along("scan"), 1e-5)


def test_a_mogrifier_keeps_what_is_no_number_to_its_row() -> None:
    cell = MogrifierCell(2, capped=True)
    params, xs, _ = random_mogrifier(cell, 3, 17, 5)
    ys, _ = unroll(cell, params, xs.at[1, 1, 16].set(jnp.nan), engine="native")
    assert jnp.isfinite(ys[:, ::2]).all() and jnp.isnan(ys[1:, 1]).all()
    most = xs.at[1, 1, 16].set(jnp.inf)  # times zero, of what fills up a vector
    native, scan = (unroll(cell, params, most, engine=e)[0] for e in ("native", "scan"))
    assert_close(native, scan, 1e-5)


def test_threads_divide_the_rows_of_a_mogrifier() -> None:
    cell = MogrifierCell(2, capped=True)
    params, xs, state = random_mogrifier(cell, 67, 40, 96)
    weights = Weights(params.rounds, gate_weights(params), params.b)
    one, all_of_them = (
        jax.jit(
            functools.partial(_recur_mogrifier, MogrifierArgs(options, True, False))
        )(weights, xs, state.h, state.c, None, None)
        for options in (CallOptions(False, False, 1), CallOptions(False, False, 0))
    )
    assert_close(all_of_them, one, 1e-6)


def test_auto_takes_it_where_it_was_measured_faster() -> None:
    sizes = {"rows": 32, "hidden": 128}
    for cell in (LSTM_CELL, MogrifierCell(2, capped=True)):
        choice = explain_engine(platform="cpu", steps=64, cell=cell, **sizes)
        assert choice.name == "native"
    for steps, dtype in ((64, jnp.bfloat16), (64, jnp.float64), (1, jnp.float32)):
        choice = explain_engine(platform="cpu", steps=steps, dtype=dtype, **sizes)
        assert choice.name == "fused" and "native" in choice.reason
