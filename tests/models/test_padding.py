"""Padding never influences anything, whatever stands there.

Not numbers, infinities and huge numbers beyond the end of a row, in a row of length 0,
in a state that is never read, in the embedding of a symbol that only fills up: outputs,
last states, loss and every gradient are those with zeros there, bit for bit, and the
gradient of what stands there is exactly 0. An empty row hands its state through, and
nothing of it goes anywhere else.

To add something that reads padded arrays is to add a `Scene`.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.lstm import LSTM_CELL, LSTMParams, LSTMState
from lstm_jax.cells.mogrifier import MogrifierCell, MogrifierParams
from lstm_jax.config import RegularizerConfig
from lstm_jax.data.special_ids import IGNORED
from lstm_jax.engines.dispatch import ENGINES
from lstm_jax.metrics.losses import cross_entropy
from lstm_jax.models.classifier import SequenceClassifier, classifier_loss, pool
from lstm_jax.models.ctc import CTCModel, ctc_loss, transcript_nats
from lstm_jax.models.keyboard import KeyboardModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.models.multilabel import MultiLabelModel, multilabel_loss
from lstm_jax.models.seq2seq import Seq2Seq, seq2seq_loss
from lstm_jax.nn.attention import attend
from lstm_jax.nn.layers import LSTM, Bidirectional, StackedLSTM
from lstm_jax.nn.recurrence import lstm, unroll, unroll_projected
from lstm_jax.ops.matmul import rounded_products
from tests.helpers.reference_lstm import (
    Case,
    assert_close,
    cast,
    random_case,
    sequence,
    slopes,
)

T, B, D, H, V = 5, 4, 2, 4, 6
PAD = V - 1  # a symbol that stands in padding only
GARBAGE = (np.nan, np.inf, -np.inf, 2.0**100)  # the last in every type the same
LENGTHS = jnp.array([T, 0, 3, 1])
EMPTY = np.asarray(LENGTHS == 0)
BEYOND = np.arange(T)[:, None] >= np.asarray(LENGTHS)  # [T, B]
RESETS = np.array(
    [  # one line per row of the batch, one column per step
        [1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1],
        [0, 1, 0, 1, 0],
        [1, 1, 0, 0, 0],
    ],
    bool,
).T

# Optimizing machine code takes half of the time and is not what is tested here.
quick = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)

Tree = Any
Outcome = tuple[Tree, list[jax.Array]]


class Scene(NamedTuple):
    """Something that reads padded arrays.

    Attributes:
        run: what it makes of them: a tree of all that padding must not change; and
            the states that empty rows hand through, zero in the other rows.
        given: the arrays, all that there is a gradient of.
        padding: True where an array of the same name is padding; others have none.
        handed: True where it is a state that is handed through.
    """

    run: Callable[[dict], Outcome]
    given: dict[str, Tree]
    padding: dict[str, Tree]
    handed: Mapping[str, Tree] = MappingProxyType({})


def total(tree: Tree) -> jax.Array:
    """A number that depends on every element, and not linearly, on no two alike."""

    def one(a: jax.Array) -> jax.Array:
        a = a.astype("float32")
        return (a * a + jnp.sin(jnp.arange(a.size)).reshape(a.shape) * a).sum()

    return jnp.asarray(sum(one(a) for a in jax.tree.leaves(tree)))


def marked(given: dict, chosen: Mapping) -> Tree:
    """The chosen masks, broadcast to every array of that name; False elsewhere."""

    def mark(name: str) -> Tree:
        mask = chosen.get(name, np.array(False))
        if isinstance(mask, np.ndarray):
            return jax.tree.map(lambda a: np.broadcast_to(mask, a.shape), given[name])
        return mask

    return {name: mark(name) for name in given}


def check(scene: Scene) -> None:
    """Compile once, then fill the padding with one thing after the other."""
    padding, handed = (
        marked(scene.given, chosen) for chosen in (scene.padding, scene.handed)
    )

    @quick
    def measure(given: dict) -> tuple[Tree, dict]:
        def loss(given: dict) -> tuple[jax.Array, Tree]:
            seen, through = scene.run(given)
            squares = sum((a.astype("float32") ** 2).sum() for a in through)
            return total(seen) + squares, ((total(seen), seen), through)

        return jax.grad(loss, has_aux=True)(given)[::-1]

    def fill(number: float) -> dict:
        def one(a: np.ndarray, *masks: np.ndarray) -> np.ndarray:
            return np.where(np.logical_or(*masks), number, a).astype(a.dtype)

        return jax.tree.map(one, scene.given, padding, handed)

    (clean, _), expected = measure(fill(0))
    for leaf in jax.tree.leaves((clean, expected)):
        assert np.isfinite(np.float32(leaf)).all()
    for name in scene.given:  # all of it matters
        assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[name])), name
    for a, mask in zip(*map(jax.tree.leaves, (expected, padding)), strict=True):
        assert not np.asarray(a)[mask].any()
    for number in GARBAGE:
        (found, through), gradient = measure(fill(number))
        # The square of a state that is handed through has a gradient of its own.
        own = [
            np.where(mask, 2 * number, a)
            for a, mask in zip(*map(jax.tree.leaves, (expected, handed)), strict=True)
        ]
        assert_equal(found, clean)
        assert_equal(jax.tree.leaves(gradient), own)
        for state in through:
            assert_equal(state[EMPTY], np.full(state[EMPTY].shape, number))


def assert_equal(found: Tree, expected: Tree) -> None:
    """All numbers are the very same."""

    def compare(a: jax.Array, b: jax.Array) -> None:
        # In float32: NumPy knows no NaN of bfloat16.
        np.testing.assert_array_equal(np.float32(a), np.float32(b))

    jax.tree.map(compare, found, expected)


def parted(states: Tree) -> tuple[Tree, list[jax.Array]]:
    """The states of rows that were read, and those that were handed through."""

    def choose(mask: np.ndarray) -> Tree:
        return jax.tree.map(lambda a: jnp.where(mask[:, None], a, 0), states)

    return choose(~EMPTY), jax.tree.leaves(choose(EMPTY))


def drawn(tree: Tree, seed: int = 0) -> Tree:
    """Random numbers in place of every array, no two alike."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: jnp.asarray(0.7 * rng.normal(size=a.shape), a.dtype), tree
    )


