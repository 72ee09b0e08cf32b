"""What the commands share: flags from dataclasses, and errors in one line."""

import atexit
import contextlib
import dataclasses
import functools
import gc
import importlib.util
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

try:
    import tyro
except ModuleNotFoundError:
    raise SystemExit("error: the commands need tyro: pip install tyro") from None

from lstm_jax.config import expanded
from lstm_jax.errors import InputError, Interrupted, device_trouble, warn
from lstm_jax.usage.flags import SPELLED, flags_of
from lstm_jax.usage.help import help_text
from lstm_jax.usage.mistakes import refuse_mistakes
from lstm_jax.usage.repeats import joined

Options = TypeVar("Options")
# What the library does without, and the commands do not.
_PACKAGES = ("matplotlib", "rich", "scipy")
_STYLE = (tyro.conf.OmitArgPrefixes,)
# Flags by the names they had before, which scripts may still use for a release.
_FORMER = {"--average": "--ema", "--together": "--jointly"}
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
        InputError: there is no such flag, or its value is none that it takes.
    """
    words = by_their_new_names(sys.argv[1:] if argv is None else argv)
    program = f"python -m {package}.{command}".removesuffix(".__main__")
    flags = flags_of(kind, default)
    if {"-h", "--help"} & set(words):
        print(help_text(program, description or "", flags), end="")
        sys.exit(0)
    refuse_mistakes(flags, words)
    with _in_one_line():
        cli = functools.partial(
            *(tyro.cli, kind),
            prog=program,
            args=_by_their_fields(joined(flags, words)),
            config=_STYLE,
        )
        found = cli() if default is None else cli(default=default)
    return _at_home(found)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise what the parser complains of, which it would draw a box around."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            yield
    except SystemExit as ended:
        if not ended.code:
            raise
        # Without its frame, be it drawn or dashed, and without what --help is for.
        text = re.sub(r"[\u2500-\u257f]|-{3,}", " ", complaint.getvalue())
        text = " ".join(text.split()).partition(" For full helptext")[0]
        raise InputError(text) from None


def _by_their_fields(words: Sequence[str]) -> list[str]:
    """Flags by the names of their fields, where those differ."""
    fields = {spelled: field for field, spelled in SPELLED.items()}
    split = (word.partition("=") for word in words)
    return [fields.get(name, name) + equals + value for name, equals, value in split]


def by_their_new_names(argv: Sequence[str]) -> list[str]:
    """Replace flags that are called otherwise now, and say so."""
    words = list(argv)
    for k, word in enumerate(words):
        name, *value = word.split("=", 1)
        if name in _FORMER:
            warn(f"{name} is now called {_FORMER[name]}")
            words[k] = "=".join([_FORMER[name], *value])
    return words


def peek(
    kind: type[Options], command: str, argv: Sequence[str], package: str = "lstm_jax"
) -> Options:
    """Read the few options on which the defaults of all others depend.

    Whatever else is on the command line is left to `parse`, --help too.
    """
    flags = flags_of(kind)
    refuse_mistakes(flags, argv, others=True)
    with _in_one_line():
        found, _ = tyro.cli(
            kind,
            prog=f"python -m {package}.{command}",
            args=_by_their_fields(joined(flags, argv)),
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


def require_package(name: str, purpose: str) -> None:
    """Refuse to begin what would miss a package only at its end.

    Args:
        name: of the package.
        purpose: what it is for.

    Raises:
        InputError: it is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise InputError(
            f"{purpose}: expected the package {name}, found none; pip install {name}"
        )


@contextlib.contextmanager
def unless_refused(lost: str) -> Iterator[None]:
    """Go on without what can't be written, into a folder that is read-only for one.

    What was found out is printed all the same; a note says what is lost, and why.
    """
    try:
        yield
    except (OSError, InputError) as error:
        warn(f"{lost}: {error}")


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command and exit: 0, or 2 with one line if the user's input is wrong.

    A command that was asked to stop says in one line what it kept, and exits with 130
    or 143.
    """
    # Else Python looks through all that there is before it ends, for half a second.
    atexit.register(gc.freeze)
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
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _PACKAGES:
            raise
        found = f"expected the package {package}, found none; pip install {package}"
        print(f"error: {found}", file=sys.stderr)
        code = 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except (RuntimeError, AssertionError) as error:
        if (trouble := device_trouble(error)) is None:
            raise
        print(f"error: {trouble}", file=sys.stderr)
        code = 2
    sys.exit(code)
