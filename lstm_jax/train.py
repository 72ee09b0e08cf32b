"""Train a character-level LSTM on a text: `python -m lstm_jax.train`.

Without arguments it learns the built-in corpus "hello world", with a textbook's
settings, and writes it down again. The defaults that --help shows are those for --data.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lstm_jax import cli
from lstm_jax.board import require_tensorboard
from lstm_jax.claim import Claim, default_folder
from lstm_jax.config import HELLO_WORLD, HELLO_WORLD_TEXT, TrainConfig, check
from lstm_jax.data import Corpus, encode_files, encode_text, survey_files
from lstm_jax.errors import InputError
from lstm_jax.files import expanded
from lstm_jax.lock import locked
from lstm_jax.presets import preset
from lstm_jax.rundir import RunDirectory, open_run
from lstm_jax.signals import interruptible
from lstm_jax.sizing import fit_to, step_operations
from lstm_jax.vocab import Vocab

Begun = tuple[TrainConfig, Corpus, Vocab, RunDirectory | None]
Begin = Callable[[TrainConfig, contextlib.ExitStack], Begun]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, report. Returns the exit code."""
    config, kept = _configure(sys.argv[1:] if argv is None else argv)
    begin = _continue if kept else _begin
    # The lock of the run directory is held until `held` is closed; a run that fails
    # before its first line of history leaves nothing then.
    with contextlib.ExitStack() as held:
        if config.cluster.coordinator is None:
            return _train(*begin(config, held))

        from lstm_jax.devices import show_cores
        from lstm_jax.processes import joined

        show_cores(config.optimizer.batch, config.run.devices, config.cluster)
        with joined(config.cluster):
            return _train(*_begin_together(config, begin, held))


def _train(
    config: TrainConfig, corpus: Corpus, vocab: Vocab, run: RunDirectory | None
) -> int:
    """Train and report."""
    from lstm_jax.devices import keep_programs

    keep_programs()
    from lstm_jax.report import Reporter
    from lstm_jax.text import train_text

    reporter = Reporter(config, corpus)
    with interruptible() as stop:
        outcome = train_text(
            config,
            corpus,
            vocab,
            run,
            resume=config.run.resume,
            on_line=reporter.line,
            interrupted=stop,
        )
    if outcome.ended == "interrupted":
        reporter.interrupted(run)
        return stop.code
    reporter.finish(outcome, run)
    return 0


def _configure(argv: Sequence[str]) -> tuple[TrainConfig, TrainConfig | None]:
    """The settings asked for and, with --resume, those of the run to be continued."""
    kept = _kept_config(argv)
    own_text = _peek(argv).data or {"-h", "--help"} & set(argv)
    default = kept or (TrainConfig() if own_text else HELLO_WORLD)
    if not kept and (name := _peek(argv).preset):
        default = preset(name)
    config = cli.parse(TrainConfig, "train", __doc__ or "", argv, default)
    check(config)
    if config.run.preset and not config.text.data:
        raise InputError("--preset: expected --data, found none")
    if kept:
        _refuse_changes(kept, config)
    path = config.run.run_dir or _default_run_dir(config.text.data)
    if config.run.tensorboard:
        require_tensorboard()
        if path is None:
            raise InputError("--tensorboard: expected --run-dir, found none")
    run = dataclasses.replace(config.run, run_dir=path)
    return dataclasses.replace(config, run=run), kept


