"""What of a training state is in which file of a checkpoint."""

import dataclasses
from pathlib import Path

from lstm_jax.storage.checkpoints import CheckpointInfo, Checkpoints
from lstm_jax.storage.sharded import load_sharded
from lstm_jax.training.step import TrainState
from lstm_jax.typing import Model


def trees_of(state: TrainState) -> dict[str, Model | TrainState]:
    """Divide a state by the files of a checkpoint.

    `model` is what whoever loads it needs, its EMA if there is one;
    `training` is what training needs beyond that.
    """
    beside = state if state.has_ema else dataclasses.replace(state, model=())
    return {"model": state.eval_model, "training": beside}


def load_state(checkpoints: Checkpoints, step: int, like: TrainState) -> TrainState:
    """Read all of a checkpoint, of the same shapes as `like`.

    One in parts is read to where `like` says, by this process alone.
    """
    found = read_state(checkpoints, step, like)
    return load_sharded(found, like) if isinstance(found, Path) else found


def read_state(
    checkpoints: Checkpoints, step: int, like: TrainState
) -> TrainState | Path:
    """Read a checkpoint; of one in parts, only see that all is good.

    Returns:
        The state, or the folder that all processes have to read together.
    """
    shapes = trees_of(like)
    model = checkpoints.load_model(step, shapes["model"])
    if parts := checkpoints.parts(step):
        return parts
    training = checkpoints.load(step, "training", shapes["training"])
    if like.has_ema:  # it has the model; the other was read to see that it is good
        return training
    return dataclasses.replace(training, model=model)


def resume_state(
    checkpoints: Checkpoints, like: TrainState, before: int | None = None
) -> tuple[CheckpointInfo, TrainState]:
    """Read the newest checkpoint that is good, as `load_state` does.

    Args:
        checkpoints: of the run.
        like: the shapes of its state.
        before: only checkpoints of earlier steps.
    """
    return checkpoints.newest(lambda step: load_state(checkpoints, step, like), before)