def some(*shape: int, dtype: str = "float32", seed: int = 1) -> jax.Array:
    """A random array."""
    return drawn(jax.ShapeDtypeStruct(shape, jnp.dtype(dtype)), seed)


def made(kind: Callable[..., Tree], *sizes: int, **options: object) -> Tree:
    """A module with random numbers everywhere."""
    return drawn(jax.eval_shape(lambda: kind(*sizes, rngs=nnx.Rngs(0), **options)))


def some_state(seed: int, dtype: str = "float32") -> LSTMState:
    """A state of random numbers."""
    h, c = some(2, B, H, dtype=dtype, seed=seed)
    return LSTMState(h, c)


# Recurrences.


class Row(NamedTuple):
    """An engine that is to be tried, and how."""

    engine: str
    stand_in: str | None = None
    dtype: str = "float32"
    resets: bool = True
    gates: bool = False
    rounded: bool = False

    def __str__(self) -> str:
        """A name for the test."""
        how = ("gates",) * self.gates + ("rounded",) * self.rounded
        return "-".join([self.engine, self.dtype, *how])


ROWS = (
    Row("scan"),
    Row("fused"),
    Row("fused", dtype="bfloat16", gates=True),
    Row("fused", resets=False, rounded=True),
    Row("native"),
    Row("native", rounded=True),
    Row("cudnn", "cudnn", resets=False),
    Row("pallas_gpu", "gpu_kernels"),
    Row("pallas_tpu", "interpreted"),
)


