"""From a prompt to its continuation, as text: what `generate` calls, and notebooks.

`TextStreamer` turns ids into text while they are made, up to a stop.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lstm_jax.config import check_bounds
from lstm_jax.data.tokenizers.vocabulary import LEVELS, Vocabulary
from lstm_jax.decoding.autoregressive import (
    generate_from,
    read_prompt,
    repeat_rows,
    row_keys,
    sample_keys,
)
from lstm_jax.decoding.config import GREEDY, SamplingConfig
from lstm_jax.decoding.likelihood import score_ids, search_ids
from lstm_jax.errors import InputError
from lstm_jax.lm.text_model import TextModel


def generate_text(
    trained: TextModel,
    prompt: str,
    length: int,
    sampling: SamplingConfig = GREEDY,
    *,
    seed: int = 0,
    **rules: Any,  # noqa: ANN401
) -> str:
    """Continue a prompt: greedily by default.

    Args:
        trained: the model.
        prompt: the text to continue.
        length: symbols to make.
        sampling: how they are chosen.
        seed: decides every draw.
        **rules: fields of `sampling` to be changed: `temperature=0.7`, for example.

    Raises:
        InputError: the prompt holds characters that the model does not know, or a
            number makes no sense.
    """
    sampling = dataclasses.replace(sampling, **rules)
    return "".join(stream_text(trained, prompt, length, sampling, seed=seed))


def stream_text(
    trained: TextModel,
    prompt: str,
    length: int,
    sampling: SamplingConfig,
    *,
    seed: int = 0,
    stops: Sequence[str] = (),
) -> Iterator[str]:
    """The continuation as it is made, up to and without the first of the `stops`."""
    several = stream_texts(trained, prompt, length, sampling, seed=seed, stops=stops)
    return (texts[0] for texts in several)


def stream_texts(
    trained: TextModel,
    prompt: str,
    length: int,
    sampling: SamplingConfig,
    *,
    samples: int = 1,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    stops: Sequence[str] = (),
) -> Iterator[list[str]]:
    """Several continuations side by side: what each has gained since the last time.

    With `seeds`, one for each, a row is the text that its seed alone would make;
    `samples` and `seed` are then not heeded.

    Raises:
        InputError: at once, before anything is made, for a prompt the model can't read
            or a number that makes no sense.
    """
    check_bounds(sampling)
    ids = encode_prompt(trained.vocab, prompt)
    keys = sample_keys(seed, samples) if seeds is None else row_keys(seeds)

    def stream() -> Iterator[list[str]]:
        writers = [TextStreamer(trained.vocab, stops, ids) for _ in range(len(keys))]
        snapshot = repeat_rows(read_prompt(trained.model, ids), len(keys))
        allowed = may_appear(trained.vocab)
        for chunk in generate_from(
            trained.model, snapshot, length, sampling, keys, allowed
        ):
            rows = zip(writers, chunk.ids.T, strict=True)
            yield [writer.write(row) for writer, row in rows]
            if all(writer.stopped for writer in writers):
                return
        yield [writer.finish() for writer in writers]

    return stream()


def search_text(
    trained: TextModel,
    prompt: str,
    length: int,
    *,
    width: int,
    alpha: float = 0.0,
    stops: Sequence[str] = (),
) -> list[str]:
    """The likeliest continuations that a beam of `width` finds, the best first.

    A stop that is a single symbol ends a sequence within the search; longer ones cut
    what was found.

    Args:
        trained: the model.
        prompt: the text to continue.
        length: symbols at most.
        width: of the beam, at least 1.
        alpha: strength of the length penalty (Wu et al. 2016), 0 for none.
        stops: texts that end a continuation and are no part of it.

    Raises:
        InputError: the prompt holds characters that the model does not know, or the
            width, the length or alpha makes no sense.
    """
    vocab = trained.vocab
    ids = encode_prompt(vocab, prompt)
    symbols = [int(one[0]) for stop in stops if len(one := vocab.encode(stop)) == 1]
    options = {"end": symbols[0]} if symbols else {}
    try:
        beams = search_ids(
            trained.model,
            ids,
            length,
            width=width,
            alpha=alpha,
            allowed=may_appear(vocab),
            **options,
        )
    except ValueError as error:
        raise InputError(f"beam search: {error}") from None
    found = zip(*(np.asarray(of_row[0]) for of_row in beams), strict=True)
    return [
        _cut(vocab, row[:size], stops, ids)
        for row, size, score in found
        if score > -np.inf
    ]


def score_text(trained: TextModel, text: str, prompt: str = "") -> np.ndarray:
    """The log-probability of each symbol of a text, in nats, given those before it.

    Args:
        trained: the model.
        text: any text of characters it knows.
        prompt: what comes before the text and is not scored.

    Raises:
        InputError: there are characters that the model does not know.
    """
    ids, before = (encode_prompt(trained.vocab, part) for part in (text, prompt))
    return score_ids(trained.model, ids, before)


def may_appear(vocab: Vocabulary) -> np.ndarray:
    """Which symbols a text may have [V]: all but the one for unknown characters."""
    allowed = np.ones(len(vocab), bool)
    if vocab.unknown_id is not None:
        allowed[vocab.unknown_id] = False
    return allowed


def encode_prompt(vocab: Vocabulary, prompt: str) -> np.ndarray:
    """The ids of a prompt.

    Raises:
        InputError: a character of it was not in the training text.
    """
    unknown = vocab.unknown(prompt)
    if unknown:
        listed = ", ".join(map(_with_code_point, unknown[:5]))
        known = "what the tokenizer.json knows"
        if vocab.kind in LEVELS:
            known = "characters of the training text"
        if vocab.kind == "char":
            known += f" ({len(vocab) - 1} different ones)"
        raise InputError(f"the prompt: expected {known}, found {listed}")
    return vocab.encode(prompt)


def _with_code_point(symbol: str) -> str:
    return f"{symbol!r} (U+{ord(symbol):04X})" if len(symbol) == 1 else repr(symbol)


def _cut(
    vocab: Vocabulary, ids: np.ndarray, stops: Sequence[str], prompt: np.ndarray
) -> str:
    writer = TextStreamer(vocab, stops, prompt)
    return writer.write(ids) + writer.finish()


class TextStreamer:
    """Text of one row as it comes; holds back what may turn out to be a stop.

    The stop that is complete first ends the text, and of two that end together the
    longer; so it does not matter in which pieces the text comes. `stopped` says
    whether one has come: nothing is written after it.
    """

    def __init__(
        self,
        vocab: Vocabulary,
        stops: Sequence[str] = (),
        prompt: Sequence[int] | np.ndarray = (),
    ) -> None:
        self._decode = vocab.decoder(prompt)
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def write(self, ids: np.ndarray) -> str:
        """The text that these ids add, as far as it is certain."""
        return self._release(self._decode(ids))

    def finish(self) -> str:
        """What was held back, once nothing more comes."""
        text = self._release(self._decode((), final=True))
        return text if self.stopped else text + self._held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        ends = [
            (text.index(stop) + len(stop), text.index(stop))
            for stop in self._stops
            if stop in text
        ]
        if ends:
            self.stopped = True
            return text[: min(ends)[1]]
        safe = len(text) - max(
            (_overlap(text, stop) for stop in self._stops), default=0
        )
        self._held = text[safe:]
        return text[:safe]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in sizes if text.endswith(stop[:n])), 0)
