"""The commands: `python -m lstm_jax` lists them, `python -m lstm_jax train` runs one.

Each is a module too, `python -m lstm_jax.train`; and `lstm-jax train` is the same.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from lstm_jax import cli
from lstm_jax.errors import InputError
from lstm_jax.usage.help import commands_in, listed

_FOLDER = Path(__file__).parent
_FIRST = ("train", "evaluate", "generate", "inspect", "crossval", "convert")


def main(argv: Sequence[str] | None = None) -> int | None:
    """List the commands, or run the one that is named first."""
    words = list(sys.argv[1:] if argv is None else argv)
    found = commands_in(_FOLDER)
    first = [name for name in _FIRST if name in found]
    commands = {name: found[name] for name in [*first, *found]}
    if not words or words[0] in ("-h", "--help"):
        print(
            "usage: python -m lstm_jax.COMMAND [FLAGS]\n\n"
            f"{listed(commands)}\n\n"
            "python -m lstm_jax.COMMAND --help shows the flags of a command."
        )
        return None
    if words[0] not in commands:
        known = ", ".join(commands)
        raise InputError(f"expected one of {known}, found {words[0]!r}")
    return importlib.import_module(f"lstm_jax.{words[0]}").main(words[1:])


def run() -> None:
    """Run as a program: `lstm-jax`, once the package is installed."""
    cli.run_command(main)


if __name__ == "__main__":
    run()
