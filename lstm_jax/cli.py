"""What the commands share: flags from dataclasses, and errors in one line."""

import dataclasses
import functools
import io
import itertools
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from lstm_jax.command_line import flags_of, joined, refuse_strangers
from lstm_jax.config import expanded, flag_of
from lstm_jax.errors import InputError, Interrupted, warn

Options = TypeVar("Options")
_STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
# Flags by the names they had before, which scripts may still use for a release.
_FORMER = {"--average": "--ema", "--together": "--jointly"}
_POSITIONAL = typing.get_args(tyro.conf.Positional[int])[1]
RunDir = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]


def parse(
    kind: type[Options],
    command: str,
    description: str | None,
    argv: Sequence[str] | None,
    default: Options | None = None,
    package: str = "lstm_jax",
) -> Options:
    """The options on the command line; a mistake or --help ends the process.

    A ~ in a path stands for the home directory.

    Raises:
        InputError: a flag has a few words to choose from, and this is none of them.
    """
    words = _by_their_new_names(sys.argv[1:] if argv is None else argv)
    flags = flags_of(kind, _POSITIONAL)
    words = joined(flags, words)
    if not {"-h", "--help"} & {*words}:
        refuse_strangers(flags, words)
    _refuse_other_words(kind, words)
    cli = functools.partial(
        tyro.cli,
        kind,
        prog=f"python -m {package}.{command}".removesuffix(".__main__"),
        description=description,
        args=words,
        # A switch that the defaults have on, those of a run to be resumed for one, may
        # be named both ways; else only the one that changes something is shown.
        config=_STYLE if default is None else _STYLE[:1],
    )
    return _at_home(cli() if default is None else cli(default=default))


def _by_their_new_names(argv: Sequence[str], quietly: bool = False) -> list[str]:
    """Replace flags that are called otherwise now, and say so."""
    words = list(argv)
    for k, word in enumerate(words):
        name, *value = word.split("=", 1)
        if name in _FORMER:
            if not quietly:
                warn(f"{name} is now called {_FORMER[name]}")
            words[k] = "=".join([_FORMER[name], *value])
    return words


def _refuse_other_words(kind: type, words: Sequence[str]) -> None:
    """Refuse the first word that is none of those its flag takes."""
    choices = _choices(kind)
    for k, word in enumerate(words):
        flag, *given = word.split("=", 1)
        flag = flag.replace("_", "-")
        if flag not in choices:
            continue
        known, several = choices[flag]
        rest = itertools.takewhile(lambda word: word[:1] != "-", words[k + 1 :])
        values = given or (list(rest) if several else words[k + 1 : k + 2])
        for value in values:
            if value not in (*known, "None") and value[:1] != "-":
                raise InputError(
                    f"{flag}: expected one of {', '.join(known)}, found {value}"
                )


def _choices(kind: type) -> dict[str, tuple[tuple[str, ...], bool]]:
    """The flags that take one of a few words: these, and whether several of them."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            found |= _choices(hint)
            continue
        parts = {hint}
        if typing.get_origin(hint) in (tuple, types.UnionType, typing.Union):
            parts = set(typing.get_args(hint)) - {types.NoneType, ...}
        if len(parts) == 1 and typing.get_origin(part := parts.pop()) is typing.Literal:
            several = typing.get_origin(hint) is tuple
            found[flag_of(name)] = typing.get_args(part), several
    return found


def peek(
    kind: type[Options], command: str, argv: Sequence[str], package: str = "lstm_jax"
) -> Options:
    """Read the few options on which the defaults of all others depend.

    Whatever else is on the command line is left to `parse`, --help too.
    """
    found, _ = tyro.cli(
        kind,
        prog=f"python -m {package}.{command}",
        args=joined(
            flags_of(kind, _POSITIONAL), _by_their_new_names(argv, quietly=True)
        ),
        config=_STYLE,
        add_help=False,
        return_unknown_args=True,
    )
    return _at_home(found)


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
        # Once more, while Python cleans up, is no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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
