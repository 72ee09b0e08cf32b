"""A text, a network that is trained on it in seconds, and runs of it."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np

from lstm_jax.config import RegularizerConfig, RunConfig
from lstm_jax.data.text import Corpus, encode_text
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.lm.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import Setup, first_state, set_up
from lstm_jax.lm.training import train_text
from lstm_jax.storage.files import Fields
from lstm_jax.training.callbacks import INTERRUPTED, Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.recorder import open_checkpoints
from lstm_jax.training.states import load_state
from lstm_jax.training.step import Loss, TrainState
from lstm_jax.training.trainer import Trained
from tests.helpers.tiny_models import create_run

WORDS = "the cat sat on a mat and ran to see what was in that hat of mine".split()
TEXT = " ".join(np.random.default_rng(0).choice(WORDS, size=150))
CORPUS, VOCAB = encode_text(TEXT, "char", 0.2)
# Dropout, resets, a decaying rate, and states that are carried from call to call; 16
# rows are spread over two devices. An epoch is 5 steps: calls end inside of epochs.
CONFIG = TrainConfig(
    text=DataConfig(validation_fraction=0.2),
    model=ModelConfig(layers=2, hidden=8, dropout=0.3),
    optimizer=OptimizerConfig(
        batch=16, length=7, learning_rate=0.02, warmup=0.2, reset_probability=0.3
    ),
    run=RunConfig(epochs=6, evaluations=4, steps_per_call=3, seed=5),
)
# What depends on the clock and not on the computation.
OF_THE_CLOCK = {"seconds", "items_per_second"}


@dataclasses.dataclass(frozen=True)
class _Steps:
    loss: Loss
    model: ModelConfig
    optimizer: OptimizerConfig
    regularizer: RegularizerConfig


_COMPILED: dict[_Steps, CompiledSteps] = {}


class StopAfter(Callback):
    """Ends a run after some calls; None lets it go to its end."""

    def __init__(self, calls: int | None) -> None:
        self._calls, self._seen = calls, 0

    def on_row(self, row: HistoryRow) -> str | None:
        """Count one more call."""
        self._seen += 1
        return INTERRUPTED if self._seen == self._calls else None


def run_once(
    run: RunDirectory | None,
    config: TrainConfig = CONFIG,
    *,
    calls: int | None = None,
    resume: bool = False,
    corpus: Corpus = CORPUS,
    vocab: Vocabulary = VOCAB,
    anew: bool = False,
) -> Trained:
    """Train for some calls, or to the end; with programs of its own if made `anew`."""
    asked = dataclasses.replace(config.run, resume=resume)
    setup = set_up(dataclasses.replace(config, run=asked), corpus, vocab)
    compiled = None if anew else compiled_steps(setup)
    return train_text(setup, run, callbacks=[StopAfter(calls)], compiled=compiled)


def compiled_steps(setup: Setup) -> CompiledSteps:
    """The training programs of a run, shared by all runs that have the same."""
    config = setup.config
    same = _Steps(setup.task.loss, config.model, config.optimizer, config.regularizer)
    ours = CompiledSteps(setup.task.loss, setup.optimizer)
    return _COMPILED.setdefault(same, ours)


def copied_run(run: RunDirectory, path: Path) -> RunDirectory:
    """A copy of a run, to be changed."""
    return RunDirectory(shutil.copytree(run.path, path))


def new_run(path: Path, config: TrainConfig = CONFIG) -> RunDirectory:
    """A run directory, as the train command prepares it."""
    run = create_run(path)
    run.start(config, VOCAB)
    return run


def last_state(run: RunDirectory, config: TrainConfig = CONFIG) -> TrainState:
    """The state of the latest checkpoint."""
    like = jax.eval_shape(lambda: first_state(config, VOCAB))
    with open_checkpoints(run.path) as checkpoints:
        return load_state(checkpoints, checkpoints.latest().step, like)


def checkpoint_steps(run: RunDirectory) -> list[int]:
    """The steps on disk."""
    with open_checkpoints(run.path) as checkpoints:
        return checkpoints.steps()[::-1]


def assert_same(found: object, expected: object) -> None:
    """Equal bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if jax.numpy.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def computed(lines: list[HistoryRow]) -> list[Fields]:
    """The history without what the clock says."""
    return [
        {key: value for key, value in line.record().items() if key not in OF_THE_CLOCK}
        for line in lines
    ]