def _peek(argv: Sequence[str]) -> argparse.Namespace:
    """The few flags on which the defaults of all others depend."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data", nargs="*", type=Path, default=[])
    parser.add_argument("--run-dir", "--run_dir", type=Path)
    parser.add_argument("--preset")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_known_args(argv)[0]
    given.data = list(map(expanded, given.data))
    given.run_dir = given.run_dir and expanded(given.run_dir)
    return given


def _kept_config(argv: Sequence[str]) -> TrainConfig | None:
    """With --resume, the settings of the run that is to be continued."""
    given = _peek(argv)
    path = given.run_dir or _default_run_dir(given.data)
    if not given.resume:
        return None
    if path is None:
        raise InputError("--resume: expected --run-dir, found none")
    config = open_run(path).config()
    return dataclasses.replace(
        config, run=dataclasses.replace(config.run, run_dir=path, overwrite=False)
    )


def _refuse_changes(kept: TrainConfig, asked: TrainConfig) -> None:
    """A resumed run may last longer, but is the same run."""
    for part in ("text", "model", "optimizer", "regularizer"):
        before, after = getattr(kept, part), getattr(asked, part)
        for field in dataclasses.fields(before):
            was, now = getattr(before, field.name), getattr(after, field.name)
            if was != now:
                flag = "--" + field.name.replace("_", "-")
                raise InputError(
                    f"--resume: expected {flag} as the run has it, {was}, found {now}"
                )
    if kept.run.seed != asked.run.seed:
        raise InputError(
            f"--resume: expected --seed {kept.run.seed}, found {asked.run.seed}"
        )


def _default_run_dir(data: Sequence[Path]) -> Path | None:
    return default_folder(data) if data else None


def _begin(config: TrainConfig, held: contextlib.ExitStack) -> Begun:
    """Read the text and open a new run; nothing is written before all was checked."""
    text, claim = config.text, _claim(config)
    if claim:
        claim.check()
    if text.data:
        survey = survey_files(text.data, text.vocab, text.validation_fraction)
        fitted = _fitted(config, survey.train_size)
        run = _open(claim, held)
        assert run, "a run on files has a directory by default"
        vocab = survey.vocab
        corpus = encode_files(text.data, survey, run.corpus_path)
    else:
        corpus, vocab = encode_text(
            HELLO_WORLD_TEXT, text.vocab, text.validation_fraction
        )
        fitted = _fitted(config, corpus.train_size)
        run = _open(claim, held)
        if run:
            run.save_corpus(corpus)
    if fitted.optimizer != config.optimizer:
        print(
            f"note: the training text has {corpus.train_size} characters; "
            f"--batch is now {fitted.optimizer.batch} and --length "
            f"{fitted.optimizer.length}"
        )
    if run:
        run.start(fitted, vocab)
    return fitted, corpus, vocab, run


def _claim(config: TrainConfig) -> Claim | None:
    """The folder of a new run, if it is to be kept."""
    if config.run.run_dir is None:
        return None
    return Claim(
        config.run.run_dir,
        overwrite=config.run.overwrite,
        spare=config.text.data,
        resumes=True,
    )


def _fitted(config: TrainConfig, train_size: int) -> TrainConfig:
    """The settings that suit a text of this size, and that this machine can do."""
    fitted = fit_to(config, train_size - 1)
    _show_cores(fitted)
    from lstm_jax.task import check_machine

    check_machine(fitted)
    return fitted


def _show_cores(config: TrainConfig) -> None:
    """Have JAX see as many devices as the batch can use: only now is it imported.

    Of several processes each has done so before they met.
    """
    from lstm_jax.devices import show_cores

    if config.cluster.coordinator is None:
        show_cores(
            config.optimizer.batch,
            config.run.devices,
            operations=step_operations(config),
        )


def _open(claim: Claim | None, held: contextlib.ExitStack) -> RunDirectory | None:
    """The claimed folder, its lock held and its files undone with `held`."""
    if claim is None:
        return None
    held.enter_context(claim.held())
    run = RunDirectory(claim.path)
    run.announce()
    return run


def _continue(config: TrainConfig, held: contextlib.ExitStack) -> Begun:
    """Open the run that is to be continued."""
    assert config.run.run_dir, "set by _kept_config"
    run = open_run(config.run.run_dir)
    held.enter_context(locked(run.path))
    vocab = run.vocab()
    _show_cores(config)
    return config, run.corpus(config, vocab), vocab, run


def _begin_together(
    config: TrainConfig, begin: Begin, held: contextlib.ExitStack
) -> Begun:
    """Process 0 begins; the others then find the text in the run directory."""
    from lstm_jax.agree import any_says, leads

    begun = begin(config, held) if leads() else None
    any_says(False)  # nobody passes before process 0 is here
    if begun:
        return begun
    if config.run.run_dir is None:
        return begin(config, held)  # the built-in corpus, which nobody keeps
    try:
        run = open_run(config.run.run_dir)
    except InputError as error:
        raise InputError(f"{error}; all processes need the same file system") from None
    kept, vocab = run.config(), run.vocab()
    fitted = dataclasses.replace(config, model=kept.model, optimizer=kept.optimizer)
    return fitted, run.corpus(kept, vocab), vocab, None


if __name__ == "__main__":
    cli.run_command(main)
