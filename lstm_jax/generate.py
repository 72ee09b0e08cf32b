"""Continue a prompt with a trained model: `python -m lstm_jax.generate RUN_DIR`.

The text appears as it is made. Temperature 0, the default, always takes the likeliest
next character.
"""

import dataclasses
from collections.abc import Sequence

from lstm_jax import cli
from lstm_jax.config import MAX_SEED
from lstm_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class GenerateOptions:
    """How to continue."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    prompt: str = ""
    """The text to continue; characters must be known from training."""
    length: int = 400
    """Characters to make, or bytes if the model reads bytes."""
    temperature: float = 0.0
    """0 takes the likeliest symbol; 1 draws as the model believes; between is safer."""
    top_k: int = 0
    """Draw only from this many of the likeliest symbols; 0 for all."""
    top_p: float = 1.0
    """Then only from the fewest symbols that reach this probability together."""
    stop: str = ""
    """End before this text."""
    samples: int = 1
    """How many continuations."""
    seed: int = 0
    """Decides every draw."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, print."""
    options = cli.parse(GenerateOptions, "generate", __doc__ or "", argv)
    for flag, value, least in (
        ("--length", options.length, 0),
        ("--samples", options.samples, 1),
    ):
        if value < least:
            raise InputError(f"{flag}: expected {least} or more, found {value}")
    if not 0 <= options.seed < MAX_SEED:
        raise InputError(
            f"--seed: expected 0 or more, below 2^63, found {options.seed}"
        )

    from lstm_jax.decode import Sampling
    from lstm_jax.devices import keep_programs
    from lstm_jax.text import load, stream_texts

    keep_programs()
    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    pieces = stream_texts(
        load(options.run_dir),
        options.prompt,
        options.length,
        sampling,
        samples=options.samples,
        seed=options.seed,
        stop=options.stop,
    )
    if options.samples == 1:
        print(options.prompt, end="", flush=True)
        for (piece,) in pieces:
            print(piece, end="", flush=True)
        print()
        return
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    for number, text in enumerate(texts, 1):
        print(f"--- sample {number}\n{options.prompt}{text}")


if __name__ == "__main__":
    cli.run_command(main)
