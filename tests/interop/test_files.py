"""`convert`: files in and out, with proof, and every complaint in one line."""

import io
import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import convert
from lstm_jax.errors import InputError
from lstm_jax.interop import files, formats
from lstm_jax.interop.formats import SYSTEMS, convert_file, find_layers
from lstm_jax.interop.ours import to_layer, to_weights
from lstm_jax.interop.system import Outcome, draw, largest_error, unrolled
from lstm_jax.interop.weights import Arrays, Weights
from tests.helpers.random_layers import LAYERS

ERROR = r"largest error \d\.\de-0[678] between "


@pytest.fixture(autouse=True)
def equations_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is asked: `test_systems` does, and compiling them takes seconds."""
    monkeypatch.setattr(
        "lstm_jax.interop.system.System.installed", property(lambda system: False)
    )


def torch_arrays(weights: Weights) -> Arrays:
    """A state dict as arrays, with a prefix and a neighbour."""
    system = SYSTEMS["torch"]
    arrays = system.assemble(system.write(weights))
    named = {f"rnn.{name}": array for name, array in arrays.items()}
    return named | {"head.weight": np.ones((2, 4), np.float32)}


def written(path: Path, weights: Weights | None = None) -> Path:
    """A PyTorch state dict in a .safetensors file."""
    arrays = torch_arrays(LAYERS["both biases"] if weights is None else weights)
    files.write_safetensors(path, arrays)
    return path


def same(one: Weights, other: Weights, tolerance: float = 0.0) -> bool:
    """Whether two say the same: to the bit, or in what they compute."""
    system, feed = SYSTEMS["onnx"], draw(one)

    def made(weights: Weights) -> Outcome:
        stack = weights.map(lambda each: system.outward(weights.style, each))
        return unrolled(system.step, stack, feed)

    return largest_error(made(one), made(other)) <= tolerance


@pytest.mark.parametrize(
    ("to", "ending"),
    [
        ("lstm_jax", ".safetensors"),
        ("torch", ".safetensors"),
        ("linen", ".npz"),
        ("linen", ".msgpack"),
        ("nnx", ".msgpack"),
        ("haiku", ".npz"),
        ("equinox", ".eqx"),
        ("torch", ".pt"),
        ("keras", ".keras"),
        ("keras", ".weights.h5"),
        ("onnx", ".onnx"),
    ],
)
def test_there_and_back(to: str, ending: str, tmp_path: Path) -> None:
    needs = {".pt": "torch", ".keras": "h5py", ".weights.h5": "h5py", ".onnx": "onnx"}
    if ending in needs:
        pytest.importorskip(needs[ending])
    source, target = written(tmp_path / "a.safetensors"), tmp_path / f"b{ending}"
    lines = convert_file(source, target, to)
    assert (
        lines[0] == "PyTorch: LSTM, 2 layers, one direction, 5 inputs, 4 units, float32"
    )
    assert lines[1] == "left out: head.weight"
    found = find_layers(target)
    assert found.system is SYSTEMS[to]
    back = tmp_path / "c.npz"
    convert_file(target, back, "torch")
    assert same(LAYERS["both biases"], find_layers(back).weights(), 1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a.safetensors", target.name, "c.npz"]
    )


def test_both_biases_are_kept_on_request(tmp_path: Path) -> None:
    source = written(tmp_path / "a.safetensors")
    convert_file(source, tmp_path / "b.safetensors", keep_biases=True)
    convert_file(tmp_path / "b.safetensors", tmp_path / "c.npz", "torch")
    before, after = (
        torch_arrays(LAYERS["both biases"]),
        files.read_npz(tmp_path / "c.npz"),
    )
    del before["head.weight"]
    assert len(after) == len(before) == 8
    for name, array in before.items():
        np.testing.assert_array_equal(after[name.removeprefix("rnn.")], array)
    convert_file(source, tmp_path / "d.safetensors")
    assert "layers/0/b" in files.read_safetensors(tmp_path / "d.safetensors")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_the_type_of_the_numbers_is_kept(dtype: str, tmp_path: Path) -> None:
    arrays = {
        n: a.astype(jnp.dtype(dtype)) for n, a in torch_arrays(LAYERS["lstm"]).items()
    }
    files.write_safetensors(tmp_path / "a.safetensors", arrays)
    convert_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    found = files.read_safetensors(tmp_path / "b.safetensors")
    assert {array.dtype.name for array in found.values()} == {dtype}


@pytest.mark.parametrize("name", ["two directions", "widths", "peepholes", "gru"])
def test_our_layers_are_built_and_read_again(name: str) -> None:
    assert same(LAYERS[name], to_weights(to_layer(LAYERS[name])))


def test_a_layer_from_a_state_dict_computes_what_it_should() -> None:
    weights = LAYERS["two directions"]
    torch = pytest.importorskip("torch")
    state = {n: torch.tensor(np.array(a)) for n, a in torch_arrays(weights).items()}
    layer = lstm_jax.interop.from_torch(state)
    assert isinstance(layer, lstm_jax.StackedLSTM)
    module = torch.nn.LSTM(5, 4, 2, bidirectional=True, batch_first=True)
    module.load_state_dict(lstm_jax.interop.to_torch(layer))
    xs = draw(weights).xs
    expected = module(torch.tensor(xs))[0].detach().numpy()
    np.testing.assert_allclose(layer(jnp.asarray(xs))[0], expected, atol=1e-6)


def test_float64_needs_x64() -> None:
    weights = LAYERS["lstm"].map(
        lambda one: type(one)(one.w_x.astype(float), one.w_h.astype(float))
    )
    with pytest.raises(InputError, match="expected float32 or less, found float64"):
        to_layer(weights)
    with jax.enable_x64(True):
        assert jax.tree.leaves(to_layer(weights))[0].dtype == jnp.float64


def test_the_command_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = written(tmp_path / "a.safetensors")
    convert.main([str(source), str(tmp_path / "b.safetensors")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"lstm_jax: {tmp_path / 'b.safetensors'}"
    assert re.match(ERROR, lines[3])
    listed = " ".join((convert.__doc__ or "").split())
    assert all(name in listed for name in formats.FORMATS)


def test_a_wrong_conversion_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swapped gates: nothing is written."""
    right = SYSTEMS["linen"].outward

    def wrong(style: Any, one: Any) -> Arrays:  # noqa: ANN401
        arrays = right(style, one)
        arrays["if/kernel"], arrays["ig/kernel"] = (
            arrays["ig/kernel"],
            arrays["if/kernel"],
        )
        return arrays

    source = written(tmp_path / "a.safetensors")
    object.__setattr__(SYSTEMS["linen"], "outward", wrong)
    try:
        with pytest.raises(InputError, match="to compute the same up to 1e-04, found"):
            convert_file(source, tmp_path / "b.npz", "linen")
    finally:
        object.__setattr__(SYSTEMS["linen"], "outward", right)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = written(tmp_path / "a.safetensors")
    before = source.read_bytes()
    with pytest.raises(InputError, match="expected a file to be written, found one"):
        convert_file(source, source, "torch")
    (tmp_path / "link.npz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found one there"):
        convert_file(source, tmp_path / "link.npz", "torch")
    with pytest.raises(InputError, match="expected a folder to write in"):
        convert_file(source, tmp_path / "no" / "b.npz", "torch")
    assert source.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def changed(**arrays: np.ndarray | None) -> Callable[[Path], None]:
    """A writer of a state dict with some arrays replaced, or missing."""

    def write(path: Path) -> None:
        given = torch_arrays(LAYERS["lstm"])
        given |= {f"rnn.{n}": a for n, a in arrays.items() if a is not None}
        kept = {
            n: a
            for n, a in given.items()
            if arrays.get(n.removeprefix("rnn."), n) is not None
        }
        files.write_safetensors(path, kept)

    return write