def recurrence(row: Row, reverse: bool, remat: bool) -> Scene:
    """`lstm` or `unroll_projected` with everything they take."""
    params = LSTMParams(some(D, 4 * H), some(H, 4 * H, seed=2), some(4 * H, seed=3))
    params = cast(params, row.dtype)
    inputs = some(T, B, 4 * H if row.gates else D, dtype=row.dtype, seed=4)
    resets = jnp.asarray(RESETS) if row.resets else None
    # What is reset before the first step is never read.
    unread = RESETS[0] & ~EMPTY & row.resets & (not reverse)

    def run(given: dict) -> Outcome:
        run: Callable = unroll_projected if row.gates else lstm
        params, xs = given["params"], given["xs"]
        ys, last = run(
            *((LSTM_CELL, xs, params, params) if row.gates else (params, xs)),
            given["state"],
            lengths=LENGTHS,
            resets=resets,
            reverse=reverse,
            engine=row.engine,
            remat=remat,
        )
        read, through = parted(last)
        return (ys, read), through

    given = {
        "params": params.w_h if row.gates else params,
        "xs": inputs,
        "state": some_state(5, row.dtype),
    }
    return Scene(
        rounded_products(run) if row.rounded else run,
        given,
        {"xs": BEYOND[..., None], "state": unread[:, None]},
        {"state": EMPTY[:, None]},
    )


@pytest.mark.parametrize(
    ("reverse", "remat"), [(False, False), (True, True)], ids=["ahead", "back-remat"]
)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_recurrence(
    row: Row, reverse: bool, remat: bool, request: pytest.FixtureRequest
) -> None:
    if row.stand_in:
        request.getfixturevalue(row.stand_in)
    check(recurrence(row, reverse, remat))


def test_every_engine_has_a_row() -> None:
    assert {row.engine for row in ROWS} == set(ENGINES)


@pytest.mark.parametrize(("engine", "reverse"), [("scan", False), ("fused", True)])
def test_only_real_steps_are_read(engine: str, reverse: bool, x64: None) -> None:
    """The slow loop in NumPy, which cuts every row to its length, from the same."""
    case = random_case(0, T, B, D, H)
    xs = np.where(BEYOND[..., None], np.nan, case.xs)
    h, c = (np.where(EMPTY[:, None], np.nan, a) for a in (case.h, case.c))
    dirty = case._replace(xs=xs, h=h, c=c)

    def number(outcome: tuple) -> jax.Array:
        ys, h, c = outcome
        wave = np.sin(np.arange(ys.size)).reshape(ys.shape)
        last = h[~EMPTY] ** 2 + c[~EMPTY]
        return (wave * ys).sum() + (wave[0, ~EMPTY] * last).sum()

    def slow(case: Case) -> tuple:
        return sequence(case, np.asarray(LENGTHS), RESETS, reverse)

    def ours(case: Case) -> tuple:
        ys, last = lstm(
            LSTMParams(case.w_x, case.w_h, case.b),
            case.xs,
            LSTMState(case.h, case.c),
            lengths=LENGTHS,
            resets=jnp.asarray(RESETS),
            reverse=reverse,
            engine=engine,
        )
        return ys, last.h, last.c

    arrays = cast(dirty, "float64")
    found, expected = (
        jax.tree.map(lambda a: np.asarray(a)[..., ~EMPTY, :], run(given))
        for run, given in ((quick(ours), arrays), (slow, dirty))
    )
    assert_close(found, expected, 1e-12)
    gradient = quick(jax.grad(lambda case: number(ours(case))))(arrays)
    assert_close(gradient, slopes(lambda case: float(number(slow(case))), dirty), 1e-8)


# What is built on them, and what is not a recurrence.


