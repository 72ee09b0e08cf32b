"""A small lesson, a model that has learned it, and one that knows nothing."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax

from lstm_jax.config import RunConfig
from lstm_jax.data.text import encode_text
from lstm_jax.data.tokenizers.characters import Kind
from lstm_jax.lm.claim import Claim
from lstm_jax.lm.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import build_model
from lstm_jax.lm.text_model import TextModel
from lstm_jax.lm.training import fit_text

LESSON = "abcdé, " * 40


def config(kind: Kind = "char", **optimizer: float) -> TrainConfig:
    """A small network that learns fast."""
    return TrainConfig(
        text=DataConfig(vocab=kind),
        model=ModelConfig(layers=1, hidden=16, dropout=0.0),
        optimizer=OptimizerConfig(batch=4, length=16, learning_rate=0.03, **optimizer),
        run=RunConfig(epochs=40, evaluations=2),
    )


@functools.cache
def lesson_learned() -> TextModel:
    """A model that knows the lesson."""
    return fit_text(LESSON, config())


def untrained(text: str, kind: Kind = "char") -> TextModel:
    """A model that knows the symbols of a text, and nothing else."""
    _, vocab = encode_text(text, kind, 0.0)
    model = jax.jit(lambda: build_model(config(kind), vocab))()
    return TextModel(config(kind), vocab, model)


def create_run(
    path: Path, overwrite: bool = False, spare: Sequence[Path] = ()
) -> RunDirectory:
    """A new run directory, of which nobody holds the lock."""
    with Claim(path, overwrite=overwrite, spare=spare).held():
        return RunDirectory(path)
