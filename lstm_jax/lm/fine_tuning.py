"""Fine-tuning: a run that begins with the model of another one, on another text.

The network and the vocabulary are those of the other run, the weights those of its best
step; the optimizer begins anew. Characters that the model has never seen get symbols of
their own, if the vocabulary can have more: they begin as the unknown one, whose
probability they share.
"""

from pathlib import Path

import jax

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.run_directory import open_run
from lstm_jax.lm.task import build_model
from lstm_jax.models.language import LanguageModel, with_more_symbols
from lstm_jax.training.loop import Timer
from lstm_jax.training.recorder import RunRecorder, open_checkpoints


def starting_model(config: TrainConfig, vocab: Vocabulary) -> LanguageModel | None:
    """The model that a run begins with.

    Args:
        config: of the new run, resolved.
        vocab: of the new run: that of the other one, and perhaps more characters.

    Returns:
        The model; None if it is a new one, or that of a checkpoint to be resumed.

    Raises:
        InputError: the other run is gone or damaged.
    """
    source, run = config.from_run, config.run
    if source is None or (run.resume and _has_begun(run.run_dir)):
        return None
    other = open_run(source)
    known = other.vocab()
    like = jax.eval_shape(lambda: build_model(config, known))
    with open_checkpoints(other.path) as checkpoints:
        model = checkpoints.best_model(like)
    return with_more_symbols(model, len(vocab), UNKNOWN)


def _has_begun(path: Path | None) -> bool:
    """Whether there is a checkpoint to go on from, be it damaged; a draft is none."""
    return path is not None and RunRecorder(path, Timer()).has_begun()
