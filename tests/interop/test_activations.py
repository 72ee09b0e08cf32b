"""Activations and bounds of ONNX's operators, as ONNX Runtime has them."""

from pathlib import Path

import numpy as np
import pytest
from flax import nnx

import lstm_jax
from lstm_jax import LSTM
from lstm_jax.cells.variant import VariantCell
from lstm_jax.interop.activations import Activation
from lstm_jax.interop.formats import SYSTEMS, convert_file
from lstm_jax.interop.ours import to_weights
from lstm_jax.interop.weights import Style
from tests.helpers.random_layers import random_layers

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    "names",
    [
        ("Affine", "ScaledTanh", "Elu"),
        ("Softplus", "ThresholdedRelu", "LeakyRelu"),
        ("HardSigmoid", "Softsign", "Relu"),
    ],
)
def test_every_activation_is_that_of_the_runtime(
    names: tuple[str, str, str], tmp_path: Path
) -> None:
    """From a file with clip to our file and back, each proven on the way."""
    chosen = [Activation(n, *NUMBERS.get(n, ())) for n in names]
    style = Style(clip=1.5, activations=tuple(chosen))
    weights = random_layers(style, ways=2, peepholes=True)
    model = SYSTEMS["onnx"].assemble(SYSTEMS["onnx"].write(weights))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    convert_file(tmp_path / "a.onnx", tmp_path / "b.safetensors")
    lines = convert_file(tmp_path / "b.safetensors", tmp_path / "c.onnx")
    assert all(name in lines[0] for name in names)
    one, other = (onnx.load(tmp_path / f"{name}.onnx") for name in "ac")
    assert one.graph.node == other.graph.node
    layer = lstm_jax.interop.from_onnx(one)
    assert to_weights(layer).style == weights.style


NUMBERS = {
    "Affine": (0.25, 0.5),
    "ScaledTanh": (0.5, 0.75),
    "Elu": (0.5,),
    "ThresholdedRelu": (0.25,),
    "LeakyRelu": (0.125,),
    "HardSigmoid": (0.25, 0.5),
}


def test_names_of_ours_stay_names() -> None:
    """They mean the same to everybody; with other numbers they are functions."""
    cell = VariantCell(
        clip=2.0, gate_activation="hard_sigmoid", candidate_activation="relu"
    )
    layer = LSTM(3, 4, cell=cell, rngs=nnx.Rngs(0))
    model = lstm_jax.interop.to_onnx(layer)
    again = lstm_jax.interop.from_onnx(model)
    assert isinstance(again, LSTM) and again.cell == cell
    (node,) = [n for n in model.graph.node if n.op_type == "LSTM"]
    del next(a for a in node.attribute if a.name == "activation_alpha").floats[:]
    again = lstm_jax.interop.from_onnx(model)
    assert isinstance(again, LSTM) and isinstance(again.cell, VariantCell)
    hard = Activation("HardSigmoid", float(np.float32(0.2)), 0.5)
    assert again.cell.gate_activation == hard
