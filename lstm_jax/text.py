"""From a text to a model and its scores: what the commands call, and notebooks too.

`train_text` is the whole walk of a run; `fit_text`, `evaluate_text`, `save` and `load`
are the short way from Python.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from lstm_jax.agree import any_says, first_number, leads, tell
from lstm_jax.bounded import bounded_jit
from lstm_jax.claim import Claim
from lstm_jax.config import TrainConfig, check
from lstm_jax.data import Corpus, encode_text
from lstm_jax.errors import InputError
from lstm_jax.files import Fields, expanded
from lstm_jax.fit import Clock, Line, NotFinite, fit
from lstm_jax.history import out_of_patience
from lstm_jax.keeper import Keeper, open_checkpoints
from lstm_jax.models.language import LanguageModel
from lstm_jax.programs import Programs
from lstm_jax.protocols import all_scores, measure_ids
from lstm_jax.rundir import RunDirectory, open_run
from lstm_jax.sizing import fit_to
from lstm_jax.step import TrainState, init_state
from lstm_jax.task import (
    build_model,
    build_optimizer,
    engine_of,
    first_state,
    plan_of,
    text_task,
)
from lstm_jax.vocab import Vocab


@dataclasses.dataclass(frozen=True)
class TextModel:
    """A trained model with all that is needed to use it."""

    config: TrainConfig
    vocab: Vocab
    model: LanguageModel


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training run leaves.

    `best` is the model of the lowest validation loss, or the last one if nothing was
    held out; `ended` says why the run is over.
    """

    best: TextModel
    best_step: int
    lines: list[Fields]
    clock: Clock
    ended: str


def fit_text(text: str, config: TrainConfig | None = None) -> TextModel:
    """Train a language model on a text.

    Raises:
        InputError: the text is too short, or a setting makes no sense.
    """
    config = config or TrainConfig()
    check(config)
    corpus, vocab = encode_text(
        text, config.text.vocab, config.text.validation_fraction
    )
    config = fit_to(config, corpus.train_size - 1)
    return train_text(config, corpus, vocab).best


def evaluate_text(trained: TextModel, text: str) -> dict[str, dict[str, float]]:
    """All scores of a text by protocol, from the loss to the F1.

    They are those of `protocols.all_scores`. Characters unknown to the vocabulary
    count as one symbol that the model never saw.

    Raises:
        InputError: there is nothing to predict.
    """
    ids = trained.vocab.encode(text)
    if len(ids) < 2:
        raise InputError(f"expected a text of at least 2 characters, found {len(ids)}")
    found = measure_ids(trained.model, ids)
    return {protocol: all_scores(measures) for protocol, measures in found.items()}


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
    first = first_state(trained.config, trained.vocab)
    optimizer = build_optimizer(trained.config)
    state = init_state(trained.model, optimizer, first.carry, first.key)
    with claim.held():
        run = RunDirectory(claim.path)
        run.announce()
        run.start(trained.config, trained.vocab)
        with contextlib.closing(Keeper(run, Clock())) as keeper:
            keeper.finish(state, "finished")


def load(path: Path | str) -> TextModel:
    """The best model of a run directory.

    Where the engine it was trained with can't run, "auto" takes its place.

    Raises:
        InputError: it is no run directory, or a damaged one.
    """
    run = open_run(Path(path))
    config, vocab = _for_this_machine(run.config()), run.vocab()
    like = jax.eval_shape(lambda: build_model(config, vocab))
    with open_checkpoints(run) as checkpoints:
        model = checkpoints.best_model(like)
    return TextModel(config, vocab, model)


def _for_this_machine(config: TrainConfig) -> TrainConfig:
    try:
        engine_of(config)
    except InputError:
        model = dataclasses.replace(config.model, engine="auto")
        return dataclasses.replace(config, model=model)
    return config


def train_text(
    config: TrainConfig,
    corpus: Corpus,
    vocab: Vocab,
    run: RunDirectory | None = None,
    *,
    resume: bool = False,
    on_line: Callable[[Line], None] = lambda line: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a language model on a corpus.

    Args:
        config: the resolved configuration.
        corpus: what to learn from.
        vocab: its vocabulary.
        run: where to keep the run, if anywhere. Of several processes, process 0 alone
            is given it.
        resume: go on from the run's latest good checkpoint; one that was stopped before
            its first begins anew.
        on_line: is handed every line of history.
        interrupted: asked after every compiled call; True ends the run early.

    Raises:
        InputError: there is no time for a step, the run can't be resumed, or the loss
            is no longer a finite number.
    """
    engine_of(config)  # refuses one that can't run here
    clock = Clock()
    keeper = Keeper(run, clock, config.run)
    patience, least = config.run.patience, config.run.min_improvement
    if resume and leads() and keeper.has_begun():
        state = keeper.resume(jax.eval_shape(lambda: first_state(config, vocab)))
    else:
        state = bounded_jit(lambda: first_state(config, vocab))()
        keeper.begin(state)
    if run and resume:
        run.write_config(config)  # it may be a longer run now
    state = tell(state)
    ended = out_of_patience(keeper.lines, patience, least)  # a resumed run may be
    loop = _steps(config, corpus, vocab, keeper, state, clock)
    for state, line in () if ended else loop:
        keeper.keep(state, line)
        on_line(line)
        if any_says(interrupted()):
            ended = "interrupted"
        else:
            ended = out_of_patience(keeper.lines, patience, least)
        if any_says(ended is not None):
            break
    ended = ended or "finished"
    clock.stop()
    keeper.finish(state, ended)
    best = TextModel(config, vocab, keeper.best_model)
    return Outcome(best, keeper.best_step, keeper.lines, clock, ended)


def _steps(
    config: TrainConfig,
    corpus: Corpus,
    vocab: Vocab,
    keeper: Keeper,
    state: TrainState,
    clock: Clock,
) -> Iterator[tuple[TrainState, Line]]:
    """The loop; if it fails, all that was being written is written when it ends."""
    try:
        yield from _attempts(config, corpus, vocab, keeper, state, clock)
    except Exception:
        keeper.close()
        raise


def _attempts(
    config: TrainConfig,
    corpus: Corpus,
    vocab: Vocab,
    keeper: Keeper,
    state: TrainState,
    clock: Clock,
) -> Iterator[tuple[TrainState, Line]]:
    """The loop; with --on-nan backoff, the loop again from the last good state."""
    task, optimizer = text_task(config, corpus), build_optimizer(config)
    plan = plan_of(config, task.steps_per_epoch)
    programs = Programs(task.loss, optimizer)
    while True:
        scale = first_number(keeper.rate_scale)
        try:
            yield from fit(
                task,
                optimizer,
                state,
                dataclasses.replace(plan, peak=plan.peak * scale),
                clock,
                steps_per_call=config.run.steps_per_call,
                evaluations=config.run.evaluations,
                devices=config.run.devices,
                shard_model=config.run.shard_model,
                programs=programs,
            )
            return
        except NotFinite as why:
            if config.run.on_nan == "stop":
                raise
            if leads():
                like = jax.eval_shape(lambda: first_state(config, vocab))
                state = keeper.back_off(like, why)
            else:
                state = bounded_jit(lambda: first_state(config, vocab))()
            state = tell(state)
