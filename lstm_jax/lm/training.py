"""Training a language model on a text: a run from its first step to its best model."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Sequence

import numpy as np

from lstm_jax.config import RunConfig
from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.text import encode_text
from lstm_jax.errors import InputError, warn
from lstm_jax.lm.choice import Choice, choose_here, leaves_open
from lstm_jax.lm.config import DataConfig, TrainConfig, check
from lstm_jax.lm.run import Begun, begin_run, continue_run, refuse_changes
from lstm_jax.lm.run_directory import RunDirectory, open_run, refuse_links
from lstm_jax.lm.sizing import fit_to
from lstm_jax.lm.task import Setup, set_up
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.language import with_more_symbols
from lstm_jax.report.progress import Progress
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.tensorboard import require_tensorboard
from lstm_jax.training.trainer import Trained, train_model


def fit_text(
    text: str | bytes,
    config: TrainConfig | None = None,
    *,
    max_seconds: float | None = None,
    start: TextModel | None = None,
    callbacks: Sequence[Callback] = (),
    show: bool | None = None,
) -> TextModel:
    """Train a language model on a text.

    Args:
        text: what to learn; bytes where the vocabulary is one of bytes.
        config: the settings. With a `run_dir` the run is kept there, as that of the
            command is: settings, text, history, checkpoints, `curves.png`; `resume`
            continues it and `overwrite` replaces it.
        max_seconds: how long to train at most, instead of settings: from 15 seconds on
            these are chosen for the text, the time and this machine, whose speed is
            measured first. A short text may be known before the time is over.
        start: a model to go on from (fine-tuning): its network and vocabulary are
            taken, the latter with the characters that it lacks.
        callbacks: are told of every line of history, and may end the run.
        show: print how far it is; None: where somebody looks on, in a notebook, an
            interactive session or a terminal.

    Returns:
        The best model by validation loss. Its `history` has what was measured.

    Raises:
        InputError: the text is too short, a setting makes no sense, or the folder is
            no place for a run.
    """
    choose = None
    if max_seconds is not None:
        if config or start:
            raise InputError("max_seconds: expected no settings beside it, found some")
        config = _open(text, max_seconds)
        choose = functools.partial(_chosen, config) if leaves_open(config) else None
    config = config or TrainConfig()
    if start:
        config = _tuned(config, start.config)
    check(config)
    if not isinstance(text, str) and config.text.vocab != "byte":
        raise InputError(f"text: expected a str, found {type(text).__name__}")
    if config.cluster.coordinator is not None:
        raise InputError("--coordinator: expected none, for fit_text is one process")
    if config.run.run_dir is None and (config.run.resume or config.run.tensorboard):
        flag = "--resume" if config.run.resume else "--tensorboard"
        raise InputError(f"{flag}: expected --run-dir, found none")
    if config.run.tensorboard:
        require_tensorboard()
    own = dataclasses.replace(config.text, data=())
    config = dataclasses.replace(config, text=own)
    with contextlib.ExitStack() as held:
        if config.run.resume:
            begun = _go_on(config, held, text)
        else:
            known = start.vocab if start else None
            hint = "overwrite=True replaces it"
            begun = begin_run(config, held, text, known, hint, choose)
        vocab, run = begun.vocab, begun.run
        model = with_more_symbols(start.model, len(vocab), UNKNOWN) if start else None
        setup = set_up(begun.config, begun.corpus, vocab, model)
        shown = _somebody_looks_on() if show is None else show
        items = setup.task.items
        progress = [Progress(setup.schedule, items)] if shown else []
        trained = train_text(
            setup,
            run,
            callbacks=[*callbacks, *progress],
            spent=begun.choice.seconds,
        )
        if run:
            _try_to_draw(run, config.text.vocab)
    return TextModel(begun.config, vocab, trained.model, tuple(trained.history))


def _open(text: str | bytes, max_seconds: float) -> TrainConfig:
    """Settings in which all but the time is to be chosen."""
    vocab = "char" if isinstance(text, str) else "byte"
    run = RunConfig(max_seconds=max_seconds)
    return TrainConfig(text=DataConfig(vocab=vocab), run=run)


def _chosen(
    asked: TrainConfig, symbols: int, vocab_size: int
) -> tuple[TrainConfig, Choice]:
    """What is chosen for this machine."""
    found, seconds = choose_here(asked, symbols, vocab_size)
    fitted = fit_to(found.config, symbols - 1)
    return found.config, Choice(found.reasons(fitted), seconds)


def _go_on(config: TrainConfig, held: contextlib.ExitStack, text: str | bytes) -> Begun:
    """Continue the run of the same text and settings in `run_dir`."""
    assert config.run.run_dir, "fit_text has asked for it"
    known = open_run(config.run.run_dir)
    kept = known.config()
    corpus, _ = encode_text(
        *(text, kept.text.vocab, kept.text.validation_fraction, kept.text.vocab_size),
        known.vocab(),
    )
    model = config.model
    if model.hidden is None:
        model = dataclasses.replace(model, hidden=kept.model.hidden)
    if model.dropout is None:
        model = dataclasses.replace(model, dropout=kept.model.dropout)
    asked = fit_to(dataclasses.replace(config, model=model), corpus.train_size - 1)
    same = dataclasses.replace(asked.text, data=kept.text.data)
    refuse_changes(kept, dataclasses.replace(asked, text=same))
    run = config.run
    if run.epochs is None and run.max_seconds is None:  # as long as it was to last
        length = {"epochs": kept.run.epochs, "max_seconds": kept.run.max_seconds}
        run = dataclasses.replace(run, **length)
    begun = continue_run(dataclasses.replace(kept, run=run), held)
    if not np.array_equal(begun.corpus.ids, corpus.ids):
        raise InputError(f"{config.run.run_dir}: expected the text of the run")
    return begun


def _somebody_looks_on() -> bool:
    """Whether this is a notebook, an interactive session or a terminal."""
    interactive = hasattr(sys, "ps1") or "ipykernel" in sys.modules
    return interactive or (sys.stdout is not None and sys.stdout.isatty())


def _try_to_draw(run: RunDirectory, vocab: str) -> None:
    """Draw the curves, if there is what draws them."""
    try:
        from lstm_jax.report.curves import draw_curves, unit_of_text
    except ModuleNotFoundError:
        warn("no curves.png: expected matplotlib, found none")
    else:
        draw_curves(run.history.read(), run.path / "curves.png", unit_of_text(vocab))


def _tuned(config: TrainConfig, other: TrainConfig) -> TrainConfig:
    """Settings with the network and the vocabulary of a model."""
    vocab = {"vocab": other.text.vocab, "vocab_size": other.text.vocab_size}
    text = dataclasses.replace(config.text, **vocab)
    return dataclasses.replace(config, text=text, model=other.model)


def train_text(
    setup: Setup,
    run: RunDirectory | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    compiled: CompiledSteps | None = None,
    spent: float = 0.0,
) -> Trained:
    """Train a language model on a corpus.

    Args:
        setup: what the run is made of.
        run: where to keep the run, if anywhere. With `--resume` it goes on from its
            latest good checkpoint; one that was stopped before its first begins anew.
            Of several processes, process 0 alone is given it.
        callbacks: are told of every line of history, and may end the run.
        compiled: those of this loss and optimizer that another run has compiled.
        spent: seconds of its time that a new run has used already.

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
        spent=spent,
    )


class _LongerRun(Callback):
    """Keeps the settings of a resumed run, once there is one: it may last longer."""

    def __init__(self, run: RunDirectory, config: TrainConfig) -> None:
        self._run, self._config = run, config

    def begin(self, history: Sequence[HistoryRow]) -> None:
        """Write them; nothing is changed of a run that could not be resumed."""
        self._run.write_config(self._config, self._run.chosen())
