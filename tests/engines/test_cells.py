"""One meaning: every other cell, by each engine that has it, against NumPy loops.

`test_equivalence` is the matrix of the textbook LSTM; here is a row for each cell.
"""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from lstm_jax.cells.decay import DecayCell
from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, lstm_step
from lstm_jax.cells.named import CELLS
from lstm_jax.cells.noise import LoopMasks
from lstm_jax.cells.protocol import Cell
from lstm_jax.engines.dispatch import ENGINES, explain_engine
from lstm_jax.nn.recurrence import unroll
from tests.helpers.reference_cells import (
    COUPLED,
    COUPLED_PEEPHOLE,
    DECAY,
    GRU,
    GRU_BEFORE,
    PEEPHOLE,
    VARIANT,
    Reference,
    mogrifier,
    sequence,
)
from tests.helpers.reference_lstm import Array, assert_close, cast, slopes

T, B, D, H = 4, 4, 2, 3
LENGTHS = np.array([T, 0, 2, 1])
RESETS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool).T
Given = dict[str, Any]  # params, xs, start
pytestmark = pytest.mark.usefixtures("x64")


class Row(NamedTuple):
    """A cell, and an engine that runs it."""

    reference: Reference
    engine: str
    dtype: str = "float64"  # the most exact one it has

    def __str__(self) -> str:
        """A name for the test."""
        return f"{self.reference}-{self.engine}"


ROWS = (
    Row(DECAY, "scan"),
    Row(GRU, "scan"),
    Row(PEEPHOLE, "scan"),
    Row(VARIANT, "scan"),
    Row(COUPLED, "scan"),
    Row(mogrifier(2, True), "fused"),
    Row(mogrifier(3, False), "fused"),
    Row(mogrifier(2, True), "scan"),
    Row(mogrifier(2, True), "native", "float32"),
    Row(mogrifier(3, False), "native", "float32"),
)
TOLERANCES = {"float64": 1e-12, "float32": 64 * float(jnp.finfo("float32").eps)}
OPTIONS = (Row(GRU_BEFORE, "scan"), Row(COUPLED_PEEPHOLE, "scan"))  # of cells above
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def _is_shape(leaf: object) -> bool:
    return (
        isinstance(leaf, tuple) and all(isinstance(n, int) for n in leaf) and leaf != ()
    )


def numbers(reference: Reference) -> Given:
    """Random numbers everywhere."""
    rng = np.random.default_rng(7)
    shapes = reference.shapes(D, H)
    is_shape = {"is_leaf": _is_shape}
    blank = reference.cell.initial_state(jnp.zeros((B, H)))
    return {
        "params": jax.tree.map(
            lambda shape: rng.normal(size=shape), shapes, **is_shape
        ),
        "xs": rng.normal(size=(T, B, D)),
        "start": tuple(rng.normal(size=part.shape) for part in vars(blank).values()),
    }


WEIGHTS = np.random.default_rng(9).normal(size=(T, B, H))


def loss(outcome: tuple[Array, tuple]) -> Array:
    """A number that depends on all outputs and, not linearly, on the last state."""
    ys, last = outcome
    total = (WEIGHTS[..., : ys.shape[-1]] * ys).sum()
    for power, part in enumerate(last, 2):
        total = total + (WEIGHTS[power, :, : part.shape[-1]] * part**power).sum()
    return total


def ours(
    row: Row,
    given: Given,
    lengths: jax.Array | None = None,
    resets: jax.Array | None = None,
    masks: LoopMasks | None = None,
    reverse: bool = False,
    remat: bool = False,
) -> tuple:
    """The layer by the library."""
    ys, last = unroll(
        row.reference.cell,
        given["params"],
        given["xs"],
        row.reference.state(*given["start"]),
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        engine=row.engine,
        remat=remat,
        masks=masks,
    )
    return ys, tuple(vars(last).values())


@functools.partial(jax.jit, static_argnames=("row", "reverse", "remat"))
def measure(
    row: Row,
    given: Given,
    lengths: jax.Array,
    resets: jax.Array,
    reverse: bool = False,
    remat: bool = False,
) -> tuple[tuple, Given]:
    """What the library makes of its inputs, and the gradient of the loss of that."""

    def measured(given: Given) -> tuple:
        outcome = ours(row, given, lengths, resets, None, reverse, remat)
        return loss(outcome), outcome

    (_, outcome), gradient = jax.value_and_grad(measured, has_aux=True)(given)
    return outcome, gradient


