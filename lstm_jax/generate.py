"""Continue a prompt with a trained model: `python -m lstm_jax.generate RUN_DIR`.

The text appears as it is made, sampled at temperature 0.8; `--temperature 0` always
takes the likeliest next character. Several prompts, a line each, come from a file or
the standard input: `--prompts FILE` or `--prompts -`.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
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
from lstm_jax.decoding.config import SamplingConfig
from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from lstm_jax.lm.generation import Continuation
    from lstm_jax.lm.text_model import TextModel


_SAMPLING = SamplingConfig(temperature=0.8)


@dataclasses.dataclass(frozen=True)
class GenerateOptions:
    """Generation."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    prompt: str = ""
    """Text to continue; its characters must occur in the training text."""
    prompts: Path | None = None
    """Continue each line of this text file instead; - reads the standard input."""
    length: ZeroOrMore = 400
    """Number of symbols to generate: characters, bytes or tokens, as the model was
    trained."""
    sampling: SamplingConfig = _SAMPLING
    beam: ZeroOrMore = 0
    """Beam search of this width instead of sampling; 0 disables it."""
    length_penalty: float = 0.0
    """Strength of the length normalization of beam search, with --stop."""
    stop: tuple[str, ...] = ()
    """Stop before this text; of several, before the one that comes first."""
    samples: OneOrMore = 1
    """Number of continuations of each prompt."""
    seed: Annotated[int, Range(0, MAX_SEED - 1, "0 or more, below 2^63")] = 0
    """Random seed."""
    json: bool = False
    """Print one JSON object per continuation: its text, its ids and their
    log-probabilities in nats."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, print."""
    options = cli.parse(GenerateOptions, "generate", __doc__ or "", argv)
    _check(options)

    from lstm_jax.distributed.host import enable_compilation_cache, keep_freed_memory
    from lstm_jax.lm.loading import load_text

    enable_compilation_cache()
    prompts = _prompts(options)
    keep_freed_memory()
    trained = load_text(options.run_dir)
    if options.beam:
        found = [_search(trained, options, prompt) for prompt in prompts]
    else:
        found = _sample(trained, options, prompts)
    several = len(prompts) > 1 or options.samples > 1 or options.prompts is not None
    for count, (prompt, texts) in enumerate(zip(prompts, found, strict=True), 1):
        for number, made in enumerate(texts, 1):
            if options.json:
                record = _record(trained, options, prompt, number, made)
                print(json.dumps(record, ensure_ascii=False))
            elif several:
                of = "" if options.prompts is None else f"prompt {count}, "
                print(f"--- {of}sample {number}\n{prompt}{made.text}")
            elif options.beam:
                print(f"{prompt}{made.text}")


def _prompts(options: GenerateOptions) -> list[str]:
    """What is to be continued."""
    if options.prompts is None:
        return [options.prompt]
    if options.prompt:
        raise InputError("--prompts: expected none with --prompt, found both")
    name = str(options.prompts)
    if name == "-":
        raw = b"" if sys.stdin is None else sys.stdin.buffer.read()
        name = "the standard input"
    else:
        from lstm_jax.data.text import bytes_of

        raw = b"".join(bytes_of(options.prompts))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: expected UTF-8 text, found other data at byte {error.start}"
        ) from None
    lines = text.removesuffix("\n").split("\n") if text else []
    if not lines:
        raise InputError(f"{name}: expected a prompt a line, found nothing")
    return [line.removesuffix("\r") for line in lines]


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
    usual = {**vars(_SAMPLING), "seed": GenerateOptions.seed}
    given = {**vars(options.sampling), "seed": options.seed}
    for name, value in given.items():
        if value != usual[name] and (name, value) != ("temperature", 0):
            raise InputError(
                f"{flag_of(name)}: expected none with --beam, which draws nothing"
            )


def _search(
    trained: "TextModel", options: GenerateOptions, prompt: str
) -> "list[Continuation]":
    """The likeliest texts."""
    from lstm_jax.lm.generation import search_continuations

    found = search_continuations(
        trained,
        prompt,
        options.length,
        options.beam,
        options.length_penalty,
        options.stop,
    )
    return found[: options.samples]


def _sample(
    trained: "TextModel", options: GenerateOptions, prompts: Sequence[str]
) -> "list[list[Continuation]]":
    """The samples of each prompt; one alone is printed as it is made."""
    from lstm_jax.decoding.autoregressive import sample_keys
    from lstm_jax.lm.generation import write_texts

    keys = sample_keys(options.seed, options.samples)
    sampling, stops = options.sampling, options.stop
    writers, pieces = write_texts(
        trained, prompts, options.length, sampling, keys, stops
    )
    alone = len(writers) == 1 and options.prompts is None and not options.json
    shown = print if alone else _not_shown
    shown(options.prompt, end="", flush=True)
    for piece, *_ in pieces:
        shown(piece, end="", flush=True)
    shown()
    made = [writer.continuation() for writer in writers]
    starts = range(0, len(made), options.samples)
    return [made[start : start + options.samples] for start in starts]


def _not_shown(*_: object, **__: object) -> None:
    """Print nothing."""


def _record(
    trained: "TextModel",
    options: GenerateOptions,
    prompt: str,
    number: int,
    made: "Continuation",
) -> dict[str, object]:
    """One continuation, with the log-probability of each symbol of it in nats.

    The symbols are the ids that were made: bytes that are no UTF-8 have no other name.
    """
    from lstm_jax.decoding.likelihood import score_ids
    from lstm_jax.lm.generation import encode_prompt

    before = encode_prompt(trained.vocab, prompt)
    chances = score_ids(trained.model, made.ids, before).astype(float)
    return {
        "sample": number,
        "seed": options.seed,
        "prompt": prompt,
        "text": made.text,
        "ids": made.ids.tolist(),
        "log_prob": round(float(chances.sum()), 4),
        "log_probs": [round(chance, 4) for chance in chances.tolist()],
    }


if __name__ == "__main__":
    cli.run_command(main)