def mogrified(capped: bool, engine: str = "fused") -> Scene:
    """A layer that scales its inputs; capped, also with rounded factors."""
    cell = LSTMParams(some(D, 4 * H), some(H, 4 * H, seed=2), some(4 * H, seed=3))
    rounds = (some(H, D, seed=4), some(D, H, seed=5), some(H, D, seed=6))

    def run(given: dict) -> Outcome:
        ys, last = unroll(
            MogrifierCell(3, capped),
            given["params"],
            given["xs"],
            given["state"],
            lengths=LENGTHS,
            engine=engine,
        )
        read, through = parted(last)
        return (ys, read), through

    given = {
        "params": MogrifierParams(cell.w_x, cell.w_h, cell.b, rounds),
        "xs": some(T, B, D, seed=7),
        "state": some_state(8),
    }
    return Scene(
        rounded_products(run) if capped else run,
        given,
        {"xs": BEYOND[..., None]},
        {"state": EMPTY[:, None]},
    )


def layer(model: Tree, states: Tree, **how: object) -> Scene:
    """A layer or a stack, batch first; backwards, nothing is reset unread."""

    def run(given: dict) -> Outcome:
        ys, last = given["model"](given["xs"], given["states"], lengths=LENGTHS, **how)
        read, through = parted(last)
        return (ys, read), through

    given = {"model": model, "xs": some(B, T, D), "states": states}
    padding = {"xs": BEYOND.T[..., None]}
    return Scene(run, given, padding, {"states": EMPTY[:, None]})


def filler(model: Tree, name: str) -> Tree:
    """Marks the row of a table that is of the symbol in the padding alone."""

    def mark(path: tuple, a: np.ndarray) -> np.ndarray:
        marked = np.zeros(a.shape, bool)
        marked[PAD if name in jax.tree_util.keystr(path) else slice(0)] = True
        return marked

    return jax.tree_util.tree_map_with_path(mark, model)


def filled_ids(seed: int = 0) -> np.ndarray:
    """Symbols [B, T], of which one stands in the padding and nowhere else."""
    real = np.random.default_rng(seed).integers(PAD, size=(B, T))
    return np.where(BEYOND.T, PAD, real).astype(np.int32)


def language(model: Tree, table: str) -> Scene:
    """A language model goes on reading rows of several lengths."""

    def run(given: dict) -> Outcome:
        logits, last = given["model"](
            jnp.asarray(filled_ids()), given["states"], lengths=LENGTHS
        )
        read, through = parted(last)
        return (logits, read), through

    states = some_state(1), some_state(2)
    padding = {"model": filler(model, table)}
    handed = {"states": EMPTY[:, None]}
    return Scene(run, {"model": model, "states": states}, padding, handed)


def classifier(vocab_size: int | None) -> Scene:
    """All poolings; a row that is not counted is read by nobody."""
    model = made(
        SequenceClassifier, D, H, 1, 3, vocab_size=vocab_size, pooling=POOLINGS
    )
    targets = jnp.array([2, 1, IGNORED, 0])

    def run(given: dict) -> Outcome:
        batch = {
            "inputs": given.get("xs", jnp.asarray(filled_ids())),
            "lengths": LENGTHS,
            "targets": targets,
        }
        return classifier_loss(given["model"], (), batch, None)[0].loss, []

    if vocab_size:
        return Scene(run, {"model": model}, {"model": filler(model, "table")})
    unread = BEYOND.T | np.asarray(targets == IGNORED)[:, None]
    given = {"model": model, "xs": some(B, T, D)}
    return Scene(run, given, {"xs": unread[..., None]})


def translator() -> Scene:
    """Source symbols; a target symbol that is not counted."""
    model = made(Seq2Seq, V, V, D, H, 1)
    targets = np.where(BEYOND.T, IGNORED, filled_ids(1))
    batch = {
        "sources": filled_ids(),
        "lengths": LENGTHS,
        "inputs": filled_ids(2),
        "targets": targets,
    }
    batch = jax.tree.map(jnp.asarray, batch)

    def run(given: dict) -> Outcome:
        return seq2seq_loss(given["model"], (), batch, None)[0].loss, []

    return Scene(run, {"model": model}, {"model": filler(model, "source_table")})


