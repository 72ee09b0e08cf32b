"""Every network with another cell than the textbook's: it learns, and is kept."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.cells.conv_lstm import ConvLSTMCell
from lstm_jax.cells.decay import DecayCell
from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.named import CELLS, cell_record, read_cell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell
from lstm_jax.config import RegularizerConfig
from lstm_jax.data.series import WindowSpec
from lstm_jax.models.classifier import classifier_loss
from lstm_jax.models.ctc import ctc_loss
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.models.multilabel import multilabel_loss
from lstm_jax.models.saved import (
    ModelSpec,
    load_model,
    read_spec,
    save_model,
    write_spec,
)
from lstm_jax.models.seq2seq import Seq2Seq, seq2seq_loss
from lstm_jax.nn.layers import LSTM, StackedLSTM
from lstm_jax.report.inspection import find, gradient_by_lag, layers_of
from tests.helpers.reference_lstm import assert_close

V, H, T, B = 6, 4, 5, 3
RNG = np.random.default_rng(0)
IDS = jnp.asarray(RNG.integers(1, V, size=(B, T)), jnp.int32)
LENGTHS = jnp.array([T, 2, T - 1])
each_cell = pytest.mark.parametrize("cell", [name for name in CELLS if name != "lstm"])


class Network(NamedTuple):
    """A network of the library, its loss, and a batch for both."""

    arguments: dict[str, Any]
    loss: Callable
    batch: dict[str, Any]


NETWORKS = {
    "language": Network(
        {"vocab_size": V, "hidden_size": H, "num_layers": 2},
        language_loss,
        {"inputs": IDS, "targets": IDS, "resets": jnp.zeros(B, bool)},
    ),
    "classifier": Network(
        {
            "features": 3,
            "hidden_size": H,
            "num_layers": 1,
            "classes": 2,
            "vocab_size": V,
        },
        classifier_loss,
        {"inputs": IDS, "lengths": LENGTHS, "targets": jnp.array([0, 1, 1])},
    ),
    "seq2seq": Network(
        {"source_size": V, "target_size": V, "embedding": 3, "hidden": H, "layers": 1},
        seq2seq_loss,
        {"sources": IDS, "lengths": LENGTHS, "inputs": IDS, "targets": IDS},
    ),
    "ctc": Network(
        {"features": 2, "symbols": V, "hidden": H, "layers": 1},
        ctc_loss,
        {
            "frames": jnp.asarray(RNG.normal(size=(B, T, 2)), jnp.float32),
            "lengths": LENGTHS,
            "transcripts": IDS[:, :1],
        },
    ),
    "keyboard": Network(
        {
            **{"features": 14, "labels": 13, "hidden_size": H, "num_layers": 1},
            **{"key_size": H, "reach": (2,), "span": (1, 12)},
        },
        multilabel_loss,
        {
            "inputs": jnp.asarray(RNG.integers(2, size=(B, T, 14)), jnp.float32),
            "targets": jnp.asarray(RNG.integers(2, size=(B, T, 13)), jnp.float32),
            "lengths": LENGTHS,
        },
    ),
    "multilabel": Network(
        {"features": 3, "labels": 2, "hidden_size": H, "num_layers": 2},
        multilabel_loss,
        {
            "inputs": jnp.asarray(RNG.normal(size=(B, T, 3)), jnp.float32),
            "targets": jnp.asarray(RNG.integers(2, size=(B, T, 2)), jnp.float32),
            "lengths": LENGTHS,
        },
    ),
}


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        *(("language", "gru"), ("language", "mogrifier"), ("classifier", "gru")),
        *(("seq2seq", "peephole"), ("ctc", "mogrifier")),
        *(("multilabel", "gru"), ("keyboard", "lstm")),
    ],
)
def test_every_parameter_learns_and_is_kept(
    name: str, cell: str, tmp_path: Path
) -> None:
    network = NETWORKS[name]
    spec = ModelSpec(name, network.arguments | {"cell": cell})
    model = jax.jit(spec.build)(jax.random.key(0))
    carry = model.initial_state(B) if isinstance(model, LanguageModel) else ()

    @jax.jit
    def gradient(model: nnx.Module) -> tuple:
        def loss(model: nnx.Module) -> jax.Array:
            return network.loss(model, carry, network.batch, jax.random.key(1))[0].loss

        return jax.value_and_grad(loss)(model)

    value, slope = gradient(model)
    assert bool(jnp.isfinite(value))
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slope)
        if not jnp.any(leaf != 0)
    ]
    assert not still
    save_model(tmp_path, name, spec, model)
    again = load_model(tmp_path).model
    assert_close(gradient(again)[0], value, 0)


@dataclasses.dataclass(frozen=True)
class OwnCell(VariantCell):
    """A cell that only its author has."""


CONFIGURED = {
    "bounds": VariantCell(clip=3.0, cell_clip=0.5),
    "projection": VariantCell(proj_size=2, peepholes=True),
    "activations": VariantCell(
        gate_activation="hard_sigmoid", output_activation="linear"
    ),
    "coupled": CoupledCell(proj_size=2),
    "rounds": MogrifierCell(rounds=2, capped=True),
    "reset": GRUCell(reset_after=False),
}


@pytest.mark.parametrize("name", ["language", "classifier", "ctc", "multilabel"])
@pytest.mark.parametrize("kind", CONFIGURED)
def test_a_cell_with_settings_is_kept(name: str, kind: str, tmp_path: Path) -> None:
    cell = CONFIGURED[kind]
    spec = ModelSpec(name, NETWORKS[name].arguments | {"cell": cell})
    write_spec(tmp_path, "a test", spec)
    record = json.loads((tmp_path / "config.json").read_bytes())["model"]
    assert record["arguments"]["cell"]["name"] == cell.name
    assert read_spec(record) == spec


def test_a_network_of_a_cell_with_settings_is_kept(tmp_path: Path) -> None:
    cell = VariantCell(clip=0.3, proj_size=2, candidate_activation="softsign")
    spec = ModelSpec("language", NETWORKS["language"].arguments | {"cell": cell})
    model = jax.jit(spec.build)(jax.random.key(0))
    save_model(tmp_path, "a test", spec, model)
    found = load_model(tmp_path)
    assert found.spec == spec and found.model.cell == cell
    assert_close(jax.jit(found.model)(IDS)[0], jax.jit(model)(IDS)[0], 0)


def test_cells_are_written_by_name_where_that_says_all() -> None:
    """So that files of former versions and ours are the same."""
    for name, cell in CELLS.items():
        assert cell_record(cell) == cell_record(name) == name
        assert read_cell(name) == name
    cell = VariantCell()
    assert read_cell(cell_record(cell)) == cell
    assert read_cell({"name": "variant", "clip": 3}) == VariantCell(clip=3.0)
    for each in (ConvLSTMCell(4, 5, kernel=1), DecayCell(2)):
        assert read_cell(json.loads(json.dumps(cell_record(each)))) == each


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (VariantCell(gate_activation=jnp.sin), "expected gate_activation by its name"),
        (OwnCell(), "cell: expected one of lstm, .*, found a OwnCell"),
    ],
)
def test_cells_that_no_file_can_bring_back(cell: Cell, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cell_record(cell)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "os.system"}, "expected one of lstm"),
        (["lstm"], "expected one of lstm"),
        ({"clip": 1.0}, "expected one of lstm"),
        ({"name": ["lstm"]}, "expected one of lstm"),
        ({"name": "variant", "clip": -1.0}, "clip: expected 0 or more"),
        ({"name": "variant", "clip": float("nan")}, "clip: expected 0 or more"),
        ({"name": "variant", "clip": "3"}, "clip: expected float, found '3'"),
        ({"name": "variant", "peepholes": 1}, "peepholes: expected bool, found 1"),
        ({"name": "variant", "gate_activation": "eval"}, "expected one of sigmoid"),
        ({"name": "variant", "name_": "x"}, "name_: expected no such setting"),
        ({"name": "variant", "proj_size": 10**12}, "proj_size: expected at most"),
        ({"name": "mogrifier", "rounds": 10**6}, "rounds: expected at most 1,000"),
        ({"name": "conv_lstm", "height": 3}, "missing"),
        ({"name": "gru", "reset_after": None}, "reset_after: expected bool"),
    ],
)
def test_records_that_are_no_cell(record: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_cell(record)


def test_a_forecaster_hands_on_whatever_state_there_is() -> None:
    window = WindowSpec(horizon=3, seasons=(2,), reads=4)
    sizes = {"window": window, "hidden_size": H, "cell": "gru"}
    model = ModelSpec("forecaster", sizes).build(jax.random.key(0))
    model.w_out[...] = jnp.ones_like(model.w_out)
    past = jnp.asarray(RNG.normal(size=(B, 9)), jnp.float32)
    slope = jax.jit(jax.grad(lambda model: model(past).sum()))(model)
    assert bool(jnp.any(slope.reader.layers[0].b_hn[...] != 0))


@each_cell
def test_reading_is_step_by_step(cell: str) -> None:
    """Also with a share of the state held."""
    rates = RegularizerConfig(zoneout_hidden=0.2)
    model = LanguageModel(V, H, 2, rngs=nnx.Rngs(0), cell=cell, regularizer=rates)
    hs, states = jax.jit(LanguageModel.read)(model, IDS)
    walked, step = model.initial_state(B), jax.jit(LanguageModel.step)
    for ids in IDS.T:
        walked = step(model, ids, walked)
    assert_close(walked, states, 1e-5)
    assert_close(hs[:, -1, H:], walked[-1].h, 1e-5)


@pytest.mark.parametrize("cell", ["gru", "peephole"])
def test_what_is_inspected_is_of_the_cell(cell: str) -> None:
    model = LanguageModel(V, H, 2, rngs=nnx.Rngs(0), cell=cell)
    layers, ids = layers_of(model, IDS.T[:-1]), IDS.T
    hs, _ = model.read_over_time(ids[:-1])
    assert_close(jnp.concatenate([layer.h for layer in layers], -1), hs, 1e-5)
    found = find(layers, gradient_by_lag(model, ids))
    gates = ("r", "z") if cell == "gru" else ("i", "f", "o")
    assert all(tuple(layer.closed) == gates for layer in found.layers)
    assert found.norms.shape == (T - 1,) and bool(np.all(found.norms > 0)) == (
        cell == "gru"
    )


def test_a_decoder_goes_on_from_where_it_was() -> None:
    """Symbol after symbol it says what it says of all at once."""
    spec = ModelSpec("seq2seq", NETWORKS["seq2seq"].arguments | {"cell": "gru"})
    model, decode = jax.jit(spec.build)(jax.random.key(0)), jax.jit(Seq2Seq.decode)
    memory, states = jax.jit(Seq2Seq.encode)(model, IDS, LENGTHS)
    whole, _, last = decode(model, IDS, states, memory)
    for t in range(T):
        logits, _, states = decode(model, IDS[:, t : t + 1], states, memory)
        assert_close(logits[:, 0], whole[:, t], 1e-5)
    assert_close(states, last, 1e-5)


def test_layers_hold_the_parameters_of_their_cell() -> None:
    layer = LSTM(3, H, rngs=nnx.Rngs(0), cell="mogrifier")
    names = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(layer)
    }
    assert {"w_x/value", "w_h/value", "b/value", "rounds/4/value"} <= names
    assert layer.params.rounds[0].shape == (H, 3)
    stack = StackedLSTM(3, H, 2, rngs=nnx.Rngs(0), cell=GRUCell(), bidirectional=True)
    (leaves,) = {len(jax.tree.leaves(layer)) for layer in stack.layers}
    assert leaves == 2 * len(("w_x", "w_h", "b", "b_hn"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"cell": "grue"},
            "^cell: expected one of lstm, gru, peephole, mogrifier, coupled, found",
        ),
        ({"cell": "gru", "engine": "fused"}, "no loop for the cell gru; .* can: scan$"),
        (
            {"cell": "gru", "regularizer": RegularizerConfig(zoneout_cell=0.1)},
            "^zoneout_cell: expected none for the cell gru",
        ),
    ],
)
def test_what_no_layer_can_be(arguments: dict, message: str) -> None:
    build = functools.partial(LSTM, 3, H, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        build(**arguments)
