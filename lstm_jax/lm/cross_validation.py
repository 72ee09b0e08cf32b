"""Cross-validation of a text: contiguous blocks, each predicted by who never saw it."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lstm_jax.data.folds import Indices, block_folds
from lstm_jax.data.special_ids import NO_PREDICTION, UNKNOWN
from lstm_jax.data.text import encode_text
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.vocabulary import TextSize, Vocabulary
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.crossval_plan import CrossvalPlan, keep_plan, sha256_of_text
from lstm_jax.lm.evaluation import all_scores, stream_symbols, window_measures
from lstm_jax.lm.joint_training import Job, remove_joint_states, train_jointly
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.sizing import DEFAULT_EPOCHS, fit_to
from lstm_jax.lm.task import build_optimizer, check_machine, loss_of, set_up
from lstm_jax.lm.training import train_text
from lstm_jax.metrics.classification import ClassificationSums
from lstm_jax.models.language import LanguageModel
from lstm_jax.report.activities import activity
from lstm_jax.report.progress import Progress
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.cross_validation import (
    CrossValidation,
    FoldOutcome,
    cross_validate,
    fold_folder,
)
from lstm_jax.training.signals import Stop

_GOES_ON = "--resume goes on with what is being trained"
_FEWEST = 2  # symbols of a block: the first is read, the second predicted


def cross_validate_text(
    text: str | bytes,
    config: TrainConfig,
    folds: int,
    seeds: Sequence[int] = (0,),
    *,
    jointly: bool = False,
    folder: Path | None = None,
    stop: Stop | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> list[CrossValidation]:
    """Cut a text into blocks; train on all but one, test on that one; for every block.

    The vocabulary is that of the training part: symbols that only the block has count
    as one that was never seen. Every model is trained to the end of its run, since a
    choice by the test block would be no test.

    Args:
        text: characters, or bytes if the vocabulary is of bytes.
        config: of every model; nothing of a training part is held out.
        folds: k, the number of blocks.
        seeds: cross-validate once for each.
        jointly: train all models of equal shapes as one program.
        folder: where to keep the outcome of every fold and the state of what is being
            trained. Called with it once more, whatever ended the first call, this goes
            on bit for bit.
        stop: ends it early when asked to.
        log: is handed a line of text now and then.

    Returns:
        For every seed the folds' `evaluation.all_scores`, named `stream_loss`,
        `window256_loss` and so on; and for every symbol of the text, as `predicted`,
        the code point or byte that was thought likeliest and, as `nats`, -ln p of what
        came, both of the stream protocol.

    Raises:
        InputError: the text is too short for so many folds, what is in the folder was
            begun with another text or other settings, or what training raises.
        Interrupted: `stop` was asked to. What was said of the folds before stands.
    """
    given = text, config, folds, seeds
    return list(
        cross_validations(*given, jointly=jointly, folder=folder, stop=stop, log=log)
    )


def cross_validations(
    text: str | bytes,
    config: TrainConfig,
    folds: int,
    seeds: Sequence[int] = (0,),
    *,
    jointly: bool = False,
    folder: Path | None = None,
    stop: Stop | None = None,
    log: Callable[[str], None] = lambda text: None,
) -> Iterator[CrossValidation]:
    """Do as `cross_validate_text`, and hand over each seed's as soon as it is there.

    Everything is checked, and the plan is in the folder, before this returns.
    """
    check_folds(text, config, folds)
    runs = [_configured(config, seed, folder) for seed in seeds]
    if folder:
        text_sha256 = sha256_of_text(text)
        plan = CrossvalPlan(runs[0], folds, tuple(seeds), jointly, text_sha256)
        keep_plan(folder, plan)
    stop = stop or Stop()
    if jointly:
        return _all_at_once(text, runs, folds, folder, stop, log)
    return (_one_by_one(text, run, folds, folder, stop, log) for run in runs)


def check_folds(text: str | bytes, config: TrainConfig, folds: int) -> None:
    """Refuse a cross-validation that can't be done, before anything is computed.

    Raises:
        InputError: the text is too short for so many folds, there are too few of them,
            or this machine can't train such a model.
    """
    if len(text) < _FEWEST * folds:
        raise InputError(
            f"--folds: expected blocks of at least {_FEWEST} symbols, found {folds} "
            f"folds of a text of {len(text)}"
        )
    fold = block_folds(len(text), folds)[0]
    check_machine(_fitted(config, len(fold.train) - 1))


def fold_job(text: str | bytes, test: Indices, config: TrainConfig) -> Job:
    """What is trained where a block is held out: nothing here has seen the block."""
    start, end = int(test[0]), int(test[-1]) + 1
    before, after = text[:start], text[end:]
    rest = before + after  # pyrefly: ignore[unsupported-operation]
    corpus, vocab = encode_text(rest, config.text.vocab, 0.0, config.text.vocab_size)
    if not isinstance(vocab, CharTokenizer):  # no symbol is cut in two by the seam
        parts = vocab.encode(before), vocab.encode(after)
        start, ids = len(parts[0]), np.concatenate(parts)
        corpus = dataclasses.replace(corpus, ids=ids, train_size=len(ids))
    if before and after:
        corpus = dataclasses.replace(corpus, seam=start)
    return Job(_fitted(config, corpus.train_size - 1), corpus, vocab)


def _fitted(config: TrainConfig, transitions: int) -> TrainConfig:
    """The settings for a fold. All folds are read as often, however long they are."""
    run = config.run
    if run.epochs is None and run.max_seconds is None:
        run = dataclasses.replace(run, epochs=DEFAULT_EPOCHS)
    return fit_to(dataclasses.replace(config, run=run), transitions)


def _configured(config: TrainConfig, seed: int, folder: Path | None) -> TrainConfig:
    run = {"seed": seed, "evaluations": 0, "patience": None, "resume": bool(folder)}
    return dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, validation_fraction=0.0),
        run=dataclasses.replace(config.run, **run),
    )


def _one_by_one(
    text: str | bytes,
    config: TrainConfig,
    folds: int,
    folder: Path | None,
    stop: Stop,
    log: Callable[[str], None],
) -> CrossValidation:
    compiled = CompiledSteps(loss_of(config), build_optimizer(config))
    kept = _kept(folder, config)

    def fit_and_predict(train: Indices, test: Indices, fold: int) -> FoldOutcome:
        job = fold_job(text, test, config)
        setup = set_up(job.config, job.corpus, job.vocab)
        run = RunDirectory(fold_folder(kept, fold)) if kept else None
        if run:
            run.path.mkdir(parents=True, exist_ok=True)
        name = f"seed {config.run.seed}, fold {fold + 1} of {folds}"
        progress = Progress(setup.schedule, log=log, lines=False, name=name)
        trained = train_text(setup, run, callbacks=[progress, stop], compiled=compiled)
        stop.check(
            f"fold {fold + 1} of {folds} is not finished; "
            + (_GOES_ON if kept else "of those before there is what was printed")
        )
        with activity(f"{name}: testing", log):
            outcome = _tested(trained.model, job.vocab, text, test)
        seconds = trained.timer.seconds()
        log(_summary(config, fold, folds, outcome) + f", trained in {seconds:.1f} s")
        return outcome

    return cross_validate(fit_and_predict, block_folds(len(text), folds), kept)


def _all_at_once(
    text: str | bytes,
    configs: Sequence[TrainConfig],
    folds: int,
    folder: Path | None,
    stop: Stop,
    log: Callable[[str], None],
) -> Iterator[CrossValidation]:
    blocks = block_folds(len(text), folds)
    jobs = [fold_job(text, block.test, run) for run in configs for block in blocks]

    @functools.cache
    def models() -> list[LanguageModel]:
        started = time.perf_counter()
        found = train_jointly(jobs, [stop], folder, log)
        stop.check(
            "no fold is finished, since they train together; "
            + (_GOES_ON if folder else "nothing was kept")
        )
        seconds = time.perf_counter() - started
        log(f"{len(jobs)} models trained jointly in {seconds:.1f} s")
        return found

    for n, run in enumerate(configs):

        def predict(
            train: Indices,
            test: Indices,
            fold: int,
            run: TrainConfig = run,
            first: int = n * folds,
        ) -> FoldOutcome:
            place = first + fold
            model = models()[place]
            with activity("testing", log):
                outcome = _tested(model, jobs[place].vocab, text, test)
            log(_summary(run, fold, folds, outcome))
            return outcome

        yield cross_validate(predict, blocks, _kept(folder, run))
    if folder:
        remove_joint_states(folder)


def _kept(folder: Path | None, config: TrainConfig) -> Path | None:
    """Where the folds of a seed are kept."""
    return folder / f"seed-{config.run.seed}" if folder else None


def _tested(
    model: LanguageModel, vocab: Vocabulary, text: str | bytes, test: Indices
) -> FoldOutcome:
    """The scores of a block, and what was predicted for each symbol of it.

    Where symbols are no characters or bytes, there are no rows to predict for.
    """
    ids = vocab.encode(text[int(test[0]) : int(test[-1]) + 1])
    whole, predicted, nats = stream_symbols(model, ids)
    cut = window_measures(model, ids)
    predictions, size = {}, vocab.size_of(ids[1:])
    if isinstance(vocab, CharTokenizer):
        predictions = {
            "predicted": np.append(NO_PREDICTION, _codes(vocab)[predicted]),
            "nats": np.append(np.float32(np.nan), nats),
        }
    return FoldOutcome(
        {**_named("window256", cut, size), **_named("stream", whole, size)},
        predictions,
    )


def _named(
    protocol: str, found: ClassificationSums, size: TextSize
) -> dict[str, float]:
    scores = all_scores(found, size)
    return {f"{protocol}_{name}": value for name, value in scores.items()}


def _codes(vocab: CharTokenizer) -> np.ndarray:
    """The code point or byte of every id; U+FFFD for what was never seen."""
    if vocab.kind == "byte":
        return np.arange(len(vocab), dtype=np.int32)
    codes = [ord(character) for character in vocab.characters]
    return np.insert(np.array(codes, np.int32), UNKNOWN, 0xFFFD)


def _summary(config: TrainConfig, fold: int, folds: int, outcome: FoldOutcome) -> str:
    bits = outcome.metrics["stream_bits_per_char"]
    return (
        f"seed {config.run.seed}, fold {fold + 1} of {folds}: "
        f"stream {bits:.4f} bits per character"
    )