def transcriber() -> Scene:
    """Frames of sound."""
    model = made(CTCModel, D, V, H, 1)

    def run(given: dict) -> Outcome:
        batch = {"frames": given["xs"], "lengths": LENGTHS, "transcripts": TRANSCRIPTS}
        return ctc_loss(given["model"], (), batch, None)[0].loss, []

    given = {"model": model, "xs": some(B, T, D)}
    return Scene(run, given, {"xs": BEYOND.T[..., None]})


def several_labels(model: nnx.Module, features: int) -> Scene:
    """A `MultiLabelModel`, or one that is called alike."""
    targets = some(B, T, V, seed=2) > 0

    def run(given: dict) -> Outcome:
        batch = {"inputs": given["xs"], "lengths": LENGTHS, "targets": targets}
        return multilabel_loss(given["model"], (), batch, None)[0].loss, []

    given = {"model": model, "xs": some(B, T, features)}
    return Scene(run, given, {"xs": BEYOND.T[..., None]})


def plain(
    run: Callable[..., Tree], padding: np.ndarray, *real: str, **given: jax.Array
) -> Scene:
    """A function of arrays that have all the same padding, or none."""
    names = set(given) - set(real)
    return Scene(lambda given: (run(**given), []), given, dict.fromkeys(names, padding))


POOLINGS = ("mean", "max", "last")
TRANSCRIPTS = jnp.array([[1, 2, 2], [0, 0, 0], [3, 0, 0], [4, 0, 0]])
NOISE = RegularizerConfig(
    variational=True,
    input_dropout=0.2,
    weight_drop=0.2,
    recurrent_dropout=0.2,
    zoneout_hidden=0.2,
    zoneout_cell=0.1,
)
SCENES: dict[str, Callable[[], Scene]] = {
    "mogrifier": lambda: mogrified(capped=False),
    "mogrifier-capped-rounded": lambda: mogrified(capped=True),
    "mogrifier-native": lambda: mogrified(capped=False, engine="native"),
    "LSTM": lambda: layer(
        made(LSTM, D, H), some_state(3), reverse=True, resets=jnp.asarray(RESETS.T)
    ),
    "Bidirectional": lambda: layer(
        made(Bidirectional, D, H, dtype=jnp.bfloat16), (some_state(3), some_state(4))
    ),
    "StackedLSTM": lambda: layer(
        made(StackedLSTM, D, H, 2, dropout=0.2, regularizer=NOISE),
        (some_state(3), some_state(4)),
        key=jax.random.key(0),
    ),
    "language": lambda: language(made(LanguageModel, V, H, 2), "layers[0].w_x"),
    "mogrifier-model": lambda: language(
        made(LanguageModel, V, H, 2, cell=MogrifierCell(2)), "embedding"
    ),
    "classifier": lambda: classifier(None),
    "classifier-symbols": lambda: classifier(V),
    "translator": translator,
    "transcriber": transcriber,
    "multilabel": lambda: several_labels(made(MultiLabelModel, D, V, H, 2), D),
    "keyboard": lambda: several_labels(made(KeyboardModel, V, V, H, 1, H), V),
    "attend": lambda: plain(
        lambda **given: attend(**given, lengths=LENGTHS),
        BEYOND.T[..., None],
        "queries",
        queries=some(B, 2, D),
        keys=some(B, T, D, seed=2),
        values=some(B, T, H, seed=3),
    ),
    "pool": lambda: plain(
        lambda hs: pool(hs, LENGTHS, LSTMState(hs[0], hs[0]), ("mean", "max")),
        BEYOND.T[..., None],
        hs=some(B, T, H),
    ),
    "cross_entropy": lambda: plain(
        lambda logits: cross_entropy(logits, jnp.where(BEYOND, IGNORED, 2), 0.1),
        BEYOND[..., None],
        logits=some(T, B, V),
    ),
    "transcript_nats": lambda: plain(
        lambda logits: transcript_nats(logits, LENGTHS, TRANSCRIPTS),
        BEYOND.T[..., None],
        logits=some(B, T, V),
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str) -> None:
    check(SCENES[name]())
