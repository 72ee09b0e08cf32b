"""What the commands share: flags from dataclasses, and errors in one line."""

import dataclasses
import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from lstm_jax.errors import InputError
from lstm_jax.files import expanded
from lstm_jax.signals import Interrupted

Options = TypeVar("Options")
Verb = tuple[type[Any], Callable[[Any], int | None]]  # options, and what they are for
RunDir = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]


def parse(
    kind: type[Options],
    command: str,
    description: str,
    argv: Sequence[str] | None,
    default: Options | None = None,
    package: str = "lstm_jax",
) -> Options:
    """The options on the command line; a mistake or --help ends the process.

    A ~ in a path stands for the home directory.
    """
    cli = functools.partial(
        tyro.cli,
        kind,
        prog=f"python -m {package}.{command}",
        description=description,
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    return _at_home(cli() if default is None else cli(default=default))


def _at_home(value: Any) -> Any:  # noqa: ANN401
    """Options, or a part of them, with every path as it is meant."""
    if isinstance(value, Path):
        return expanded(value)
    if isinstance(value, tuple):
        return tuple(map(_at_home, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name for field in dataclasses.fields(value) if field.init}
        parts = {name: _at_home(getattr(value, name)) for name in fields}
        return dataclasses.replace(value, **parts)
    return value


def run_experiment(
    name: str,
    description: str | None,
    argv: Sequence[str] | None,
    *,
    learn: Verb,
    predict: Verb,
) -> int | None:
    """Do what the command line of an experiment asks for.

    Args:
        name: the command is `python -m experiments.NAME`.
        description: its first paragraph is shown by --help.
        argv: what stands behind it; None for the process's own.
        learn: done unless the first word is `predict`; options and a function of them.
        predict: done if it is, with the words after it.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    about = (description or "").split("\n\n")[0]
    about += f"\n\nWith your own input: python -m experiments.{name} predict --help"
    kind, work = learn
    if words[:1] == ["predict"]:
        name, words = f"{name} predict", words[1:]
        kind, work = predict
    return work(parse(kind, name, about, words, package="experiments"))


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
    for flag, value in given.items():
        if value != usual[flag] and flag not in ("run_dir", "overwrite"):
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


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit: 0, or 2 with one line if the user's input is wrong.

    A command that was asked to stop says in one line what it kept, and exits with 130
    or 143.
    """
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            # By line also into a file: who watches it sees a run go on.
            output.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        code = command() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except Interrupted as stopped:
        print(stopped)
        code = stopped.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # What is still in a buffer goes nowhere: Python flushes once more at its end.
        with open(os.devnull, "w") as nowhere:
            for output in (sys.stdout, sys.stderr):
                os.dup2(nowhere.fileno(), output.fileno())
        code = 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
