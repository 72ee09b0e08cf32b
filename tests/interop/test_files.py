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
from flax import nnx

import lstm_jax
from lstm_jax import convert
from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTMCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell
from lstm_jax.config import RegularizerConfig
from lstm_jax.errors import InputError
from lstm_jax.interop import files, formats
from lstm_jax.interop.formats import SYSTEMS, convert_file, find_layers
from lstm_jax.interop.keras import Record
from lstm_jax.interop.ours import to_layer, to_weights
from lstm_jax.interop.system import Outcome, draw, largest_error, unrolled
from lstm_jax.interop.weights import Arrays, Weights, reordered
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


OURS = [
    "two directions",
    "one over two directions",
    "widths",
    "peepholes",
    "coupled",
    "gru",
    "gru reset before",
]


@pytest.mark.parametrize("name", OURS)
def test_our_layers_are_built_and_read_again(name: str) -> None:
    assert same(LAYERS[name], to_weights(to_layer(LAYERS[name])), 1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_our_files_say_what_they_hold(name: str, tmp_path: Path) -> None:
    """To the bit, but for the sum of two biases, and for a block that is not used."""
    system, weights = SYSTEMS["lstm_jax"], LAYERS[name]
    path = tmp_path / "a.safetensors"
    files.write_safetensors(path, system.assemble(system.write(weights)))
    again = find_layers(path).weights()
    assert again.style == weights.style
    feed = draw(weights)
    outcomes = [
        unrolled(system.step, system.write(each), feed) for each in (weights, again)
    ]
    assert largest_error(*outcomes) == 0


def test_of_layers_that_read_backwards_we_have_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`LSTM` has `reverse`, `StackedLSTM` has not."""
    assert isinstance(to_layer(LAYERS["backward"]), lstm_jax.LSTM)
    assert "call it with reverse=True" in caplog.text
    with pytest.raises(InputError, match="StackedLSTM can hold, found layers on top"):
        to_layer(LAYERS["backward layers"])


def test_three_blocks_without_a_name_are_refused(tmp_path: Path) -> None:
    arrays = {"a/w_x": numbers(5, 12), "a/w_h": numbers(4, 12), "a/b": numbers(12)}
    files.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(InputError, match="expected 4 blocks of columns, or b_hn"):
        find_layers(tmp_path / "a.safetensors")


def test_a_projection_to_more_numbers_than_it_reads_is_refused(tmp_path: Path) -> None:
    shapes = {"w_x": (3, 16), "w_h": (5, 16), "b": (16,), "w_hr": (4, 5)}
    path = tmp_path / "wide.safetensors"
    wide = {f"layers/0/{name}": numbers(*shape) for name, shape in shapes.items()}
    files.write_safetensors(path, wide)
    with pytest.raises(InputError, match="expected a projection to 4 numbers or fewer"):
        lstm_jax.interop.read_layers(path)


@pytest.mark.parametrize("kind", [LSTMCell, GRUCell, VariantCell])
def test_a_cell_made_of_one_of_ours_is_refused(kind: type) -> None:
    """Its arrays are the same, its equations need not be."""
    cell = type("Mine", (kind,), {})()
    layer = lstm_jax.LSTM(3, 4, cell=cell, rngs=nnx.Rngs(0))
    message = r"^cell: expected one of lstm, .*found a Mine"
    with pytest.raises(ValueError, match=message):
        to_weights(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "mogrifier"}, "or a GRU, found mogrifier"),
        ({"cell": VariantCell(cell_clip=1.0)}, "found a variant with cell_clip"),
        ({"cell": VariantCell(gate_activation="gelu")}, "sigmoid, .* found gelu"),
        ({"cell": VariantCell(gate_activation=jnp.tanh)}, "found a function"),
        (
            {"cell": CoupledCell(gate_activation="relu")},
            r"with f\(-z\) = 1 - f\(z\), found Relu",
        ),
        (
            {"regularizer": RegularizerConfig(zoneout_cell=0.1)},
            "zoneout: expected none",
        ),
    ],
)
def test_what_we_have_and_nobody_else_is_refused(
    options: dict[str, Any], message: str
) -> None:
    layer = jax.eval_shape(lambda: lstm_jax.LSTM(3, 4, rngs=nnx.Rngs(0), **options))
    with pytest.raises(InputError, match=message):
        to_weights(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"residual": True}, "residual: expected layers without"),
        ({"bidirectional": True, "merge": "sum"}, "merge: expected concat, found sum"),
    ],
)
def test_what_layers_do_with_each_other_is_looked_at(
    options: dict[str, Any], message: str
) -> None:
    stack = jax.eval_shape(
        lambda: lstm_jax.StackedLSTM(4, 4, 2, rngs=nnx.Rngs(0), **options)
    )
    with pytest.raises(InputError, match=message):
        to_weights(stack)


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


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


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
        (changed(weight_ih_l0=None), "0.forward: expected weight_ih too, found bias_h"),
        (changed(weight_hh_l1=None), "expected weight_hh too"),
        (changed(bias_hh_l0=None), "expected bias_hh too"),
        (changed(weight_hh_l0_reverse=numbers(16, 4)), "expected weight_ih too"),
        (changed(**{f"{n}_l3": numbers(16, 4) for n in NAMES}), "layers 0 to 2"),
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


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (
            "b.npz",
            {},
            "--to: expected lstm_jax or torch or .* for b.npz, found no",
        ),
        ("b.msgpack", {}, "--to: expected linen or nnx for b.msgpack, found nothing"),
        ("b.xyz", {}, "--to: expected one of lstm_jax, .* for b.xyz, found nothing"),
        ("b.npz", {"to": "pytorch"}, "--to: expected one of .*, found pytorch$"),
        (
            "b.npz",
            {"to": "haiku", "keep_biases": True},
            "--keep-biases: expected --to lstm_jax or torch or onnx, found haiku",
        ),
        ("b.pt", {"int8": True}, "--int8: expected --to c or html, found torch"),
        ("b.c", {"name": "rnn"}, "--name: expected --to lstm_jax or .*, found c"),
    ],
)
def test_flags_that_mean_nothing_are_refused(
    target: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    source = written(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=message):
        convert_file(source, tmp_path / target, **options)
    assert not (tmp_path / target).exists()


def test_biases_of_a_gru_are_not_kept_apart(tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    files.write_safetensors(source, torch_arrays(LAYERS["gru"]))
    with pytest.raises(InputError, match="--keep-biases: expected LSTMs, found GRUs"):
        convert_file(source, tmp_path / "b.npz", "lstm_jax", keep_biases=True)


def test_layers_without_a_name(tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    arrays = torch_arrays(LAYERS["lstm"]).items()
    files.write_safetensors(source, {n.removeprefix("rnn."): a for n, a in arrays})
    with pytest.raises(InputError, match="'decoder', found layers without a name"):
        convert_file(source, tmp_path / "b.npz", "haiku", name="decoder")


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


@pytest.mark.parametrize("name", ["lstm", "two directions"])
@pytest.mark.parametrize("above", ["feed_forward.rnn.", "reverse.", "backward."])
def test_the_name_of_a_module_is_no_direction_of_pytorch(
    above: str, name: str, tmp_path: Path
) -> None:
    system, weights = SYSTEMS["torch"], LAYERS[name]
    arrays = system.assemble(system.write(weights))
    path = tmp_path / "a.safetensors"
    files.write_safetensors(path, {f"{above}{n}": a for n, a in arrays.items()})
    found = find_layers(path).weights()
    assert found.style == weights.style and same(found, weights)


def declares(size: int, path: Path, member: str) -> None:
    """Let a zip say that a member is of another size."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.getinfo(member).file_size = size
        archive.comment = b"to be written again"


def large_npz(path: Path) -> None:
    np.savez_compressed(path, x=numbers(3))
    declares(1 << 30, path, "x.npy")


def large_keras(path: Path) -> None:
    keras_file(path, [("LSTM", KERAS_LSTM)])
    declares(1 << 30, path, "model.weights.h5")


def large_h5(path: Path) -> None:
    with pytest.importorskip("h5py").File(path, "w") as h5:
        place = "layers/lstm/cell/vars/0"
        h5.create_dataset(place, (1 << 25,), "f4", chunks=(1 << 10,))[0] = 1


def large_chunk(path: Path) -> None:
    chunk = {"chunks": (1 << 24,), "maxshape": (None,), "compression": "gzip"}
    with pytest.importorskip("h5py").File(path, "w") as h5:
        h5.create_dataset("layers/lstm/cell/vars/0", (1,), "f4", **chunk)[0] = 1


def large_record(path: Path) -> None:
    torch = pytest.importorskip("torch")
    raw = io.BytesIO()
    torch.save({"a": torch.zeros((1 << 24) + 1)}, raw)
    with (
        zipfile.ZipFile(raw) as whole,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))


