"""Networks of every kind that becomes an ONNX graph, with random weights everywhere."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax
from lstm_jax.config import Precision
from lstm_jax.data.series import WindowSpec
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.interop.onnx_networks import Subject, subject_of
from lstm_jax.lm.config import DataConfig, ModelConfig, TrainConfig
from lstm_jax.lm.task import build_model
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.saved import ModelSpec, save_model

WINDOW = WindowSpec(horizon=5, seasons=(2, 6), reads=7)
BESIDE = {"names": ["a", "b"], "means": [3.0, -1.0], "spreads": [2.0, 0.5]}
LANGUAGE = {"vocab_size": 9, "hidden_size": 6, "num_layers": 2}
CLASSIFIER = {"features": 4, "hidden_size": 5, "num_layers": 1, "classes": 3}
TRANSCRIBER = {"features": 4, "symbols": 7, "hidden": 5, "layers": 1}
FORECASTER = {"window": WINDOW, "hidden_size": 4}
TRANSLATOR = {"source_size": 7, "target_size": 40, "embedding": 4, "hidden": 6}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "language": ("language", LANGUAGE),
    "top": ("language", {**LANGUAGE, "top_only": True}),
    "tied": ("language", {**LANGUAGE, "tie_embedding": True}),
    "language gru": ("language", {**LANGUAGE, "cell": "gru"}),
    "ids": (
        "classifier",
        {**CLASSIFIER, "vocab_size": 11, "num_layers": 2, "cell": "peephole"},
    ),
    "dense": (
        "classifier",
        {**CLASSIFIER, "pooling": ("last", "mean"), "bidirectional": False},
    ),
    "last": ("classifier", {**CLASSIFIER, "pooling": ("max", "last")}),
    "ctc": ("ctc", {**TRANSCRIBER, "cell": "coupled"}),
    "forecaster": ("forecaster", FORECASTER),
    "forecaster logs": (
        "forecaster",
        {**FORECASTER, "levels": (0.5, 0.9), "num_layers": 2},
    ),
    "forecaster covariates": (
        "forecaster",
        {**FORECASTER, "covariates": 2, "cell": "gru"},
    ),
    "seq2seq": ("seq2seq", {**TRANSLATOR, "layers": 2}),
    "seq2seq gru": ("seq2seq", {**TRANSLATOR, "layers": 1, "cell": "gru"}),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "forecaster logs": {"log": True},
    "forecaster covariates": {"covariates": BESIDE, "log": False},
}
# Ensembles, with how many networks in each.
MEMBERS = {"language": 2, "dense": 3, "forecaster logs": 3, "forecaster covariates": 2}


def with_random_weights(shapes: Any) -> Any:  # noqa: ANN401 - a network
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), shapes
    )


def spec_of(kind: str, members: int | None = None) -> ModelSpec:
    network, arguments = NETWORKS[kind]
    return ModelSpec(network, arguments, members)


def random_subject(kind: str, members: int | None = None) -> Subject:
    shapes = jax.eval_shape(spec_of(kind, members).build, jax.random.key(0))
    return subject_of(with_random_weights(shapes), members, SETTINGS.get(kind, {}))


def save_subject(kind: str, folder: Path, members: int | None = None) -> Path:
    """A run of an application, whose network it is."""
    subject = random_subject(kind, members)
    spec = spec_of(kind, members)
    save_model(folder, "a test", spec, subject.network, subject.settings)
    return folder


def save_text(folder: Path, precision: Precision = "float32") -> Path:
    """A run of the text generator."""
    vocab = CharTokenizer("char", " abcdé")
    text = DataConfig(data=(Path("/home/me/secret.txt"),))
    model = ModelConfig(layers=1, hidden=5, dropout=0.0, precision=precision)
    train = TrainConfig(text, model)
    shapes = jax.eval_shape(lambda: build_model(train, vocab))
    lstm_jax.save(TextModel(train, vocab, with_random_weights(shapes)), folder)
    return folder
