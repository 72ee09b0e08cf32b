"""What a run that begins with the model of another one takes from it.

Free of JAX, so that `train --help` answers at once.
"""

import dataclasses
from pathlib import Path

from lstm_jax.config import flag_of
from lstm_jax.errors import InputError
from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.run_directory import open_run

# Which arrays a network has follows from these.
FIXED = (
    "layers",
    "hidden",
    "cell",
    "mogrifier",
    "top_only",
    "tie_embedding",
    "capped_gate",
)
_READS = ("vocab", "vocab_size")


def with_origin(config: TrainConfig, path: Path) -> TrainConfig:
    """Settings with the network and the vocabulary of the run that they begin with.

    Raises:
        InputError: there is no such run.
    """
    try:
        other = open_run(path).config()
    except InputError as error:
        raise InputError(f"--from: {error}") from None
    return dataclasses.replace(
        config,
        model=other.model,
        text=dataclasses.replace(
            config.text, **{name: getattr(other.text, name) for name in _READS}
        ),
        from_run=path,
    )


def check_origin(config: TrainConfig) -> None:
    """Refuse settings that the model of the other run can't have.

    Raises:
        InputError: naming the flag.
    """
    if config.from_run is None:
        return
    if not config.text.data:
        raise InputError("--from: expected --data, found none")
    expected = with_origin(config, config.from_run)
    for part, names in (("model", FIXED), ("text", _READS)):
        before, now = getattr(expected, part), getattr(config, part)
        for name in names:
            was, asked = getattr(before, name), getattr(now, name)
            if was != asked:
                raise InputError(
                    f"{flag_of(name)}: expected {was}, as the run of --from has it, "
                    f"found {asked}"
                )
