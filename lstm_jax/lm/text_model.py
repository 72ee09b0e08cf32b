"""A trained model of a text: keep it, load it, score a text with it.

What the commands call, and notebooks too.
"""

import contextlib
import dataclasses
from pathlib import Path

import jax

from lstm_jax.config import expanded
from lstm_jax.data.tokenizers.vocabulary import Vocabulary, symbols_of
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import Claim
from lstm_jax.lm.config import TrainConfig, layers_of
from lstm_jax.lm.evaluation import all_scores, measure_ids
from lstm_jax.lm.run_directory import RunDirectory, open_run, refuse_links
from lstm_jax.lm.task import (
    build_model,
    build_optimizer,
    engine_of,
)
from lstm_jax.models.language import LanguageModel
from lstm_jax.ops.seeds import seed_key
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.loop import Timer
from lstm_jax.training.recorder import RunRecorder, open_checkpoints
from lstm_jax.training.step import init_state


@dataclasses.dataclass(frozen=True)
class TextModel:
    """A trained model with all that is needed to use it.

    Attributes:
        config: its settings.
        vocab: symbols and ids.
        model: the network.
        history: what was measured while it was trained, if that was just now.
    """

    config: TrainConfig
    vocab: Vocabulary
    model: LanguageModel
    history: tuple[HistoryRow, ...] = dataclasses.field(
        default=(), repr=False, compare=False
    )

    def __str__(self) -> str:
        """Say what it is."""
        count = sum(leaf.size for leaf in jax.tree.leaves(self.model))
        config = self.config.model
        return (
            f"text generator: {layers_of(config)}, "
            f"{len(self.vocab)} symbols, {count:,} parameters"
        )


def evaluate_text(trained: TextModel, text: str | bytes) -> dict[str, dict[str, float]]:
    """All scores of a text by protocol, from the loss to the F1.

    They are those of `evaluation.all_scores`. Characters unknown to the vocabulary
    count as one symbol that the model never saw.

    Raises:
        InputError: there is nothing to predict.
    """
    ids = trained.vocab.encode(text)
    if len(ids) < 2:
        raise InputError(
            f"expected a text of at least 2 {symbols_of(trained.vocab)}, "
            f"found {len(ids)}"
        )
    found = measure_ids(trained.model, ids)
    size = trained.vocab.size_of(ids[1:])
    return {name: all_scores(measures, size) for name, measures in found.items()}


def save(trained: TextModel, path: Path | str, overwrite: bool = False) -> None:
    """Keep a trained model in a run directory.

    Args:
        trained: the model.
        path: where; a leading ~ is the home directory.
        overwrite: replace a former run there. Files that no run writes stay.

    Raises:
        InputError: there is a run at the path and no leave to replace it, or something
            else; or it can't be written to.
    """
    hint = "overwrite=True replaces it"
    claim = Claim(expanded(path), overwrite=overwrite, hint=hint)
    optimizer = build_optimizer(trained.config)
    carry = trained.model.initial_state(trained.config.optimizer.batch)
    key = seed_key(trained.config.run.seed)
    state = init_state(trained.model, optimizer, carry, key)
    with claim.held():
        run = RunDirectory(claim.path)
        run.announce()
        run.start(trained.config, trained.vocab)
        refuse_links(run)
        with contextlib.closing(RunRecorder(run.path, Timer())) as recorder:
            recorder.finish(state, "finished")


def load_text_model(path: Path | str) -> TextModel:
    """Load the best model of a run directory of the text generator.

    Where the engine it was trained with can't run, "auto" takes its place.

    Raises:
        InputError: it is no run directory, or a damaged one.
    """
    run = open_run(Path(path))
    config, vocab = _for_this_machine(run.config()), run.vocab()
    like = jax.eval_shape(lambda: build_model(config, vocab))
    with open_checkpoints(run.path) as checkpoints:
        model = checkpoints.best_model(like)
    return TextModel(config, vocab, model)


def _for_this_machine(config: TrainConfig) -> TrainConfig:
    try:
        engine_of(config)
    except InputError:
        model = dataclasses.replace(config.model, engine="auto")
        return dataclasses.replace(config, model=model)
    return config
