"""What the applications' commands share: learn, evaluate, predict."""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lstm_jax
from experiments.runs import RunOptions, kept_options, refuse_changes
from lstm_jax import InputError
from lstm_jax.cli import parse, peek, require_package

_NOT_SHOWN = ("run_dir", "overwrite", "resume", "tensorboard")
Verb = tuple[type[Any], Callable[[Any], int | None]]  # options, and what they are for
Command = Callable[[Sequence[str]], int | None]  # of the words after its name


def run_experiment(
    name: str,
    description: str | None,
    argv: Sequence[str] | None,
    *,
    learn: Verb,
    **verbs: Verb | Command,
) -> int | None:
    """Do what the command line of an experiment asks for.

    Args:
        name: the command is `python -m experiments.NAME`.
        description: its first paragraph is shown by --help.
        argv: what stands behind it; None for the process's own.
        learn: done unless the first word is one of the others; options and a function
            of them. With --resume the options are those of the run, which the command
            line may not change.
        verbs: done if the first word is theirs, with the words after it; those that
            have `RunOptions` go on with --resume as `learn` does. A command with verbs
            of its own is a function of those words.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    about = [(description or "").split("\n\n")[0], "Other commands:"]
    about += [f"    python -m experiments.{name} {verb} --help" for verb in verbs]
    text = "\n\n".join(about)
    kind, work = learn
    if words and words[0] in verbs:
        verb = verbs[words[0]]
        if not isinstance(verb, tuple):
            return verb(words[1:])
        kind, work = verb
        text = inspect.cleandoc(kind.__doc__ or "").split("\n\nArgs:")[0]
        name, words = f"{name} {words[0]}", words[1:]
    kept = _kept(kind, name, words) if issubclass(kind, RunOptions) else None
    options = parse(kind, name, text, words, kept, package="experiments")
    if kept is None and getattr(options, "smoke", False):
        options = _beside(options, peek(_Where, name, words, package="experiments"))
    if isinstance(options, RunOptions) and options.fetch:
        options = _with_fetched(name, options, kept is not None)
    if kept is not None:
        refuse_changes(kept, options)
    if getattr(options, "smoke", False):
        for flag in ("data", "validation", "test"):
            given = getattr(options, flag, None)
            if given and isinstance(given, Path | tuple):  # files
                raise InputError(f"--smoke: expected no --{flag} beside it, found some")
    if isinstance(options, RunOptions):
        require_package("matplotlib", "the pictures of a run")
    if name.endswith(" evaluate"):  # what is printed may be read by a program
        with lstm_jax.report.activity("evaluating", None):
            return work(options)
    return work(options)


def _with_fetched(name: str, options: RunOptions, resumed: bool) -> RunOptions:
    """The options with the benchmark's data, which are fetched unless they are there.

    A run that is resumed has its data.

    Raises:
        InputError: other data are named, too; or see `fetch`.
    """
    from experiments.fetch import fetch_for

    if resumed:
        return dataclasses.replace(options, fetch=False)
    given: dict[str, Any] = {"data": getattr(options, "data", None), "smoke": False}
    given["smoke"] = getattr(options, "smoke", False)
    for flag, value in given.items():
        if value:
            raise InputError(f"--fetch: expected no --{flag} beside it")
    paths = tuple(fetch_for(name))
    several = isinstance(given["data"], tuple)
    changes: dict[str, Any] = {"data": paths if several else paths[0], "fetch": False}
    return dataclasses.replace(options, **changes)


@dataclasses.dataclass(frozen=True)
class _Where:
    """What the other defaults of a resumed run depend on."""

    run_dir: Path | None = None
    resume: bool = False
    smoke: bool = False


def _beside(options: Any, where: _Where) -> Any:  # noqa: ANN401
    """A trial run's options: without --run-dir it is not where the real run will be."""
    if where.run_dir is not None:
        return options
    run = dataclasses.replace(options.run, run_dir=_trial(options.run.run_dir))
    return dataclasses.replace(options, run=run)


def _trial(run_dir: Path) -> Path:
    return run_dir.with_name(f"{run_dir.name}-smoke")


def _kept(kind: type[Any], name: str, words: Sequence[str]) -> Any:  # noqa: ANN401
    """With --resume, the options of the run that is to be continued."""
    where = peek(_Where, name, words, package="experiments")
    if not where.resume:
        return None
    usual = kind().run.run_dir
    trial = where.smoke or (not usual.exists() and _trial(usual).exists())
    run_dir = where.run_dir or (_trial(usual) if trial else usual)
    kept = kept_options(kind, name, run_dir)
    return dataclasses.replace(kept, run=dataclasses.replace(kept.run, run_dir=run_dir))


def keep_inputs(out: Path, read: Iterable[str | Path]) -> None:
    """Refuse to write over a file that is read.

    Args:
        out: what is to be written.
        read: names of files, and words that may be none.

    Raises:
        InputError: naming `--out`.
    """
    for name in read:
        try:
            same = os.path.samefile(out, name)
        except (
            OSError,
            ValueError,
        ):  # one is no file; a text rarely is the name of one
            continue
        if same:
            raise InputError(f"--out: expected another file than {name}, an input")


def command_line(name: str, options: object) -> str:
    """The command of an experiment: what differs from its defaults, no folders.

    Args:
        name: as in `run_experiment`.
        options: a dataclass of flags, every one with a default. `smoke` stands for all
            that it brings with it, and a path for its last part.
    """
    words = [f"python -m experiments.{name}"]
    given, usual = flags_of(options), flags_of(type(options)())
    if given.get("smoke"):
        return f"{words[0]} --smoke"
    # First what the application is about, and then how long it ran.
    shared = flags_of(RunOptions())
    for flag, value in sorted(given.items(), key=lambda item: item[0] in shared):
        if value != usual[flag] and flag not in _NOT_SHOWN:
            words += [f"--{flag.replace('_', '-')}", *_words(value)]
    return " ".join(words)


def flags_of(options: object) -> dict[str, object]:
    """All fields of a dataclass by name, those of its parts among them."""
    found: dict[str, object] = {}
    for name, value in vars(options).items():
        found |= flags_of(value) if dataclasses.is_dataclass(value) else {name: value}
    return found


def _words(value: object) -> list[str]:
    if isinstance(value, tuple):
        return [word for each in value for word in _words(each)]
    if isinstance(value, Path):
        return [value.name]
    if isinstance(value, float):
        return [f"{value:.9g}"]
    return [] if value is True else [str(value)]