def options(lengths: bool, resets: bool) -> tuple[jax.Array, jax.Array]:
    """Lengths and resets as data: whole rows and no flag where there are none."""
    whole, never = np.full(B, T), np.zeros_like(RESETS)
    chosen = LENGTHS if lengths else whole, RESETS if resets else never
    return jnp.asarray(chosen[0]), jnp.asarray(chosen[1])


@functools.cache
def expected(reference: Reference, lengths: bool, resets: bool, reverse: bool) -> tuple:
    """The same by the NumPy loop and its slopes."""

    def outcome(given: Given) -> tuple[NDArray, tuple]:
        return sequence(
            reference.step,
            given["params"],
            given["xs"],
            given["start"],
            LENGTHS if lengths else None,
            RESETS if resets else None,
            reverse,
        )

    given = numbers(reference)
    return outcome(given), slopes(lambda given: float(loss(outcome(given))), given)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("row", ROWS + OPTIONS, ids=str)
def test_it_is_its_equations_and_so_are_its_gradients(row: Row, reverse: bool) -> None:
    """Outputs, last state, and the gradient of everything by central differences."""
    given = cast(numbers(row.reference), row.dtype)
    for flags in ((False, False), (True, True), (not reverse, reverse)):
        outcome, gradient = measure(row, given, *options(*flags), reverse=reverse)
        values, slope = expected(row.reference, *flags, reverse)
        assert_close(outcome, values, TOLERANCES[row.dtype])
        assert_close(gradient, slope, max(TOLERANCES[row.dtype], 1e-7))


@pytest.mark.parametrize("row", [r for r in ROWS if r.engine != "native"], ids=str)
def test_in_bfloat16_a_cell_state_stays_float32(row: Row) -> None:
    values, slope = expected(row.reference, True, False, False)
    tolerance = 16 * float(jnp.finfo("bfloat16").eps)
    given = cast(numbers(row.reference), "bfloat16")
    (ys, last), gradient = measure(row, given, *options(True, False))
    assert ys.dtype == last[0].dtype == "bfloat16"
    assert last[-1].dtype == ("float32" if len(last) > 1 else "bfloat16")
    assert_close((ys, last), values, tolerance)
    assert_close(gradient, slope, 2 * tolerance)


@each_row
def test_chunks_devices_and_maps_change_nothing(row: Row) -> None:
    """`remat`, rows spread over two devices, and several layers under `vmap`."""
    given, flags = cast(numbers(row.reference), jnp.float32), options(True, True)
    whole, tolerance = measure(row, given, *flags), 64 * float(jnp.finfo("float32").eps)
    assert_close(whole, expected(row.reference, True, True, False), tolerance)
    assert_close(measure(row, given, *flags, remat=True), whole, tolerance)

    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    columns = NamedSharding(mesh, PartitionSpec(None, "data"))
    spread = given | {"xs": jax.device_put(given["xs"], columns)}
    assert_close(measure(row, spread, *flags), whole, tolerance)

    pair = jax.tree.map(lambda a: jnp.stack([jnp.ones_like(a), a]), given)
    found = jax.jit(jax.vmap(lambda given: ours(row, given, *flags)))(pair)
    assert_close(jax.tree.map(lambda a: a[1], found), whole[0], tolerance)


@pytest.mark.parametrize("absent", ["lengths", "resets"])
@each_row
def test_an_absent_option_changes_nothing(row: Row, absent: str) -> None:
    given = cast(numbers(row.reference), row.dtype)
    lengths, resets = options(absent == "resets", absent == "lengths")
    flags = (None, resets) if absent == "lengths" else (lengths, None)
    outcome = measure(row, given, lengths, resets)[0]
    found = jax.jit(lambda given: ours(row, given, *flags))(given)
    assert_close(found, outcome, TOLERANCES[row.dtype])


def test_scan_has_forward_mode() -> None:
    row, given = Row(GRU, "scan"), cast(numbers(GRU), jnp.float64)

    @jax.jit
    def both(given: Given) -> tuple:
        direction = jax.tree.map(jnp.cos, given)
        slope = jax.jvp(lambda given: loss(ours(row, given)), (given,), (direction,))[1]
        gradient = jax.grad(lambda given: loss(ours(row, given)))(given)
        return slope, jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)

    slope, along = both(given)
    assert_close(slope, sum(jax.tree.leaves(along)), 1e-9)


