"""Continue a prompt with a trained model: `python -m lstm_jax.generate RUN_DIR`.

The text appears as it is made. Temperature 0, the default, always takes the likeliest
next character.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from lstm_jax import cli
from lstm_jax.config import (
    MAX_SEED,
    OneOrMore,
    Range,
    ZeroOrMore,
    check_bounds,
    flag_of,
)
from lstm_jax.decoding.config import GREEDY, SamplingConfig
from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from lstm_jax.lm.text_model import TextModel


@dataclasses.dataclass(frozen=True)
class GenerateOptions:
    """How to continue."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    prompt: str = ""
    """The text to continue; characters must be known from training."""
    length: ZeroOrMore = 400
    """Characters to make, or bytes if the model reads bytes."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    beam: ZeroOrMore = 0
    """Instead of all that, the likeliest texts by a beam of this width; 0 for none."""
    length_penalty: float = 0.0
    """How much a beam prefers longer texts, where a one-character --stop ends them."""
    stop: tuple[str, ...] = ()
    """End before this text; of several, the one that comes first."""
    samples: OneOrMore = 1
    """How many continuations."""
    seed: Annotated[int, Range(0, MAX_SEED - 1, "0 or more, below 2^63")] = 0
    """Decides every draw."""
    json: bool = False
    """Print one JSON object per continuation: text, log-probabilities in nats."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, print."""
    options = cli.parse(GenerateOptions, "generate", __doc__ or "", argv)
    _check(options)

    from lstm_jax.distributed.host import enable_compilation_cache, set_cpu_device_count
    from lstm_jax.lm.loading import load_text

    enable_compilation_cache()
    set_cpu_device_count(options.samples)
    trained = load_text(options.run_dir)
    pieces = _continuations(trained, options)
    if options.samples == 1 and not options.json:
        print(options.prompt, end="", flush=True)
        for (piece,) in pieces:
            print(piece, end="", flush=True)
        print()
        return
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    for number, text in enumerate(texts, 1):
        if options.json:
            record = _record(trained, options, number, text)
            print(json.dumps(record, ensure_ascii=False))
        else:
            print(f"--- sample {number}\n{options.prompt}{text}")


def _check(options: GenerateOptions) -> None:
    """Refuse what makes no sense, and draws where a beam is searched."""
    check_bounds(options)
    if not options.beam:
        if options.length_penalty:
            raise InputError("--length-penalty: expected none without --beam")
        return
    if options.samples > options.beam:
        raise InputError(
            f"--samples: expected at most the --beam, {options.beam}, "
            f"found {options.samples}"
        )
    usual = {**vars(GREEDY), "seed": GenerateOptions.seed}
    given = {**vars(options.sampling), "seed": options.seed}
    for name, value in given.items():
        if value != usual[name]:
            raise InputError(
                f"{flag_of(name)}: expected none with --beam, which draws nothing"
            )


def _continuations(
    trained: "TextModel", options: GenerateOptions
) -> Iterator[list[str]]:
    """What every sample gains, piece by piece; a beam's texts come in one piece."""
    from lstm_jax.lm.generation import search_text, stream_texts

    prompt, length, stops = options.prompt, options.length, options.stop
    if options.beam:
        texts = search_text(
            trained,
            prompt,
            length,
            width=options.beam,
            alpha=options.length_penalty,
            stops=stops,
        )
        return iter([texts[: options.samples]])
    return stream_texts(
        trained,
        prompt,
        length,
        options.sampling,
        samples=options.samples,
        seed=options.seed,
        stops=stops,
    )


def _record(
    trained: "TextModel", options: GenerateOptions, number: int, text: str
) -> dict[str, object]:
    """One continuation, with the log-probability of each symbol of it in nats."""
    from lstm_jax.lm.generation import score_text

    chances = score_text(trained, text, options.prompt).astype(float)
    return {
        "sample": number,
        "seed": options.seed,
        "prompt": options.prompt,
        "text": text,
        "log_prob": round(float(chances.sum()), 4),
        "log_probs": [round(chance, 4) for chance in chances.tolist()],
    }


if __name__ == "__main__":
    cli.run_command(main)
