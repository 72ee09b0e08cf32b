"""Training a language model on a text: a run from its first step to its best model."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from lstm_jax.config import expanded
from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.text import encode_text
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import Claim
from lstm_jax.lm.config import TrainConfig, check
from lstm_jax.lm.run_directory import RunDirectory, refuse_links
from lstm_jax.lm.sizing import fit_to
from lstm_jax.lm.task import Setup, set_up
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.language import with_more_symbols
from lstm_jax.report.run import report_run
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.trainer import Trained, train_model


def fit_text(
    text: str | bytes,
    config: TrainConfig | None = None,
    *,
    start: TextModel | None = None,
    callbacks: Sequence[Callback] = (),
) -> TextModel:
    """Train a language model on a text.

    Args:
        text: to learn from.
        config: the settings. With `config.run.run_dir` the run is kept there, as
            `train` keeps it.
        start: a model to go on from (fine-tuning): its network and vocabulary are
            taken, the latter with the characters that it lacks.
        callbacks: are told of every row of history, and may end the run:
            a subclass of `lstm_jax.training.Callback` can show them, or keep them.

    Raises:
        InputError: the text is too short, a setting makes no sense, or the folder is
            no place for a run.
    """
    config = config or TrainConfig()
    if start:
        config = _tuned(config, start.config)
    check(config)
    given, run = config.text, config.run
    if run.resume:
        raise InputError("resume: expected False; the command train resumes runs")
    if run.tensorboard and run.run_dir is None:
        raise InputError(
            "fit_text: expected a run_dir for tensorboard=True, found none"
        )
    corpus, vocab = encode_text(
        *(text, given.vocab, given.validation_fraction, given.vocab_size),
        start.vocab if start else None,
    )
    config = fit_to(config, corpus.train_size - 1)
    model = with_more_symbols(start.model, len(vocab), UNKNOWN) if start else None
    setup = set_up(config, corpus, vocab, model)
    with _kept(setup) as folder:
        trained = train_text(setup, folder, callbacks=callbacks)
        if folder:
            report_run(folder.path, trained, setup.task)
    return TextModel(config, vocab, trained.model)


def _tuned(config: TrainConfig, other: TrainConfig) -> TrainConfig:
    """Settings with the network and the vocabulary of a model."""
    vocab = {"vocab": other.text.vocab, "vocab_size": other.text.vocab_size}
    text = dataclasses.replace(config.text, **vocab)
    return dataclasses.replace(config, text=text, model=other.model)


@contextlib.contextmanager
def _kept(setup: Setup) -> Iterator[RunDirectory | None]:
    """The folder of a new run, if it is to be kept, with all but its results."""
    run = setup.config.run
    if run.run_dir is None:
        yield None
        return
    hint = "overwrite=True replaces it"
    claim = Claim(expanded(run.run_dir), overwrite=run.overwrite, hint=hint)
    with claim.held():
        folder = RunDirectory(claim.path)
        folder.announce()
        folder.save_corpus(setup.corpus)
        if not isinstance(setup.vocab, CharTokenizer):
            folder.save_split(setup.corpus)
        folder.start(setup.config, setup.vocab)
        yield folder


def train_text(
    setup: Setup,
    run: RunDirectory | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    compiled: CompiledSteps | None = None,
) -> Trained:
    """Train a language model on a corpus.

    Args:
        setup: what the run is made of.
        run: where to keep the run, if anywhere. With `--resume` it goes on from its
            latest good checkpoint; one that was stopped before its first begins anew.
            Of several processes, process 0 alone is given it.
        callbacks: are told of every line of history, and may end the run.
        compiled: those of this loss and optimizer that another run has compiled.

    Raises:
        InputError: there is no time for a step, the run can't be resumed, or the loss
            is no longer a finite number.
    """
    config = setup.config
    if run:
        refuse_links(run)
        if config.run.resume:
            callbacks = [*callbacks, _LongerRun(run, config)]
    return train_model(
        setup.task,
        setup.first_state,
        setup.schedule,
        compiled or CompiledSteps(setup.task.loss, setup.optimizer),
        config.run,
        folder=run.path if run else None,
        callbacks=callbacks,
    )


class _LongerRun(Callback):
    """Keeps the settings of a resumed run, once there is one: it may last longer."""

    def __init__(self, run: RunDirectory, config: TrainConfig) -> None:
        self._run, self._config = run, config

    def begin(self, history: Sequence[HistoryRow]) -> None:
        """Write them; nothing is changed of a run that could not be resumed."""
        self._run.write_config(self._config)