@pytest.mark.parametrize("reference", [GRU, PEEPHOLE, mogrifier(2, True)], ids=str)
def test_scan_has_masks(reference: Reference) -> None:
    """A state that is held for two steps; candidates that are all dropped."""
    row = Row(reference, "scan")
    run = jax.jit(lambda given, masks: ours(row, given, masks=masks))
    given = cast(numbers(reference), jnp.float64)
    none, held = jnp.ones((T, B, H)), jnp.ones((T, B, H)).at[2:].set(0)
    ys, last = run(given, LoopMasks(none, held, held))
    later = given | {"xs": given["xs"][2:]}
    assert_close((ys[2:], last), ours(row, later), 1e-12)
    assert_close(ys[:2], jnp.stack([given["start"][0]] * 2), 1e-12)

    blank = given | {"start": tuple(map(jnp.zeros_like, given["start"]))}
    ys, _ = run(blank, LoopMasks(0 * none, 0 * none, 0 * none))
    assert not ys.any()
    assert run(blank, LoopMasks(none, 0 * none, 0 * none))[0].all()


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
def test_a_step_is_a_sequence_of_one_from_zeros(cell: Cell) -> None:
    """`step` is the equations, `unroll` the engine's; both begin with `init`."""
    params = cell.init(jax.random.key(0), D, H)
    xs = jnp.asarray(np.random.default_rng(1).normal(size=(1, B, D)), jnp.float32)
    ys, last = unroll(cell, params, xs)
    step = cell.step(params, cell.initial_state(jnp.zeros((B, H), jnp.float32)), xs[0])
    assert_close(last, step, 1e-6)
    assert_close(ys[0], step.h, 1e-6)
    assert params.w_x.shape == (D, len(cell.blocks) * H)


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
def test_preactivations_open_the_gates(cell: Cell) -> None:
    """Where the gate that keeps is far open, the memory stays; far closed, it goes."""
    params = cell.init(jax.random.key(0), D, H)
    rng = np.random.default_rng(1)
    x, start = rng.normal(size=(B, D)), rng.normal(size=(B, H))
    blank = cell.initial_state(jnp.zeros((B, H)))
    state = type(blank)(*[jnp.asarray(start)] * len(vars(blank)))
    z = x @ params.w_x + params.b if cell.projects else jnp.asarray(x)
    found = cell.preactivations(cell.loop_weights(params), state, z)
    parts = dict(zip(cell.blocks, jnp.split(found, len(cell.blocks), -1), strict=True))
    gates = {n: jax.nn.sigmoid(a) for n, a in parts.items() if n != cell.candidate}
    offered = jnp.tanh(parts[cell.candidate])
    after = cell.advance(cell.loop_weights(params), state, z)
    kept = gates[cell.keeps]
    if cell.name == "gru":
        assert_close(after.h, (1 - kept) * offered + kept * start, 1e-6)
    else:
        written = gates.get("i", 1 - kept)
        assert_close(after.c, kept * start + written * offered, 1e-6)
        assert_close(after.h, gates["o"] * jnp.tanh(after.c), 1e-6)


def test_decay_lets_a_memory_fade_with_the_gaps() -> None:
    """After a long gap nothing is left, after none all is; as its gates see it."""
    given = cast(numbers(DECAY), jnp.float64)
    params = dataclasses.replace(
        given["params"], w_decay=jnp.ones((1, H)), b_decay=jnp.zeros(H)
    )
    cell, state = DECAY.cell, DECAY.state(*given["start"])
    plain = LSTMParams(params.w_x, params.w_h, params.b)
    blank = jax.tree.map(jnp.zeros_like, state)
    for gap, before in ((0.0, state), (1e3, blank)):
        x = given["xs"][0].at[:, -1].set(gap)
        assert_close(cell.step(params, state, x), lstm_step(plain, before, x), 1e-12)
        z = cell.preactivations(cell.loop_weights(params), state, x)
        assert_close(z, x @ params.w_x + before.h @ params.w_h + params.b, 1e-12)
    with pytest.raises(ValueError, match=r"^gaps: expected 1 to 2, the inputs"):
        DecayCell(3).init(jax.random.key(0), D, H)