def large_view(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"inner": {"a": torch.zeros(1).expand(1 << 25)}}, path)


@pytest.mark.parametrize(
    ("ending", "write"),
    [
        (".npz", large_npz),
        (".keras", large_keras),
        (".h5", large_h5),
        (".h5", large_chunk),
        (".pt", large_record),
        (".pt", large_view),
    ],
)
def test_a_small_file_of_large_arrays_is_not_read(
    ending: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / f"a{ending}"
    write(path)
    assert path.stat().st_size < 1 << 17
    expected = r"expected 67,108,864 bytes of arrays at most in a file of [\d,]+, found"
    with pytest.raises(InputError, match=expected):
        find_layers(path)


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


def test_a_cell_of_which_an_array_is_missing_is_refused(tmp_path: Path) -> None:
    """And not passed over for the other layers."""
    tree = SYSTEMS["linen"].assemble(SYSTEMS["linen"].write(LAYERS["lstm"]))
    del tree["params"]["layers_0"]["cell"]["if"]
    files.write_msgpack(tmp_path / "a.msgpack", tree)
    with pytest.raises(InputError, match="layers_0/cell: expected if/kernel too"):
        find_layers(tmp_path / "a.msgpack")


def test_a_cell_of_nnx_in_a_file_is_none_of_linen(tmp_path: Path) -> None:
    """`LSTMCell` has a kernel per gate in both; one is called `if_` in NNX."""
    rnn = nnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))
    path = tmp_path / "a.msgpack"
    files.write_msgpack(path, nnx.to_pure_dict(nnx.state(rnn, nnx.Param)))
    xs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    layer = lstm_jax.interop.from_nnx(path)
    np.testing.assert_allclose(layer(xs)[0], rnn(xs), atol=1e-6)
    lines = convert_file(path, tmp_path / "b.npz", "torch")
    assert lines[0].startswith("Flax NNX: LSTM, 1 layer")


