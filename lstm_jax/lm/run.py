"""Begin a run or go on with one: its text, its settings, its folder and its lock.

Nothing is written before all was read.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from lstm_jax.config import flag_of
from lstm_jax.data.text import Corpus, encode_files, encode_text, survey_files
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.vocabulary import Vocabulary, symbols_of
from lstm_jax.errors import InputError
from lstm_jax.lm.choice import NO_CHOICE, Choice
from lstm_jax.lm.claim import Claim
from lstm_jax.lm.config import HELLO_WORLD_TEXT, TrainConfig
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.lm.sizing import fit_to
from lstm_jax.storage.lock import locked

_SHOWN = 20  # new characters in a note


@dataclasses.dataclass(frozen=True)
class Begun:
    """A run that is begun or continued: its final settings, its text, its folder."""

    config: TrainConfig
    corpus: Corpus
    vocab: Vocabulary
    run: RunDirectory | None
    choice: Choice = NO_CHOICE


Begin = Callable[[TrainConfig, contextlib.ExitStack], Begun]
# From the symbols of the training text, and how many distinct ones there are.
Choose = Callable[[int, int], tuple[TrainConfig, Choice]]


def refuse_changes(kept: TrainConfig, asked: TrainConfig) -> None:
    """A resumed run may last longer, but is the same run."""
    for part in ("text", "model", "optimizer", "regularizer"):
        before, after = getattr(kept, part), getattr(asked, part)
        for field in dataclasses.fields(before):
            was, now = getattr(before, field.name), getattr(after, field.name)
            if was != now:
                raise InputError(
                    f"--resume: expected {flag_of(field.name)} as the run has it, "
                    f"{was}, found {now}"
                )
    if kept.from_run != asked.from_run:
        raise InputError(
            f"--resume: expected --from as the run has it, {kept.from_run}, "
            f"found {asked.from_run}"
        )
    if kept.preset != asked.preset:
        raise InputError(
            f"--resume: expected no --preset but that of the run, {kept.preset}, found "
            f"{asked.preset}"
        )
    if kept.run.seed != asked.run.seed:
        raise InputError(
            f"--resume: expected --seed {kept.run.seed}, found {asked.run.seed}"
        )


def begin_run(
    config: TrainConfig,
    held: contextlib.ExitStack,
    given: str | bytes = HELLO_WORLD_TEXT,
    known: Vocabulary | None = None,
    hint: str = "",
    choose: Choose | None = None,
) -> Begun:
    """Read the text and open a new run; nothing is written before all was checked.

    Args:
        config: the settings.
        held: what is to be closed when the run is over.
        given: the text, if there are no files.
        known: the vocabulary of a model that learns from it, if there is one.
        hint: what is said of a folder that has a run; by default the flags.
        choose: settles what was left open, once the text is known.
    """
    text, claim = config.text, _claim(config, hint)
    if claim:
        claim.check()
    if text.data:
        known = open_run(config.from_run).vocab() if config.from_run else None
        survey = survey_files(
            *(text.data, text.vocab, text.validation_fraction, text.vocab_size, known)
        )
        if known and len(survey.vocab) > len(known):
            print(_added(known, survey.vocab))
        size, vocab = survey.train_size, survey.vocab
        config, choice = _settled(config, choose, size, len(vocab))
        fitted = _fitted(config, size)
        run = _open(claim, held)
        assert run, "a run on files has a directory by default"
        corpus = encode_files(text.data, survey, run.corpus_path)
    else:
        corpus, vocab = encode_text(
            *(given, text.vocab, text.validation_fraction, text.vocab_size), known
        )
        config, choice = _settled(config, choose, corpus.train_size, len(vocab))
        fitted = _fitted(config, corpus.train_size)
        run = _open(claim, held)
        if run:
            run.save_corpus(corpus)
    if fitted.optimizer != config.optimizer:
        print(
            f"note: the training text has {corpus.train_size} {symbols_of(vocab)}; "
            f"--batch is now {fitted.optimizer.batch} and --length "
            f"{fitted.optimizer.length}"
        )
    if run:
        if not isinstance(vocab, CharTokenizer):
            run.save_split(corpus)
        run.start(fitted, vocab, choice.reasons)
    return Begun(fitted, corpus, vocab, run, choice)


def _settled(
    config: TrainConfig, choose: Choose | None, symbols: int, vocab_size: int
) -> tuple[TrainConfig, Choice]:
    return choose(symbols, vocab_size) if choose else (config, NO_CHOICE)


def _added(before: Vocabulary, now: Vocabulary) -> str:
    names = now.names()[len(before) :]
    shown = " ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
    return f"note: {len(names)} new characters beside the {len(before)} known: {shown}"


def _claim(config: TrainConfig, hint: str) -> Claim | None:
    """The folder of a new run, if it is to be kept."""
    if config.run.run_dir is None:
        return None
    return Claim(
        config.run.run_dir,
        overwrite=config.run.overwrite,
        spare=(*config.text.data, *filter(None, [config.from_run])),
        hint=hint or "--overwrite replaces it",
        resumes=not hint,  # in words for Python; those of the command are flags
    )


def _fitted(config: TrainConfig, train_size: int) -> TrainConfig:
    """The settings that suit a text of this size, and that this machine can do."""
    fitted = fit_to(config, train_size - 1)
    _prepare_machine(fitted)
    from lstm_jax.lm.task import check_machine

    check_machine(fitted)
    return fitted


def _prepare_machine(config: TrainConfig) -> None:
    """Have JAX see the devices that were asked for: only now is it imported.

    Of several processes each has done so before they met.
    """
    from lstm_jax.distributed.host import keep_freed_memory, set_cpu_device_count

    keep_freed_memory()
    if config.cluster.coordinator is None:
        set_cpu_device_count(config.run.devices)


def _open(claim: Claim | None, held: contextlib.ExitStack) -> RunDirectory | None:
    """The claimed folder, its lock held and its files undone with `held`."""
    if claim is None:
        return None
    held.enter_context(claim.held())
    run = RunDirectory(claim.path)
    run.announce()
    return run


def continue_run(config: TrainConfig, held: contextlib.ExitStack) -> Begun:
    """Open the run that is to be continued."""
    assert config.run.run_dir, "set by _kept_config"
    run = open_run(config.run.run_dir)
    held.enter_context(locked(run.path))
    vocab = run.vocab()
    _prepare_machine(config)
    return Begun(config, run.corpus(config, vocab), vocab, run)


def begin_jointly(
    config: TrainConfig, begin: Begin, held: contextlib.ExitStack
) -> Begun:
    """Process 0 begins; the others then find the text in the run directory."""
    from lstm_jax.distributed.multihost import any_process, is_primary

    begun = begin(config, held) if is_primary() else None
    any_process(False)  # nobody passes before process 0 is here
    if begun:
        return begun
    if config.run.run_dir is None:
        return begin(config, held)  # the built-in corpus, which nobody keeps
    try:
        run = open_run(config.run.run_dir)
    except InputError as error:
        raise InputError(f"{error}; all processes need the same file system") from None
    kept, vocab = run.config(), run.vocab()
    epochs = kept.run.epochs if config.run.epochs is None else config.run.epochs
    fitted = dataclasses.replace(
        config,
        model=kept.model,
        optimizer=kept.optimizer,
        run=dataclasses.replace(config.run, epochs=epochs),
    )
    return Begun(fitted, run.corpus(kept, vocab), vocab, None)
