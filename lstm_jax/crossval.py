"""Cross-validate a character-level LSTM on a text: `python -m lstm_jax.crossval`.

The text is cut into k contiguous blocks. Each block is predicted by a model that was
trained on all the others, vocabulary included, to the end of its run. Printed are the
scores of every fold, their mean and their standard deviation; RUN_DIR gets them all in
crossval.json, and what was predicted for each character in predictions.npz. With
--resume a cross-validation that was stopped goes on in the fold that it was in.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax import cli
from lstm_jax.config import OneOrMore, RegularizerConfig, RunConfig, check_bounds
from lstm_jax.data.text import read_text
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import Claim, default_folder
from lstm_jax.lm.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    check,
)
from lstm_jax.lm.crossval_plan import read_plan
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.storage.lock import locked
from lstm_jax.training.signals import interruptible

if TYPE_CHECKING:
    from lstm_jax.training.cross_validation import CrossValidation

_SUFFIX, _KEPT = "-crossval", "folds"
_PRINTED = {
    f"{protocol}_{name}": label
    for protocol in ("window256", "stream")
    for name, label in (
        ("loss", f"{protocol} nats"),
        ("bits_per_char", "bits/char"),
        ("accuracy", "accuracy"),
    )
}


@dataclasses.dataclass(frozen=True)
class _Given:
    """The few flags on which the defaults of all others depend."""

    data: tuple[Path, ...] = ()
    run_dir: Path | None = None
    resume: bool = False


@dataclasses.dataclass(frozen=True)
class FoldOptions:
    """Data, folds and the training of each."""

    data: tuple[Path, ...] = ()
    """Text files, concatenated; `.gz` and `.xz` are decompressed."""
    vocab: str = "char"
    """Unit of the vocabulary: char (Unicode characters), byte, word, bpe (subwords
    learned by byte-pair encoding), or the path of a Hugging Face tokenizer.json."""
    vocab_size: OneOrMore | None = None
    """Vocabulary size for --vocab word or bpe. Default: 4000 plus the characters."""
    folds: int = 5
    """Number of folds, contiguous blocks of the text."""
    seed: int = 0
    """Random seed."""
    seeds: OneOrMore = 1
    """Number of repetitions, with consecutive seeds from --seed on."""
    jointly: bool = False
    """Train all models of equal shapes as one program: faster for small models."""
    epochs: int | None = None
    """Passes over the training part of a fold. Default: 10, or as many as fit into
    --max-seconds."""
    max_seconds: float | None = None
    """Time budget of each fold in seconds."""
    steps_per_call: int = 16
    """Optimizer steps per compiled call."""
    run_dir: Path | None = None
    """Folder for the results. Default: runs/NAME-crossval, after the first file."""
    resume: bool = False
    """Resume the cross-validation in --run-dir."""
    overwrite: bool = False
    """Replace the run in --run-dir; other files in it stay."""


@dataclasses.dataclass(frozen=True)
class CrossvalOptions:
    """A cross-validation."""

    run: FoldOptions = dataclasses.field(default_factory=FoldOptions)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    regularizer: RegularizerConfig = dataclasses.field(
        default_factory=RegularizerConfig
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, cross-validate, print, keep."""
    words = sys.argv[1:] if argv is None else argv
    begun = _begun(cli.peek(_Given, "crossval", words))
    options = cli.parse(CrossvalOptions, "crossval", __doc__ or "", words, begun)
    given, config = options.run, _config(options)
    text = read_text(given.data, given.vocab)
    path = config.run.run_dir
    assert path, "set by _config"
    resumes = (path / _KEPT).is_dir()
    claim = Claim(path, overwrite=given.overwrite, spare=given.data, resumes=resumes)
    if not given.resume:
        claim.check()

    from lstm_jax.distributed.host import enable_compilation_cache, keep_freed_memory

    enable_compilation_cache()
    keep_freed_memory()
    from lstm_jax.lm.cross_validation import check_folds

    check_folds(text, config, given.folds)
    with locked(path) if given.resume else claim.held():
        run = RunDirectory(path)
        if not given.resume:
            run.announce()
        _validate(text, given, config, run)


def _validate(
    text: str | bytes, given: FoldOptions, config: TrainConfig, run: RunDirectory
) -> None:
    """Cross-validate, print, keep."""
    from lstm_jax.lm.cross_validation import cross_validations
    from lstm_jax.training.cross_validation import fold_table

    seeds = range(given.seed, given.seed + given.seeds)
    results: list[CrossValidation] = []
    with interruptible() as stop:
        found = cross_validations(
            *(text, config, given.folds, seeds),
            jointly=given.jointly,
            folder=run.path / _KEPT,
            stop=stop,
            log=print,
        )
        run.write_config(config)  # from here on there is something to resume
        for seed, result in zip(seeds, found, strict=True):
            print(f"\nseed {seed}\n{fold_table(result, _PRINTED)}")
            result.save(run.path / f"seed-{seed}" if given.seeds > 1 else run.path)
            results.append(result)
    if len(results) > 1:
        print(f"\nmeans over folds, by seed\n{_by_seed(results)}")
    print(f"\nkept in {run.path}")


def _begun(given: _Given) -> CrossvalOptions | None:
    """With --resume, the options of the cross-validation that is to be continued."""
    if not given.resume:
        return None
    path = given.run_dir
    if path is None and given.data:
        path = default_folder(given.data, _SUFFIX)
    if path is None:
        raise InputError("--resume: expected --run-dir, found none")
    plan = read_plan(open_run(path).path / _KEPT)
    config = plan.config
    run = FoldOptions(
        data=config.text.data,
        vocab=config.text.vocab,
        vocab_size=config.text.vocab_size,
        folds=plan.folds,
        seed=plan.seeds[0],
        seeds=len(plan.seeds),
        jointly=plan.jointly,
        epochs=config.run.epochs,
        max_seconds=config.run.max_seconds,
        steps_per_call=config.run.steps_per_call,
        run_dir=path,
    )
    return CrossvalOptions(run, config.model, config.optimizer, config.regularizer)


def _config(options: CrossvalOptions) -> TrainConfig:
    """The settings of every model, checked."""
    given = options.run
    if not given.data:
        raise InputError("--data: expected a text file, found none")
    check_bounds(given)
    if given.jointly and given.max_seconds is not None:
        raise InputError("--jointly: expected --epochs, found --max-seconds")
    path = default_folder(given.data, _SUFFIX)
    config = TrainConfig(
        text=DataConfig(given.data, given.vocab, given.vocab_size, 0.0),
        model=options.model,
        optimizer=options.optimizer,
        regularizer=options.regularizer,
        run=RunConfig(
            run_dir=given.run_dir or path,
            epochs=given.epochs,
            max_seconds=given.max_seconds,
            seed=given.seed,
            evaluations=0,
            steps_per_call=given.steps_per_call,
            resume=given.resume,
            overwrite=given.overwrite,
        ),
    )
    check(config)
    return config


def _by_seed(results: "Sequence[CrossValidation]") -> str:
    """The seeds as if they were folds: how much is chance."""
    from lstm_jax.data.folds import block_folds
    from lstm_jax.training.cross_validation import FoldOutcome, collect, fold_table

    outcomes = [FoldOutcome(result.mean) for result in results]
    means = collect(outcomes, block_folds(len(results), len(results)))
    return fold_table(means, _PRINTED, "seed")


if __name__ == "__main__":
    cli.run_command(main)
