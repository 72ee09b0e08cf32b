"""The command that a run of `train` was, as far as its settings tell."""

import dataclasses
import shlex
from collections.abc import Iterator, Set

from lstm_jax.config import Configuration, flag_of
from lstm_jax.lm.choice import leaves_open
from lstm_jax.lm.config import HELLO_WORLD, TrainConfig
from lstm_jax.lm.presets import preset
from lstm_jax.lm.recipe import CHOSEN
from lstm_jax.usage.flags import SPELLED

_NOT_SHOWN = {"resume", "overwrite", "cluster"}  # how a run was opened is none


def command_of(config: TrainConfig) -> str:
    """Write the command again that trains with these settings.

    Sizes that were derived from the text stand in it as numbers, and so does all that
    was chosen for the machine: another one would choose otherwise.
    """
    chosen = CHOSEN if leaves_open(config) else frozenset[str]()
    usual = TrainConfig() if config.text.data else HELLO_WORLD
    if config.preset:
        usual = preset(config.preset)
    words = ["python", "-m", "lstm_jax.train", *_flags(config, usual, chosen)]
    return shlex.join(words)


def _flags(
    given: Configuration, usual: Configuration, always: Set[str]
) -> Iterator[str]:
    """The flags of what is not usual, and of what is always said."""
    for field in dataclasses.fields(given):
        value, before = getattr(given, field.name), getattr(usual, field.name)
        if field.name in _NOT_SHOWN:
            continue
        if isinstance(value, Configuration):
            yield from _flags(value, before, always)
        elif value == before and field.name not in always:
            continue
        elif isinstance(value, bool):
            yield flag_of(field.name if value else f"no_{field.name}")
        elif value != ():
            flag = flag_of(field.name)
            yield SPELLED.get(flag, flag)
            yield from map(str, value if isinstance(value, tuple) else (value,))
