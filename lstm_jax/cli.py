"""What the commands share: flags from dataclasses, and errors in one line."""

import functools
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from lstm_jax.errors import InputError

Options = TypeVar("Options")
RunDir = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]


def parse(
    kind: type[Options],
    command: str,
    description: str,
    argv: Sequence[str] | None,
    default: Options | None = None,
) -> Options:
    """The options on the command line; a mistake or --help ends the process."""
    cli = functools.partial(
        tyro.cli,
        kind,
        prog=f"python -m lstm_jax.{command}",
        description=description,
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    return cli() if default is None else cli(default=default)


def run(command: Callable[[], int | None]) -> None:
    """Run a command and exit: 0, or 2 with one line if the user's input is wrong."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            # By line also into a file: who watches it sees a run go on.
            output.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        code = command() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)