def numbers(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5, np.float32)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (changed(weight_ih_l0=numbers(16)), "expected"),
        (changed(weight_ih_l0=numbers(12, 5)), "expected w_x of shape"),
        (changed(weight_ih_l1=numbers(16, 3)), "layer 1: expected 4 inputs"),
        (changed(weight_hh_l0=numbers(8, 4)), "weight_hh: expected 16 rows, an LSTM"),
        (changed(weight_hh_l0=numbers(0, 4)), "weight_hh: expected a matrix"),
        (changed(bias_ih_l0=numbers(15)), "expected b of shape"),
        (changed(bias_ih_l0=numbers(16).astype("float16")), "expected one type"),
        (changed(bias_ih_l0=numbers(16) * np.nan), "expected finite numbers"),
        (changed(weight_ih_l0=None), "expected the arrays of PyTorch"),
        (
            lambda path: files.write_safetensors(path, {"a": numbers(3)}),
            "expected LSTM or GRU layers, found a",
        ),
        (lambda path: path.write_bytes(b""), "expected weights in a .safetensors"),
        (lambda path: path.write_bytes(b"\x80\x04K\x01." * 9), "expected weights in a"),
        (lambda path: None, "found no file"),
        (lambda path: path.mkdir(), "expected"),
    ],
)
def test_what_is_wrong_with_weights_is_said_in_one_line(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    source, target = tmp_path / "a.safetensors", tmp_path / "b.npz"
    write(source)
    with pytest.raises(InputError, match=message) as caught:
        convert_file(source, target, "haiku")
    assert "\n" not in str(caught.value) and not target.exists()


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".msgpack", ".eqx"])
def test_a_file_cut_anywhere_is_refused(ending: str, tmp_path: Path) -> None:
    to = {".safetensors": "lstm_jax", ".npz": "haiku", ".msgpack": "nnx"}
    whole = tmp_path / f"whole{ending}"
    convert_file(written(tmp_path / "a.safetensors"), whole, to.get(ending, "equinox"))
    raw = whole.read_bytes()
    for size in np.linspace(0, len(raw) - 1, 12).astype(int):
        cut = tmp_path / f"cut{ending}"
        cut.write_bytes(raw[:size])
        with pytest.raises(InputError, match=r"cut\."):
            convert_file(cut, tmp_path / "out.npz", "torch")


