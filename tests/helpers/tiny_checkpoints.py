"""States of a tiny network, and checkpoints of them."""

from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.task import first_state
from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints
from lstm_jax.training.states import trees_of
from lstm_jax.training.step import TrainState

Tree = TypeVar("Tree")

STEP = 7
RECORD = CheckpointInfo(STEP, 1.5, STEP, 1.5, 12.25, 3.5, 0.75)


def settings(hidden: int = 6, layers: int = 2, batch: int = 16) -> TrainConfig:
    """A tiny language model."""
    return TrainConfig(
        model=ModelConfig(hidden=hidden, layers=layers, dropout=0.1),
        optimizer=OptimizerConfig(batch=batch),
    )


def shapes_of(config: TrainConfig, characters: str = "abcd") -> TrainState:
    """The shapes of a model's state: what a checkpoint is held against."""
    return jax.eval_shape(
        lambda: first_state(config, CharTokenizer("char", characters))
    )


def random_state(seed: int = 0) -> TrainState:
    """A state as training leaves it: no two arrays alike, and no zeros."""
    rng = np.random.default_rng(seed)

    def drawn(tree: Tree) -> Tree:
        return jax.tree.map(
            lambda a: jnp.asarray(rng.normal(size=a.shape) * 100, a.dtype), tree
        )

    state = shapes_of(settings())
    return TrainState(
        step=jnp.int32(STEP),
        model=drawn(state.model),
        optimizer=drawn(state.optimizer),
        carry=drawn(state.carry),
        key=jax.random.key(seed),
    )


def saved(folder: Path, *pairs: tuple[TrainState, CheckpointInfo]) -> Checkpoints:
    """A folder with these checkpoints, written and opened again."""
    checkpoints = Checkpoints(folder)
    for state, record in pairs:
        checkpoints.save(trees_of(state), record)
    checkpoints.close()
    return Checkpoints(folder)
