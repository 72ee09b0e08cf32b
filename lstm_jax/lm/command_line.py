"""The command that a run of `train` was, as far as its settings tell."""

import dataclasses
import shlex
from collections.abc import Iterator

from lstm_jax.config import Configuration, flag_of
from lstm_jax.lm.config import HELLO_WORLD, TrainConfig
from lstm_jax.lm.presets import preset

_NOT_SHOWN = {"resume", "overwrite", "cluster"}  # how a run was opened is none


def command_of(config: TrainConfig) -> str:
    """Write the command again that trains with these settings.

    Sizes that were derived from the text stand in it as numbers.
    """
    usual = TrainConfig() if config.text.data else HELLO_WORLD
    if config.preset:
        usual = preset(config.preset)
    words = ["python", "-m", "lstm_jax.train", *_flags(config, usual)]
    return shlex.join(words)


def _flags(given: Configuration, usual: Configuration) -> Iterator[str]:
    for field in dataclasses.fields(given):
        value, before = getattr(given, field.name), getattr(usual, field.name)
        if field.name in _NOT_SHOWN:
            continue
        if isinstance(value, Configuration):
            yield from _flags(value, before)
        elif isinstance(value, bool):
            if value != before:
                yield flag_of(field.name if value else f"no_{field.name}")
        elif value != before and value != ():
            yield flag_of(field.name)
            yield from map(str, value if isinstance(value, tuple) else (value,))