def test_several_stacks_have_to_be_named(tmp_path: Path) -> None:
    arrays = torch_arrays(LAYERS["lstm"])
    two = {name.replace("rnn", "decoder"): array for name, array in arrays.items()}
    path, out = tmp_path / "a.safetensors", tmp_path / "b.npz"
    files.write_safetensors(path, {**arrays, **two})
    with pytest.raises(
        InputError, match=r"one stack of layers, found 'decoder', 'rnn'"
    ):
        convert_file(path, out, "haiku")
    with pytest.raises(InputError, match=r"expected the layers 'x', found 'decoder'"):
        convert_file(path, out, "haiku", name="x")
    lines = convert_file(path, out, "haiku", name="decoder")
    assert lines[1].startswith("left out: rnn.weight_ih_l0")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, allow_pickle=True, x=np.array([{}], object))
    with pytest.raises(InputError, match=r"a\.npz: expected weights"):
        convert_file(path, tmp_path / "b.npz", "haiku")
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.LSTM(3, 4), tmp_path / "code.pt")
    with pytest.raises(InputError, match="found objects whose loading executes code"):
        convert_file(tmp_path / "code.pt", tmp_path / "b.npz", "haiku")
    torch.save(
        {"epoch": 3, "model": torch.nn.LSTM(3, 4).state_dict()}, tmp_path / "c.pt"
    )
    assert (
        "3 inputs, 4 units"
        in convert_file(tmp_path / "c.pt", tmp_path / "b.npz", "haiku")[0]
    )


def test_linen_cells_whose_names_say_nothing_are_refused(tmp_path: Path) -> None:
    tree = SYSTEMS["linen"].assemble(SYSTEMS["linen"].write(LAYERS["lstm"]))["params"]
    cells = {
        "LSTMCell_0": tree["layers_0"]["cell"],
        "LSTMCell_1": tree["layers_1"]["cell"],
    }
    files.write_msgpack(tmp_path / "a.msgpack", {"params": cells})
    assert find_layers(tmp_path / "a.msgpack").weights().layers[1:]
    cells["LSTMCell_1"] = tree["layers_0"]["cell"]
    files.write_msgpack(tmp_path / "b.msgpack", {"params": cells})
    with pytest.raises(InputError, match="cells whose names say which is a layer"):
        find_layers(tmp_path / "b.msgpack")


KERAS_LSTM: dict[str, Any] = {"name": "rnn", "units": 4, "use_bias": True}


