"""Training a language model on a text: a run from its first step to its best model."""

from collections.abc import Sequence

from lstm_jax.data.text import encode_text
from lstm_jax.lm.config import TrainConfig, check
from lstm_jax.lm.run_directory import RunDirectory, refuse_links
from lstm_jax.lm.sizing import fit_to
from lstm_jax.lm.task import Setup, set_up
from lstm_jax.lm.text_model import TextModel
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.trainer import Trained, train_model


def fit_text(text: str, config: TrainConfig | None = None) -> TextModel:
    """Train a language model on a text.

    Raises:
        InputError: the text is too short, or a setting makes no sense.
    """
    config = config or TrainConfig()
    check(config)
    given = config.text
    corpus, vocab = encode_text(
        text, given.vocab, given.validation_fraction, given.vocab_size
    )
    config = fit_to(config, corpus.train_size - 1)
    trained = train_text(set_up(config, corpus, vocab))
    return TextModel(config, vocab, trained.model)


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
