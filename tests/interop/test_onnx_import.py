"""Whole networks read back from their ONNX graphs, as runs that `load` opens."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import lstm_jax
from lstm_jax import convert
from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.variant import CoupledCell
from lstm_jax.data.tokenizers.saved import save_tokenizer
from lstm_jax.data.tokenizers.subwords import BPETokenizer
from lstm_jax.errors import InputError
from lstm_jax.interop import onnx_networks
from lstm_jax.interop.formats import convert_file
from lstm_jax.interop.onnx_graph import Graph
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.saved import ModelSpec, SavedModel, save_model
from tests.helpers.graphed_networks import (
    SETTINGS,
    save_subject,
    save_text,
    with_random_weights,
)

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RUNS = {"dense": 3, "ctc": None, "forecaster covariates": 2, "seq2seq gru": None}
SLOW = {"ids": None, "forecaster": None, "forecaster logs": 3, "seq2seq": None}
Model = Constant = Any  # ONNX is optional
Edit = Callable[[Model], object]


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        *RUNS.items(),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW.items()),
    ],
)
def test_a_network_comes_back_whole(
    kind: str, members: int | None, tmp_path: Path
) -> None:
    run = save_subject(kind, tmp_path / "run", members)
    name = "both" if kind.startswith("seq2seq") else "model.onnx"
    convert_file(run, tmp_path / name, "onnx-model")
    lines = convert_file(tmp_path / name, tmp_path / "again")
    assert (", 3 members" in lines[0]) == (members == 3)
    assert "largest error" in lines[-1]
    before, after = lstm_jax.load(run), lstm_jax.load(tmp_path / "again")
    assert isinstance(before, SavedModel) and isinstance(after, SavedModel)
    assert (after.application, after.spec) == ("a test", before.spec)
    assert after.settings == SETTINGS.get(kind, {})
    assert jax.tree.structure(after.model) == jax.tree.structure(before.model)
    for one, other in zip(
        jax.tree.leaves(after.model), jax.tree.leaves(before.model), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    path = folder / "text.onnx"
    convert_file(save_text(folder / "run"), path, "onnx-model")
    return path


def test_a_text_generator_writes_what_it_wrote(graph: Path, tmp_path: Path) -> None:
    """By the command, whose target alone says that a run is meant."""
    convert.main([str(graph), str(tmp_path / "again")])
    before, after = (
        lstm_jax.load(graph.with_name("run")),
        lstm_jax.load(tmp_path / "again"),
    )
    assert isinstance(before, TextModel) and isinstance(after, TextModel)
    assert after.vocab == before.vocab
    greedy = lstm_jax.SamplingConfig(temperature=0.0)
    texts = [lstm_jax.generate_text(one, "abé", 12, greedy) for one in (before, after)]
    assert texts[0] == texts[1]
    one, other = (lstm_jax.evaluate_text(each, "abc dé") for each in (before, after))
    assert one == other
    with pytest.raises(InputError, match=r"--to: expected .* for layers\.npz, found"):
        convert_file(graph, tmp_path / "layers.npz")
    layers = convert_file(graph, tmp_path / "layers.npz", "torch")
    assert "LSTM, 1 layer" in layers[0]


def test_a_graph_computes_in_float32(tmp_path: Path) -> None:
    """And so does the run that is made of it."""
    run = save_text(tmp_path / "run", "bfloat16")
    lines = convert_file(run, tmp_path / "m.onnx", "onnx-model")
    assert re.search(r"largest error \d\.\de-0[67]", lines[-1])
    convert_file(tmp_path / "m.onnx", tmp_path / "again")
    again = lstm_jax.load(tmp_path / "again")
    assert isinstance(again, TextModel) and again.config.model.precision == "float32"


@pytest.mark.parametrize("kind", ["clip", "gru"])
def test_cells_with_settings_of_their_own_come_back(kind: str, tmp_path: Path) -> None:
    """And the layers of such a run are read with them, too."""
    cell = {
        "clip": CoupledCell(
            clip=0.75, gate_activation="hard_sigmoid", output_activation="softsign"
        ),
        "gru": GRUCell(reset_after=False),
    }[kind]
    sizes = {"features": 4, "symbols": 7, "hidden": 5, "layers": 1, "cell": cell}
    spec = ModelSpec("ctc", sizes)
    shapes = jax.eval_shape(spec.build, jax.random.key(0))
    model = with_random_weights(shapes)
    save_model(tmp_path / "run", "a test", spec, model)
    convert_file(tmp_path / "run", tmp_path / "m.onnx", "onnx-model")
    convert_file(tmp_path / "m.onnx", tmp_path / "again")
    again = lstm_jax.load(tmp_path / "again")
    assert isinstance(again, SavedModel) and again.spec == spec
    for one, other in zip(
        jax.tree.leaves(again.model), jax.tree.leaves(model), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    lines = convert_file(tmp_path / "again", tmp_path / "layers.onnx")
    assert ("clipped" if kind == "clip" else "reset before") in lines[0]


def test_metadata_have_no_paths(graph: Path) -> None:
    """Nor anything else of how the network was trained."""
    (entry,) = onnx.load(graph).metadata_props
    record = json.loads(entry.value)
    assert set(record["config"]) == {"model", "regularizer", "text"}
    assert set(record["config"]["text"]) == {
        "vocab",
        "vocab_size",
        "validation_fraction",
    }
    assert "/" not in entry.value and list(record["files"]) == ["vocab.json"]


def edited(source: Path, target: Path, edit: Edit) -> Path:
    """A graph after a change."""
    model = onnx.load(source)
    edit(model)
    target.write_bytes(model.SerializeToString())
    return target


def initializer(model: Model, name: str) -> Constant:
    return next(each for each in model.graph.initializer if each.name == name)


def scaled(name: str) -> Edit:
    """Make a constant half as large."""

    def edit(model: Model) -> None:
        constant = initializer(model, name)
        array = onnx.numpy_helper.to_array(constant)
        constant.CopyFrom(onnx.numpy_helper.from_array(0.5 * array, name))

    return edit


@pytest.mark.parametrize(
    ("name", "leaf"),
    [("W_0", "w_x"), ("R_0", "w_h"), ("B_0", "b"), ("w_out", None), ("b_out", None)],
)
def test_weights_are_those_of_the_graph(
    name: str, leaf: str | None, graph: Path, tmp_path: Path
) -> None:
    """The proof runs the changed graph beside what was read of it."""
    path = edited(graph, tmp_path / "m.onnx", scaled(name))
    convert_file(path, tmp_path / "again")
    before, after = (
        lstm_jax.load(graph.with_name("run")),
        lstm_jax.load(tmp_path / "again"),
    )
    assert isinstance(before, TextModel) and isinstance(after, TextModel)
    where = (lambda m: m.layers[0]) if leaf else (lambda m: m)
    one, other = (getattr(where(m.model), leaf or name)[...] for m in (before, after))
    np.testing.assert_array_equal(other, 0.5 * one)


def test_a_second_bias_counts(graph: Path, tmp_path: Path) -> None:
    """Ours has one; the graph of another hand may use both."""

    def edit(model: Model) -> None:
        constant = initializer(model, "B_0")
        array = onnx.numpy_helper.to_array(constant).copy()
        array[:, 20:] += 0.25
        constant.CopyFrom(onnx.numpy_helper.from_array(array, "B_0"))

    path = edited(graph, tmp_path / "m.onnx", edit)
    convert_file(path, tmp_path / "again")
    before, after = (
        lstm_jax.load(graph.with_name("run")),
        lstm_jax.load(tmp_path / "again"),
    )
    assert isinstance(before, TextModel) and isinstance(after, TextModel)
    b, b_before = (m.model.layers[0].b[...] for m in (after, before))
    np.testing.assert_allclose(b, b_before + 0.25, atol=1e-6)


def described(change: Callable[[dict], object]) -> Edit:
    """Change the metadata."""

    def edit(model: Model) -> None:
        (entry,) = model.metadata_props
        record = json.loads(entry.value)
        change(record)
        entry.value = json.dumps(record)

    return edit


def last_node(model: Model, kind: str) -> Constant:
    return [node for node in model.graph.node if node.op_type == kind][-1]


def add_relu(model: Model) -> None:
    node = last_node(model, "Identity")
    node.op_type = "Relu"


def turned_otherwise(model: Model) -> None:
    del last_node(model, "Transpose").attribute[0].ints[:]
    last_node(model, "Transpose").attribute[0].ints.extend([1, 0, 2])
    node = model.graph.node[0]
    node.attribute[0].ints[:] = [0, 1]


def other_constant(model: Model) -> None:
    constant = next(
        c for c in model.graph.initializer if c.data_type == 7 and len(c.dims)
    )
    array = onnx.numpy_helper.to_array(constant)
    constant.CopyFrom(onnx.numpy_helper.from_array(array * 0, constant.name))


def backwards(model: Model) -> None:
    node = last_node(model, "LSTM")
    (way,) = [a for a in node.attribute if a.name == "direction"]
    way.s = b"reverse"


def clipped(model: Model) -> None:
    last_node(model, "LSTM").attribute.append(onnx.helper.make_attribute("clip", 0.1))


def other_domain(model: Model) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))


CONTRADICTIONS: dict[str, tuple[Edit, str]] = {
    "hidden": (
        described(lambda r: r["config"]["model"].update(hidden=4)),
        r"expected .*found",
    ),
    "larger": (
        described(lambda r: r["config"]["model"].update(hidden=1 << 20)),
        "4,398,087,405,575 numbers of the network in the .*found 328",
    ),
    "layers": (described(lambda r: r["config"]["model"].update(layers=2)), "metadata"),
    "cell": (
        described(lambda r: r["config"]["model"].update(cell="gru")),
        r"node \w+: expected GRU\(.*found LSTM\(",
    ),
    "top": (
        described(lambda r: r["config"]["model"].update(cell="mogrifier")),
        "numbers",
    ),
    "symbols": (
        described(lambda r: r["files"]["vocab.json"].update(characters=" ab")),
        r"expected .*found",
    ),
    "relu": (add_relu, r"node logits: expected Identity\(.*found Relu\("),
    "turned": (turned_otherwise, r"node \w+: expected Transpose\("),
    "constant": (other_constant, r"constant \w+: expected int64 .*found int64"),
    "backwards": (backwards, "direction b'forward'.*found"),
    "clip": (clipped, "expected LSTM.*found LSTM.*clip"),
    "domain": (other_domain, "operators: expected 17, found 17, com.microsoft1"),
    "none": (lambda m: m.metadata_props.pop(), "found a graph by lstm_jax without the"),
    "text": (
        lambda m: setattr(m.metadata_props[0], "value", "{"),
        "expected JSON, found",
    ),
    "format": (described(lambda r: r.update(format=2)), "expected format 1, found"),
    "file": (
        described(lambda r: r["files"].update({"../evil.json": {}})),
        "expected settings and tokenizers, found",
    ),
    "config": (described(lambda r: r.update(config=[1])), "expected settings and tok"),
    "part": (described(lambda r: r.update(part="encoder")), "found the encoder alone"),
    "vocabulary": (
        described(lambda r: r["files"].clear()),
        r"m\.onnx: expected a vocabulary at metadata: vocab\.json, found no file",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_is_not_that_graph_is_refused(
    case: str, graph: Path, tmp_path: Path
) -> None:
    edit, message = CONTRADICTIONS[case]
    path = edited(graph, tmp_path / "m.onnx", edit)
    with pytest.raises(InputError, match=message) as caught:
        convert_file(path, tmp_path / "again")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log": True}, r"node \w+: expected Log\("),
        (
            {"covariates": {"means": [3.0, -2.0], "spreads": [2.0, 0.5]}},
            r"constant \w+: expected float64 \[2\] of \[3.0, -2.0\], found .* -1.0\]",
        ),
    ],
)
def test_settings_of_a_forecaster_are_held_to_its_graph(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Its scaling is in the graph, and has to be that of the metadata."""
    run = save_subject("forecaster covariates", tmp_path / "run", 1)
    convert_file(run, tmp_path / "m.onnx", "onnx-model")
    settings = described(lambda r: r["config"]["settings"].update(change))
    path = edited(tmp_path / "m.onnx", tmp_path / "other.onnx", settings)
    with pytest.raises(InputError, match=message):
        convert_file(path, tmp_path / "again")