def test_the_gru_is_that_of_flax() -> None:
    """Whose hidden product has no bias."""
    flax = nnx.GRUCell(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    given = cast(numbers(GRU), jnp.float64)
    params = given["params"]
    weights = {
        "dense_i": {"kernel": params.w_x, "bias": params.b},
        "dense_h": {"kernel": params.w_h},
    }
    nnx.update(flax, weights)
    params = type(params)(params.w_x, params.w_h, params.b, jnp.zeros(H))
    carry, ys = jax.lax.scan(flax, given["start"][0], given["xs"])
    found = ours(Row(GRU, "scan"), given | {"params": params})
    assert_close(found, (ys, (carry,)), 1e-12)


def test_the_gru_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    given = cast(numbers(GRU), jnp.float64)
    params = given["params"]
    layer = torch.nn.GRU(D, H, dtype=torch.float64)
    hidden = jnp.concatenate([jnp.zeros(2 * H), params.b_hn])
    weights = (params.w_x.T, params.w_h.T, params.b, hidden)
    for mine, theirs in zip(weights, layer.parameters(), strict=True):
        theirs.data = torch.tensor(np.asarray(mine))
    arrays = (given["xs"], given["start"][0][None])
    ys, last = layer(*(torch.tensor(np.asarray(a)) for a in arrays))
    there = (ys.detach().numpy(), (last[0].detach().numpy(),))
    assert_close(ours(Row(GRU, "scan"), given), there, 1e-12)


def test_peepholes_are_those_of_onnx() -> None:
    """By ONNX' own evaluator, which has the gates in the order i, o, f, c."""
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    given = cast(numbers(PEEPHOLE), jnp.float32)
    params, (h, c) = given["params"], given["start"]

    def reordered(a: jax.Array, order: str, names: str) -> NDArray:
        blocks = dict(zip(names, jnp.split(a, len(names), axis=-1), strict=True))
        return np.asarray(jnp.concatenate([blocks[n] for n in order], axis=-1).T)[None]

    inputs = {
        "X": np.asarray(given["xs"]),
        "W": reordered(params.w_x, "iofg", "ifgo"),
        "R": reordered(params.w_h, "iofg", "ifgo"),
        "B": np.pad(reordered(params.b, "iofg", "ifgo"), ((0, 0), (0, 4 * H))),
        "S": None,
        "H": np.asarray(h)[None],
        "C": np.asarray(c)[None],
        "P": reordered(params.p, "iof", "ifo"),
    }
    names = ["" if value is None else name for name, value in inputs.items()]
    node = onnx.helper.make_node("LSTM", names, ["Y", "Yh", "Yc"], hidden_size=H)
    kind = onnx.TensorProto.FLOAT
    given_to = {name: value for name, value in inputs.items() if value is not None}
    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [
            onnx.helper.make_tensor_value_info(n, kind, v.shape)
            for n, v in given_to.items()
        ],
        [onnx.helper.make_tensor_value_info(n, kind, None) for n in ("Y", "Yh", "Yc")],
    )
    model = onnx.helper.make_model(graph)
    ys, last_h, last_c = evaluator(model).run(None, given_to)
    found = ours(Row(PEEPHOLE, "scan"), given)
    assert_close(found, (ys[:, 0], (last_h[0], last_c[0])), 1e-5)


def test_every_cell_has_a_row_with_every_engine_of_its_own() -> None:
    there = {(row.reference.cell.name, row.engine) for row in ROWS}
    cells = [cell for cell in CELLS.values() if cell != LSTM_CELL]
    for cell, (name, engine) in itertools.product(cells, ENGINES.items()):
        assert ((cell.name, name) in there) == (engine.run_of(cell) is not None)


def test_auto_is_an_engine_that_has_the_cell() -> None:
    sizes = {"steps": 8, "rows": 8, "hidden": 8}
    for platform in ("cpu", "tpu", "cuda"):
        chosen = explain_engine(cell=GRU.cell, platform=platform, **sizes)
        assert chosen.name == "scan"
        assert chosen.others["pallas_tpu"] == "has no loop for the cell gru"
        chosen = explain_engine(
            cell=mogrifier(2, True).cell, platform=platform, **sizes
        )
        assert chosen.name in ("fused", "native" if platform == "cpu" else "fused")
    with pytest.raises(ValueError, match=r"no loop for the cell gru; .* can: scan$"):
        explain_engine("fused", cell=GRU.cell, **sizes)
