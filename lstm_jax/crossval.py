"""Cross-validate a character-level LSTM on a text: `python -m lstm_jax.crossval`.

The text is cut into k contiguous blocks. Each block is predicted by a model that was
trained on all the others, vocabulary included, to the end of its run. Printed are the
scores of every fold, their mean and their standard deviation; RUN_DIR gets them all in
crossval.json, and what was predicted for each character in predictions.npz.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax import cli
from lstm_jax.config import OneOrMore, RegularizerConfig, RunConfig, check_bounds
from lstm_jax.data.text import read_text
from lstm_jax.data.tokenizers.characters import Kind
from lstm_jax.errors import InputError
from lstm_jax.lm.claim import Claim, default_folder
from lstm_jax.lm.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    check,
)
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.training.signals import interruptible

if TYPE_CHECKING:
    from lstm_jax.training.cross_validation import CrossValidation

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
class FoldOptions:
    """How to cut the text, and how long to train on every part."""

    data: tuple[Path, ...] = ()
    """Text files, read one after the other; `.gz` is unpacked."""
    vocab: Kind = "char"
    """What a symbol is: a Unicode character or a byte."""
    folds: int = 5
    """Blocks that the text is cut into."""
    seed: int = 0
    """Decides every random draw."""
    seeds: OneOrMore = 1
    """Cross-validate so many times, with the seeds that follow --seed."""
    jointly: bool = False
    """Train all models of equal shapes as one program: faster if they are small."""
    epochs: int | None = None
    """Passes over the training part of a fold. Default: 10, or by --max-seconds."""
    max_seconds: float | None = None
    """Wall-clock budget of each fold in seconds."""
    steps_per_call: int = 16
    """Optimizer steps inside one compiled call."""
    run_dir: Path | None = None
    """Folder for the results. Default: runs/NAME-crossval of the first file."""
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
    options = cli.parse(CrossvalOptions, "crossval", __doc__ or "", argv)
    given, config = options.run, _config(options)
    text = read_text(given.data, given.vocab)
    assert config.run.run_dir, "set by _config"
    claim = Claim(config.run.run_dir, overwrite=given.overwrite, spare=given.data)
    claim.check()

    from lstm_jax.distributed.host import enable_compilation_cache, set_cpu_device_count

    enable_compilation_cache()
    set_cpu_device_count(config.optimizer.batch)
    from lstm_jax.lm.cross_validation import check_folds

    check_folds(text, config, given.folds)
    with claim.held():
        run = RunDirectory(claim.path)
        run.announce()
        _validate(text, given, config, run)


def _validate(
    text: str | bytes, given: FoldOptions, config: TrainConfig, run: RunDirectory
) -> None:
    """Cross-validate, print, keep."""
    from lstm_jax.lm.cross_validation import cross_validate_text
    from lstm_jax.training.cross_validation import fold_table

    seeds = range(given.seed, given.seed + given.seeds)
    results: list[CrossValidation] = []
    with interruptible() as stop:
        # What a seed has given is on the disk before the next one begins.
        for some in [seeds] if given.jointly else [[seed] for seed in seeds]:
            found = cross_validate_text(
                *(text, config, given.folds, some),
                jointly=given.jointly,
                stop=stop,
                log=print,
            )
            if not results:
                run.write_config(config)  # before that nothing was worth keeping
            results += found
            for seed, result in zip(some, found, strict=True):
                print(f"\nseed {seed}\n{fold_table(result, _PRINTED)}")
                result.save(run.path / f"seed-{seed}" if given.seeds > 1 else run.path)
    if len(results) > 1:
        print(f"\nmeans over folds, by seed\n{_by_seed(results)}")
    print(f"\nkept in {run.path}")


def _config(options: CrossvalOptions) -> TrainConfig:
    """The settings of every model, checked."""
    given = options.run
    if not given.data:
        raise InputError("--data: expected a text file, found none")
    check_bounds(given)
    if given.jointly and given.max_seconds is not None:
        raise InputError("--jointly: expected --epochs, found --max-seconds")
    path = default_folder(given.data, "-crossval")
    config = TrainConfig(
        text=DataConfig(given.data, given.vocab, validation_fraction=0.0),
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