def test_a_cell_of_equinox_is_none_of_pytorch_without_biases(tmp_path: Path) -> None:
    (layer,) = SYSTEMS["equinox"].write(LAYERS["lstm"]).layers[0]
    files.write_npz(tmp_path / "a.npz", layer)
    found = find_layers(tmp_path / "a.npz")
    assert found.system.name == "equinox" and not found.rest


def test_a_linear_of_haiku_is_no_lstm(tmp_path: Path) -> None:
    dense = {"w": numbers(8, 4), "b": numbers(4)}
    files.write_npz(tmp_path / "a.npz", {"linear": dense})
    with pytest.raises(
        InputError, match=r"expected LSTM or GRU layers, found linear/w"
    ):
        find_layers(tmp_path / "a.npz")
    found = SYSTEMS["haiku"].find({"lstm/linear": dense, "head/linear": dense})
    assert list(found) == ["lstm"]


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
            [("LSTM", KERAS_LSTM | {"activation": "gelu"})],
            "rnn: expected activation tanh, relu, .* linear, found 'gelu'",
        ),
        (
            [("LSTM", KERAS_LSTM | {"activation": "relu"})],
            "PyTorch can hold, found an activation other than tanh",
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


def test_what_lies_on_a_backward_layer_of_keras_is_a_stack_of_its_own(
    tmp_path: Path,
) -> None:
    """It is given the outputs from the last to the first, and reads them so."""
    pytest.importorskip("h5py")
    system, weights = SYSTEMS["keras"], LAYERS["backward layers"]
    stack = weights.map(lambda one: system.outward(weights.style, one))
    path = tmp_path / "m.keras"
    files.write_keras(path, system.assemble(stack))
    with pytest.raises(InputError, match="one stack of layers, found 'lstm_0', 'lstm_"):
        find_layers(path)
    for depth, row in enumerate(weights.layers):
        found = find_layers(path, f"lstm_{depth}").weights()
        assert found.style == weights.style and len(found.layers) == 1
        np.testing.assert_array_equal(found.layers[0][0].w_h, row[0].w_h)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers_that_keras_2_had_from_cudnn_are_read(kind: str) -> None:
    """A gate is W [H, D], row by row, in the shape [D, H]; biases of x, then of h."""
    weights = LAYERS["both biases" if kind == "LSTM" else "gru both biases"]
    system, one = SYSTEMS["keras"], weights.layers[0][0]
    order = "ifgo" if kind == "LSTM" else "rzn"
    wanted = "ifgo" if kind == "LSTM" else "zrn"

    def kept(array: np.ndarray) -> np.ndarray:
        gates = np.split(reordered(array, -1, order, wanted), len(order), -1)
        return np.hstack([gate.T.reshape(gate.shape) for gate in gates])

    assert one.b is not None and one.b_h is not None
    biases = [reordered(b, -1, order, wanted) for b in (one.b, one.b_h)]
    arrays = [kept(one.w_x), kept(one.w_h), np.concatenate(biases)]
    record = Record(f"CuDNN{kind}", {"name": "rnn"}, arrays)
    found = system.read(system.find([record])["rnn"], "rnn").layers[0][0]
    for name in ("w_x", "w_h", "b", "b_h"):
        np.testing.assert_array_equal(getattr(found, name), getattr(one, name))


@pytest.mark.filterwarnings("default")
def test_keras_loads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras")
    system, weights = SYSTEMS["keras"], LAYERS["gru both biases"]
    records = system.assemble(system.write(weights))
    for name in ("a.keras", "a.weights.h5"):
        files.write_keras(tmp_path / name, records)
    model = keras.models.load_model(tmp_path / "a.keras")
    model.save(tmp_path / "b.h5")
    xs = draw(weights).xs
    ys = np.asarray(model(xs))
    ours = jnp.asarray(xs)
    for name in ("a.keras", "b.h5"):
        layer = lstm_jax.interop.from_keras(tmp_path / name)
        np.testing.assert_allclose(layer(ours)[0], ys, atol=1e-6)
    layer = lstm_jax.interop.from_keras(model)
    for each, kept in zip(model.layers, lstm_jax.interop.to_keras(layer), strict=True):
        each.set_weights([np.zeros_like(array) for array in kept])
    model.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(np.asarray(model(xs)), ys)
    with pytest.raises(InputError, match="found 0: build the model first"):
        lstm_jax.interop.from_keras(keras.layers.LSTM(3))


def test_two_directions_of_keras_have_one_activation(tmp_path: Path) -> None:
    """What is asked of the second one is not passed over."""
    pytest.importorskip("h5py")
    path = tmp_path / "m.keras"
    convert_file(written(tmp_path / "a.safetensors", LAYERS["two directions"]), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Bidirectional":
            layer["config"]["backward_layer"]["config"]["activation"] = "relu"
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in parts.items():
            archive.writestr(name, raw)
    with pytest.raises(InputError, match="expected two directions of one kind, found"):
        find_layers(path)


def eqx_file(path: Path, *shapes: tuple[int, ...], line: bytes = b"") -> Path:
    """Arrays one after the other, as Equinox writes them."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(line)
        for shape in shapes:
            np.save(file, rng.normal(size=shape).astype(np.float32))
    return path


def lstm_leaves(inputs: int, units: int) -> list[tuple[int, ...]]:
    return [(4 * units, inputs), (4 * units, units), (4 * units,)]


def gru_leaves(inputs: int, units: int) -> list[tuple[int, ...]]:
    return [(3 * units, inputs), (3 * units, units), (3 * units,), (units,)]


@pytest.mark.parametrize(
    ("shapes", "sizes", "rest"),
    [
        # An embedding, two layers, a linear layer, and a number.
        (
            [(9, 5), *lstm_leaves(5, 3), *lstm_leaves(3, 4), (2, 4), (2,), ()],
            [[(5, 3, 3)], [(3, 4, 4)]],
            ["leaf 0 [9, 5]", "leaf 7 [2, 4]", "leaf 8 [2]", "leaf 9 []"],
        ),
        ([*lstm_leaves(5, 3), *lstm_leaves(6, 3)], [], None),
        (lstm_leaves(5, 3) * 2, [[(5, 3, 3)] * 2], []),
        (lstm_leaves(3, 3) * 2, [[(3, 3, 3)], [(3, 3, 3)]], []),
        (
            [*gru_leaves(3, 3) * 2, *gru_leaves(6, 2) * 2],
            [[(3, 3, 3)] * 2, [(6, 2, 2)] * 2],
            [],
        ),
        (lstm_leaves(5, 3)[:2], [[(5, 3, 3)]], []),
    ],
)
def test_cells_among_leaves_without_names(
    shapes: list[tuple[int, ...]], sizes: list, rest: list[str] | None, tmp_path: Path
) -> None:
    path = eqx_file(tmp_path / "a.eqx", *shapes)
    if rest is None:
        with pytest.raises(InputError, match=r"one stack of layers, found"):
            find_layers(path)
        return
    found = find_layers(path)
    assert [[one.sizes for one in row] for row in found.weights().layers] == sizes
    assert found.rest == rest
    lines = convert_file(path, tmp_path / "b.npz", "lstm_jax")
    assert any("no names in the file" in line for line in lines) == (len(sizes[0]) == 2)


def test_a_line_of_json_before_leaves(tmp_path: Path) -> None:
    """As the documentation of Equinox writes hyperparameters."""
    path = eqx_file(tmp_path / "a.eqx", *lstm_leaves(5, 3), line=b'{"width": 3}\n')
    assert find_layers(path).weights().layers[0][0].sizes == (5, 3, 3)
    for line in (b"hello\n", b'{"width": 3}', b"\n\n"):
        other = eqx_file(tmp_path / "b.eqx", *lstm_leaves(5, 3), line=line)
        with pytest.raises(InputError, match="a line of JSON before them, found b"):
            find_layers(other)


def test_leaves_that_may_be_either_cell_are_refused(tmp_path: Path) -> None:
    """An embedding as wide as a cell of as many rows, or a cell without a bias."""
    path = eqx_file(tmp_path / "a.eqx", (12, 3), *lstm_leaves(3, 3))
    with pytest.raises(InputError, match=r"a\.eqx: leaf 0: expected arrays whose sh"):
        find_layers(path)


@pytest.mark.parametrize("cells", ["gru", "lstm"])
def test_both_directions_in_a_file_of_equinox(cells: str, tmp_path: Path) -> None:
    leaves = gru_leaves if cells == "gru" else lstm_leaves
    source = eqx_file(tmp_path / "a.eqx", *leaves(5, 3) * 2, *leaves(6, 4) * 2)
    convert_file(source, tmp_path / "b.npz", "lstm_jax")
    convert_file(tmp_path / "b.npz", tmp_path / "c.eqx")
    assert (tmp_path / "c.eqx").read_bytes() == source.read_bytes()
    wide = eqx_file(tmp_path / "d.eqx", *leaves(4, 4) * 2, *leaves(8, 4))
    convert_file(wide, tmp_path / "e.npz", "lstm_jax")
    lone = {n: a for n, a in files.read_npz(tmp_path / "e.npz").items() if "/0/" in n}
    files.write_npz(tmp_path / "f.npz", lone)
    with pytest.raises(InputError, match="two directions as wide as its inputs"):
        convert_file(tmp_path / "f.npz", tmp_path / "f.eqx")
    assert not (tmp_path / "f.eqx").exists()


def test_equinox_loads_what_was_written(tmp_path: Path) -> None:
    eqx = pytest.importorskip("equinox")
    cells = [eqx.nn.LSTMCell(n, 4, key=jax.random.key(n)) for n in (5, 4)]
    eqx.tree_serialise_leaves(tmp_path / "a.eqx", cells)
    convert_file(tmp_path / "a.eqx", tmp_path / "b.npz", "torch")
    convert_file(tmp_path / "b.npz", tmp_path / "c.eqx")
    again = eqx.tree_deserialise_leaves(tmp_path / "c.eqx", cells)
    for mine, theirs in zip(
        jax.tree.leaves(again), jax.tree.leaves(cells), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    layer = lstm_jax.interop.from_equinox(cells)
    for mine, theirs in zip(lstm_jax.interop.to_equinox(layer), cells, strict=True):
        np.testing.assert_array_equal(mine.weight_hh, theirs.weight_hh)


def test_modules_of_flax_are_read_and_filled() -> None:
    rnn = nnx.RNN(nnx.LSTMCell(3, 4, rngs=nnx.Rngs(0)))
    layer = lstm_jax.interop.from_nnx(nnx.state(rnn))
    xs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    np.testing.assert_allclose(layer(xs)[0], rnn(xs), atol=1e-6)
    cell: Any = nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(1))
    nnx.update(cell, lstm_jax.interop.to_nnx(layer)["layers"]["0"]["cell"])
    np.testing.assert_allclose(layer(xs)[0], nnx.RNN(cell)(xs), atol=1e-6)
    tree = lstm_jax.interop.to_linen(layer)
    again = lstm_jax.interop.from_linen(tree)
    assert isinstance(layer, lstm_jax.LSTM) and isinstance(again, lstm_jax.LSTM)
    np.testing.assert_array_equal(again.w_x[...], layer.w_x[...])
    tree = lstm_jax.interop.to_haiku(layer)
    again = lstm_jax.interop.from_haiku(tree)
    np.testing.assert_allclose(again(xs)[0], layer(xs)[0], atol=1e-6)


def test_a_layer_between_recurrent_ones_ends_a_stack(tmp_path: Path) -> None:
    path = keras_file(
        tmp_path / "m.keras",
        [("LSTM", KERAS_LSTM), ("Dropout", {"name": "x"}), ("Dense", {"name": "d"})],
    )
    assert find_layers(path).rest == ["d"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 3.0}, "PyTorch can hold, found clipped activations"),
        ({"clip": -1.0}, "expected a clip of 0 or more, found -1"),
        ({"clip": float("nan")}, "expected a clip of 0 or more, found nan"),
        (
            {"activations": ["Relu", "Tanh", "Tanh"]},
            "PyTorch can hold, found other activations",
        ),
        (
            {"activations": ["Sigmoid", "Tanh"]},
            "expected 3 activations, the same in each direction, found Sigmoid, Tanh",
        ),
        ({"activations": ["Sigmoid", "Gelu", "Tanh"]}, "expected activations .* Gelu"),
        (
            {"activations": ["Sigmoid", "Affine", "Tanh"], "activation_alpha": [2.0]},
            "expected activation_beta for Affine, found none",
        ),
        (
            {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [1.0, 2.0]},
            "activation_alpha: expected a number for each of Elu, Tanh, .* found more",
        ),
        ({"direction": "bidirectional"}, "expected 2 directions"),
    ],
)
def test_what_an_operator_has_and_others_have_not_is_refused(
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


@pytest.mark.parametrize("field", ["clip", "activations"])
def test_damaged_settings_of_our_files_are_one_line(field: str, tmp_path: Path) -> None:
    system = SYSTEMS["lstm_jax"]
    arrays = system.assemble(system.write(LAYERS["clip"]))
    broken = {
        "clip": np.array([np.nan], np.float32),
        "activations": np.frombuffer(b"[1", "u1"),
    }
    for name in arrays:
        if name.endswith(field):
            arrays[name] = broken[field]
    files.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(InputError, match=r"a\.safetensors: expected") as caught:
        find_layers(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_initial_states_inside_a_graph_have_to_be_zero(
    value: float, tmp_path: Path
) -> None:
    """Also where they are expanded to the rows of a batch."""
    onnx = pytest.importorskip("onnx")
    model = SYSTEMS["onnx"].assemble(SYSTEMS["onnx"].write(LAYERS["no bias"]))
    graph, path = model.graph, tmp_path / "m.onnx"
    node = next(node for node in graph.node if node.op_type == "LSTM")
    start = np.full((1, 1, 4), value, np.float32)
    graph.initializer.append(onnx.numpy_helper.from_array(start, "start"))
    shape = onnx.numpy_helper.from_array(np.array([1, 2, 4]), "shape")
    graph.initializer.append(shape)
    node.input[5] = "expanded"
    expand = onnx.helper.make_node("Expand", ["start", "shape"], ["expanded"])
    graph.node.insert(0, expand)
    path.write_bytes(model.SerializeToString())
    if value:
        with pytest.raises(InputError, match="expected initial_h to be zero or an"):
            find_layers(path)
    else:
        assert find_layers(path).rest == ["Expand", "Transpose", "Reshape"]


def test_a_run_is_read_by_its_best_checkpoint(tmp_path: Path) -> None:
    spec = lstm_jax.models.ModelSpec(
        "language", {"vocab_size": 5, "hidden_size": 4, "num_layers": 2}
    )
    model = jax.jit(spec.build)(jax.random.key(0))
    lstm_jax.models.save_model(tmp_path / "run", "text", spec, model)
    lines = convert_file(tmp_path / "run", tmp_path / "a.npz", "torch")
    assert "LSTM, 2 layers, one direction, 5 inputs, 4 units" in lines[0]
    assert lines[1].startswith("left out: b_out")
    layer = lstm_jax.interop.from_torch(files.read_npz(tmp_path / "a.npz"))
    assert isinstance(layer, lstm_jax.StackedLSTM)
    np.testing.assert_array_equal(layer.layers[1].w_h[...], model.layers[1].w_h[...])
    (damaged,) = (tmp_path / "run").glob("checkpoints/*/model.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="expected the checksum in"):
        convert_file(tmp_path / "run", tmp_path / "b.npz", "torch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "mogrifier"}, "found a cell with rounds, which no other system has"),
        ({"cell": MogrifierCell(0, capped=True)}, "found a mogrifier with capped"),
        ({"cell": VariantCell(clip=3.0, cell_clip=1.0)}, "variant with cell_clip"),
        ({"cell": CoupledCell(gate_activation="relu")}, "of coupled gates with f"),
        ({"cell": VariantCell(gate_activation="silu")}, "hard_sigmoid, found silu"),
        (
            {"regularizer": {"zoneout_cell": 0.1}},
            "without zoneout, .*found zoneout_cell",
        ),
    ],
)
def test_a_run_whose_cells_nobody_else_has_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    sizes = {"features": 3, "hidden_size": 4, "num_layers": 1, "classes": 2}
    plain = lstm_jax.models.ModelSpec("classifier", sizes)
    given = {"cell": options["cell"]} if "cell" in options else {}
    settings = {} if given else options
    spec = lstm_jax.models.ModelSpec("classifier", sizes | given)
    shapes = jax.eval_shape(spec.build, jax.random.key(0))
    model = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    lstm_jax.models.save_model(
        tmp_path / "run", "a test", spec if given else plain, model, settings
    )
    with pytest.raises(InputError, match=message):
        find_layers(tmp_path / "run")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (
            "coupled",
            "LSTM, 2 layers, one direction, 5 inputs, 4 units, float32, with coup",
        ),
        (
            GRUCell(reset_after=False),
            "GRU, 2 layers, one direction, 5 inputs, 4 units, float32, with a reset",
        ),
        (CoupledCell(peepholes=True), "coupled gates"),
        ("peephole", "with peepholes"),
        (VariantCell(proj_size=2), "a projection"),
        (VariantCell(clip=3.0), "with clipped activations"),
        (
            CoupledCell(output_activation="relu"),
            "with activations Sigmoid, Tanh, Relu and coupled gates",
        ),
    ],
)
def test_a_run_says_what_its_arrays_do_not(
    cell: Cell | str, words: str, tmp_path: Path
) -> None:
    sizes = {"vocab_size": 5, "hidden_size": 4, "num_layers": 2, "cell": cell}
    spec = lstm_jax.models.ModelSpec("language", sizes)
    shapes = jax.eval_shape(spec.build, jax.random.key(0))
    rng = np.random.default_rng(0)
    model = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), shapes)
    lstm_jax.models.save_model(tmp_path / "run", "a test", spec, model)
    lines = convert_file(tmp_path / "run", tmp_path / "layers.npz", "lstm_jax")
    assert lines[0].startswith("lstm_jax: ") and words in lines[0]
    assert lines[1] == "left out: b_out, w_out"
    assert lines[-1].startswith("largest error 0")


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
            InputError, match=rf"found none; pip install \w+ \(extra {extra}\)"
        ):
            find_layers(tmp_path / f"m{ending}")
    with pytest.raises(InputError, match=r"pip install torch \(extra torch\)"):
        convert_file(source, tmp_path / "out.pt")
    with pytest.raises(InputError, match=r"pip install \w+ \(extra interop\)"):
        convert_file(source, tmp_path / "out.onnx")