def test_without_the_runtime_it_is_said(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lstm_jax.interop.onnx_models.find_spec", lambda name: None)
    lines = convert_file(graph, tmp_path / "again")
    assert "not run: there is no onnxruntime here" in lines[-1]


def test_a_graph_that_computes_something_else_is_refused(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way out and on the way in; nothing is left."""
    run = graph.with_name("run")
    average = onnx_networks._average

    def wrong(logits: list, subject: onnx_networks.Subject) -> np.ndarray:
        return average(logits, subject) + 0.01

    monkeypatch.setattr(onnx_networks, "_average", wrong)
    for source, to in ((run, "onnx-model"), (graph, "run")):
        with pytest.raises(InputError, match=r"up to 0\.001, found an error of"):
            convert_file(source, tmp_path / "out", to)
    assert not [*tmp_path.iterdir()]


def test_graphs_of_others_are_refused_by_name(tmp_path: Path) -> None:
    """Their layers are still read."""
    graph = Graph("theirs")
    graph.add("Relu", graph.input("x", ["B"]), out="y")
    graph.output("y", ["B"])
    model = graph.model()
    model.producer_name = "pytorch"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="found a graph by pytorch without the metad"):
        convert_file(tmp_path / "m.onnx", tmp_path / "run")
    with pytest.raises(InputError, match="expected LSTM or GRU layers, found Relu"):
        convert_file(tmp_path / "m.onnx", tmp_path / "a.safetensors")


def test_where_there_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    (tmp_path / "folder").mkdir()
    for source, to, message in (
        ("m.onnx", "", r"m.onnx: expected an ONNX graph, found"),
        ("none.onnx", "", "none.onnx: expected an ONNX graph, found no file"),
        ("folder", "run", r"folder: expected an \.onnx file, or a folder with encoder"),
        ("m.pt", "run", "found something else"),
    ):
        with pytest.raises(InputError, match=message):
            convert_file(tmp_path / source, tmp_path / "again", to)
    with pytest.raises(InputError, match="expected a file to be written, found one"):
        convert_file(tmp_path / "m.onnx", tmp_path / "folder")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator's graphs, with its tables."""
    folder = tmp_path_factory.mktemp("translator")
    run = save_subject("seq2seq gru", folder / "run")
    for name, size in (("source", 7), ("target", 40)):
        symbols = tuple(chr(ord("a") + k) for k in range(size - 3))
        save_tokenizer(BPETokenizer(symbols), run / f"{name}.json")
    convert_file(run, folder / "both", "onnx-model")
    return folder / "both"


def test_tokenizers_travel_with_the_graphs(both: Path, tmp_path: Path) -> None:
    convert_file(both, tmp_path / "again")
    for name in ("source.json", "target.json"):
        there = both.with_name("run") / name
        assert (tmp_path / "again" / name).read_bytes() == there.read_bytes()


def test_layers_of_a_whole_graph_are_still_read(both: Path, tmp_path: Path) -> None:
    """The decoder's two do not lie on top of each other: attention is between."""
    decoder = both / "decoder.onnx"
    with pytest.raises(InputError, match="found 'lower_layer_0', 'upper_layer_0'"):
        convert_file(decoder, tmp_path / "a.npz", "torch")
    lines = convert_file(decoder, tmp_path / "a.npz", "torch", name="upper_layer_0")
    assert "GRU, 1 layer, one direction, 12 inputs, 6 units" in lines[0]


def test_parts_belong_together(both: Path, tmp_path: Path) -> None:
    encoder, decoder = (both / f"{part}.onnx" for part in ("encoder", "decoder"))
    with pytest.raises(InputError, match="found the encoder alone"):
        convert_file(encoder, tmp_path / "again")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(encoder, alone)
    with pytest.raises(InputError, match=r"decoder\.onnx: expected an ONNX .*no file"):
        convert_file(alone, tmp_path / "again")
    shutil.copy(encoder, alone / "decoder.onnx")
    with pytest.raises(InputError, match="expected the decoder, found 'encoder'"):
        convert_file(alone, tmp_path / "again")
    change = described(lambda r: r["config"]["settings"].update(lower_case=True))
    edited(decoder, alone / "decoder.onnx", change)
    with pytest.raises(InputError, match="same metadata in encoder and decoder"):
        convert_file(alone, tmp_path / "again")
    for part in ("encoder", "decoder"):
        small = described(lambda r: r["files"]["source.json"]["symbols"].extend("?!+"))
        edited(both / f"{part}.onnx", alone / f"{part}.onnx", small)
    with pytest.raises(InputError, match=r"source\.json: expected at most 7 symbols"):
        convert_file(alone, tmp_path / "again")
    assert [*tmp_path.iterdir()] == [alone]


def test_damaged_metadata_is_one_line(graph: Path, both: Path, tmp_path: Path) -> None:
    """Whatever stands in the place of any of its values."""
    wrong = [None, -1, 0, 1 << 40, 1.5, "x", "", [], ["a"], {}, {"a": 1}, True, 1e999]
    folder = tmp_path / "both"
    shutil.copytree(both, folder)
    for seed in range(30):

        def change(record: dict, seed: int = seed) -> None:
            chosen = random.Random(seed)
            place: Any = record
            while True:
                key = chosen.choice(
                    [*place] if isinstance(place, dict) else range(len(place))
                )
                inner = place[key]
                if (
                    not isinstance(inner, dict | list)
                    or not inner
                    or chosen.random() < 0.2
                ):
                    break
                place = inner
            place[key] = chosen.choice(wrong)

        if seed % 2:
            source = edited(graph, tmp_path / "m.onnx", described(change))
        else:
            source = folder
            for part in ("encoder", "decoder"):
                path = both / f"{part}.onnx"
                edited(path, folder / f"{part}.onnx", described(change))
        try:
            convert_file(source, tmp_path / "again")
        except InputError as error:
            assert "\n" not in str(error)
            assert not (tmp_path / "again").exists()
        else:
            shutil.rmtree(tmp_path / "again")
