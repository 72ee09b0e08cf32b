"""Whole networks as ONNX graphs, run by ONNX Runtime."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lstm_jax.errors import InputError
from lstm_jax.interop.onnx_models import graph_of
from lstm_jax.models.classifier import SequenceClassifier
from lstm_jax.models.ctc import CTCModel
from lstm_jax.models.language import LanguageModel

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

SIZES = {"rngs": nnx.Rngs(0), "dropout": 0.3}
NETWORKS = {
    "language": lambda: LanguageModel(9, 6, 2, **SIZES),
    "top": lambda: LanguageModel(9, 6, 3, top_only=True, **SIZES),
    "ids": lambda: SequenceClassifier(4, 5, 2, 3, vocab_size=11, **SIZES),
    "dense": lambda: SequenceClassifier(
        4, 5, 1, 3, pooling=("last", "mean"), bidirectional=False, **SIZES
    ),
    "last": lambda: SequenceClassifier(4, 5, 2, 3, pooling=("max", "last"), **SIZES),
    "ctc": lambda: CTCModel(4, 7, 5, 2, **SIZES),
}


def with_other_weights(network: nnx.Module) -> nnx.Module:
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), network
    )


@pytest.mark.parametrize("kind", NETWORKS)
def test_runtime_and_network_compute_the_same(kind: str, tmp_path: Path) -> None:
    network = with_other_weights(NETWORKS[kind]())
    model, inputs, expected = graph_of(network)
    onnx.checker.check_model(model, full_check=True)
    session = runtime.InferenceSession(model.SerializeToString())
    found = session.run(None, inputs)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("LSTM") == 3 if kind == "top" else "LSTM" in operators


def test_a_text_is_read_in_pieces_of_any_length() -> None:
    network = with_other_weights(NETWORKS["language"]())
    model, _, _ = graph_of(network)
    session = runtime.InferenceSession(model.SerializeToString())
    ids = np.random.default_rng(0).integers(0, 9, (2, 7))
    names = [each.name for each in session.get_inputs()][:-1]
    assert names == ["initial_h_0", "initial_c_0", "initial_h_1", "initial_c_1"]
    states = [np.zeros((1, 2, 6), np.float32) for _ in names]
    pieces = []
    for piece in (ids[:, :3], ids[:, 3:4], ids[:, 4:]):
        *states, logits = session.run(
            None, dict(zip(names, states, strict=True)) | {"ids": piece}
        )
        pieces.append(logits)
    whole, _ = network(jnp.asarray(ids, jnp.int32))
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=2e-5)


def test_what_has_no_graph() -> None:
    with pytest.raises(InputError, match=r"expected one of LanguageModel, .* a Linear"):
        graph_of(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=r"cells that ONNX has, lstm, found gru"):
        graph_of(LanguageModel(9, 6, 1, rngs=nnx.Rngs(0), cell="gru"))
