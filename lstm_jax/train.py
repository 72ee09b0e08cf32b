"""Train a character-level LSTM on a text: `python -m lstm_jax.train`.

Without arguments it learns the built-in corpus "hello world", with a textbook's
settings, and writes it down again; with --run-dir it is kept. The defaults that --help
shows are those for --data.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from lstm_jax import cli
from lstm_jax.errors import InputError
from lstm_jax.lm import recipe
from lstm_jax.lm.choice import Choice, choose_here, leaves_open
from lstm_jax.lm.claim import default_folder
from lstm_jax.lm.config import HELLO_WORLD, TrainConfig, check
from lstm_jax.lm.origin import check_origin, with_origin
from lstm_jax.lm.presets import preset
from lstm_jax.lm.run import (
    Begun,
    Choose,
    begin_jointly,
    begin_run,
    continue_run,
    refuse_changes,
)
from lstm_jax.lm.run_directory import open_run
from lstm_jax.lm.sizing import fit_to
from lstm_jax.report.activities import activity
from lstm_jax.training.callbacks import INTERRUPTED
from lstm_jax.training.signals import interruptible
from lstm_jax.training.tensorboard import require_tensorboard


@dataclasses.dataclass(frozen=True)
class _Given(recipe.Given):
    """The few flags on which the defaults of all others depend."""

    data: tuple[Path, ...] = ()
    run_dir: Path | None = None
    preset: str | None = None
    from_run: Path | None = None
    resume: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, report. Returns the exit code."""
    argv = cli.by_their_new_names(sys.argv[1:] if argv is None else argv)
    config, kept = _configure(argv)
    begin = continue_run
    if not kept:
        begin = functools.partial(begin_run, choose=_chooser(argv, config))
    # The lock of the run directory is held until `held` is closed; a run that fails
    # before its first line of history leaves nothing then.
    with contextlib.ExitStack() as held:
        if config.cluster.coordinator is None:
            with activity("reading the text"):
                begun = begin(config, held)
            return _train(begun)

        from lstm_jax.distributed.host import keep_freed_memory, set_cpu_device_count
        from lstm_jax.distributed.launch import joined

        keep_freed_memory()
        set_cpu_device_count(config.run.devices, config.cluster)
        with joined(config.cluster):
            return _train(begin_jointly(config, begin, held))


def _chooser(argv: Sequence[str], asked: TrainConfig) -> Choose | None:
    """What settles the settings that no flag gives; None where defaults do."""
    if not (asked.text.data and leaves_open(asked)):
        return None
    given = cli.peek(_Given, "train", argv)

    def choose(symbols: int, vocab_size: int) -> tuple[TrainConfig, Choice]:
        found, seconds = choose_here(asked, symbols, vocab_size, given)
        config = cli.parse(TrainConfig, "train", None, argv, found.config)
        check(config)
        fitted = fit_to(config, symbols - 1)
        return config, Choice(found.reasons(fitted), seconds)

    return choose


def _train(begun: Begun) -> int:
    """Train and report."""
    config, run = begun.config, begun.run
    from lstm_jax.distributed.host import enable_compilation_cache

    enable_compilation_cache()
    from lstm_jax.lm.console import Reporter
    from lstm_jax.lm.fine_tuning import starting_model
    from lstm_jax.lm.task import set_up
    from lstm_jax.lm.training import train_text

    start = starting_model(config, begun.vocab)
    setup = set_up(config, begun.corpus, begun.vocab, start)
    reporter = Reporter(setup, begun.choice.reasons)
    with interruptible() as stop, activity("getting ready"):
        callbacks = [*reporter.callbacks(), stop]
        spent = begun.choice.seconds
        outcome = train_text(setup, run, callbacks=callbacks, spent=spent)
    if outcome.ended == INTERRUPTED:
        reporter.interrupted(run)
        return stop.code
    reporter.finish(outcome, run)
    return 0


def _configure(argv: Sequence[str]) -> tuple[TrainConfig, TrainConfig | None]:
    """The settings asked for and, with --resume, those of the run to be continued."""
    given = cli.peek(_Given, "train", argv)
    kept = _kept_config(given)
    own_text = given.data or {"-h", "--help"} & set(argv)
    default = kept or (TrainConfig() if own_text else HELLO_WORLD)
    if not kept and given.preset:
        default = preset(given.preset)
    if not kept and given.from_run:
        default = with_origin(default, given.from_run)
    config = cli.parse(TrainConfig, "train", __doc__ or "", argv, default)
    if kept:
        refuse_changes(kept, config)
    check(config)
    if not kept:
        check_origin(config)
        _check_samples(config)
    if config.preset and not config.text.data:
        raise InputError("--preset: expected --data, found none")
    path = config.run.run_dir or _default_run_dir(config.text.data)
    if config.run.tensorboard:
        require_tensorboard()
        if path is None:
            raise InputError("--tensorboard: expected --run-dir, found none")
    if path is not None:
        cli.require_package("matplotlib", "curves.png")
    run = dataclasses.replace(config.run, run_dir=path)
    return dataclasses.replace(config, run=run), kept


def _check_samples(config: TrainConfig) -> None:
    """Refuse samples of a run that has no validations for them to follow."""
    validated = config.run.evaluations and config.text.validation_fraction
    if config.sample_every and not validated:
        raise InputError("--sample-every: expected --evaluations and a held-out text")


def _kept_config(given: _Given) -> TrainConfig | None:
    """With --resume, the settings of the run that is to be continued."""
    path = given.run_dir or _default_run_dir(given.data)
    if not given.resume:
        return None
    if path is None:
        raise InputError("--resume: expected --run-dir, found none")
    config = open_run(path).config()
    return dataclasses.replace(
        config, run=dataclasses.replace(config.run, run_dir=path, overwrite=False)
    )


def _default_run_dir(data: Sequence[Path]) -> Path | None:
    return default_folder(data) if data else None


if __name__ == "__main__":
    cli.run_command(main)