def keras_file(path: Path, layers: list[tuple[str, dict[str, Any]]]) -> Path:
    """A .keras archive of a Sequential model with a layer's weights in it."""
    h5py = pytest.importorskip("h5py")
    raw = io.BytesIO()
    with h5py.File(raw, "w") as h5:
        weights = LAYERS["lstm"].layers[0][0]
        for k, array in enumerate((weights.w_x, weights.w_h, weights.b)):
            h5[f"layers/lstm/cell/vars/{k}"] = array
    model = {
        "class_name": "Sequential",
        "config": {
            "layers": [
                {"class_name": kind, "config": config} for kind, config in layers
            ]
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", raw.getvalue())
    return path


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [("LSTM", KERAS_LSTM | {"activation": "relu"})],
            "rnn: expected activation tanh",
        ),
        (
            [("LSTM", KERAS_LSTM | {"recurrent_activation": "hard_sigmoid"})],
            "expected recurrent_activation sigmoid, found 'hard_sigmoid'",
        ),
        (
            [("LSTM", KERAS_LSTM), ("Lambda", {"name": "f", "function": "evil"})],
            "expected layers without code, found the Lambda 'f'",
        ),
        (
            [("Dense", {"name": "d"}), ("ConvLSTM2D", {"name": "c"})],
            "expected LSTM or GRU layers, found Dense, ConvLSTM2D",
        ),
        (
            [("LSTM", KERAS_LSTM | {"use_bias": False})],
            "rnn: expected 2 arrays, found 3",
        ),
        (
            [
                (
                    "Bidirectional",
                    {
                        "name": "b",
                        "merge_mode": "sum",
                        "layer": {"class_name": "LSTM", "config": KERAS_LSTM},
                    },
                )
            ],
            "expected merge_mode concat, found 'sum'",
        ),
        ([("Sequential", {"name": "inner", "layers": []})], "found the model 'inner'"),
    ],
)
def test_what_keras_has_and_we_have_not_is_refused(
    layers: list[tuple[str, dict[str, Any]]], message: str, tmp_path: Path
) -> None:
    path = keras_file(tmp_path / "m.keras", layers)
    with pytest.raises(InputError, match=message):
        convert_file(path, tmp_path / "out.npz", "torch")


def test_a_layer_between_recurrent_ones_ends_a_stack(tmp_path: Path) -> None:
    path = keras_file(
        tmp_path / "m.keras",
        [("LSTM", KERAS_LSTM), ("Dropout", {"name": "x"}), ("Dense", {"name": "d"})],
    )
    assert find_layers(path).rest == ["d"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 3.0}, "expected no clip, found 3"),
        (
            {"activations": ["Relu", "Tanh", "Tanh"]},
            "expected the activations sigmoid, tanh, tanh, found relu",
        ),
        ({"direction": "bidirectional"}, "expected 2 directions"),
    ],
)
def test_what_onnx_has_and_we_have_not_is_refused(
    attributes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    model = SYSTEMS["onnx"].assemble(SYSTEMS["onnx"].write(LAYERS["no bias"]))
    node = next(node for node in model.graph.node if node.op_type == "LSTM")
    kept = [each for each in node.attribute if each.name not in attributes]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(
        onnx.helper.make_attribute(n, v) for n, v in attributes.items()
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=message):
        convert_file(path, tmp_path / "out.npz", "torch")


def test_what_is_not_installed_is_said_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torch", "h5py", "onnx"):
        monkeypatch.setitem(sys.modules, module, None)
    source = written(tmp_path / "a.safetensors")
    for ending, extra in (
        (".pt", "torch"),
        (".keras", "interop"),
        (".h5", "interop"),
        (".onnx", "interop"),
    ):
        (tmp_path / f"m{ending}").write_bytes(b"x")
        with pytest.raises(
            InputError, match=rf"not installed: pip install 'lstm-jax\[{extra}\]'"
        ):
            find_layers(tmp_path / f"m{ending}")
    with pytest.raises(InputError, match=r"pip install 'lstm-jax\[torch\]'"):
        convert_file(source, tmp_path / "out.pt")
    with pytest.raises(InputError, match=r"pip install 'lstm-jax\[interop\]'"):
        convert_file(source, tmp_path / "out.onnx")
