"""What the applications' commands share: learn or predict, and how they were called."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lstm_jax.cli import parse

Verb = tuple[type[Any], Callable[[Any], int | None]]  # options, and what they are for


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
