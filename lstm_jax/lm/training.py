"""Training a language model on a text: a run from its first step to its best model."""

import dataclasses
from collections.abc import Callable, Iterator

import jax

from lstm_jax.data.text import Corpus, encode_text
from lstm_jax.data.tokenizers.characters import Vocab
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.distributed.multihost import any_says, first_number, leads, tell
from lstm_jax.lm.config import TrainConfig, check
from lstm_jax.lm.run_directory import RunDirectory, refuse_links
from lstm_jax.lm.sizing import fit_to
from lstm_jax.lm.task import (
    build_optimizer,
    engine_of,
    first_state,
    plan_of,
    text_task,
)
from lstm_jax.lm.text_model import TextModel
from lstm_jax.storage.files import Fields
from lstm_jax.training.compiled import Programs
from lstm_jax.training.history import Line, out_of_patience
from lstm_jax.training.loop import Clock, NotFinite, fit
from lstm_jax.training.recorder import CheckpointPolicy, Keeper
from lstm_jax.training.step import TrainState


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
    saving = CheckpointPolicy(
        config.run.checkpoint_seconds, config.run.checkpoint_steps
    )
    if run:
        refuse_links(run)
    folder = run.path if run else None
    keeper = Keeper(folder, clock, saving, tensorboard=config.run.tensorboard)
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
