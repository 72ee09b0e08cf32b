"""From a prompt to its continuation, as text: what `generate` calls, and notebooks.

`TextStreamer` turns ids into text while they are made, up to a stop.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import jax.numpy as jnp
import numpy as np

from lstm_jax.config import check_bounds
from lstm_jax.data.tokenizers.vocabulary import LEVELS, Vocabulary
from lstm_jax.decoding.autoregressive import (
    generate_from,
    memory_for,
    read_prompts,
    repeat_rows,
    row_keys,
    sample_keys,
)
from lstm_jax.decoding.checks import check_count
from lstm_jax.decoding.config import GREEDY, SamplingConfig
from lstm_jax.decoding.likelihood import score_ids, search_ids
from lstm_jax.errors import InputError
from lstm_jax.lm.text_model import TextModel
from lstm_jax.typing import PRNGKeys

LENGTH = 400  # symbols that are made unless somebody says how many


@dataclasses.dataclass(frozen=True)
class Continuation:
    """What was made of a prompt, without the stop that ended it.

    Attributes:
        text: as people read it.
        ids: [N], of which it is the text. Bytes that are no UTF-8 are U+FFFD in it.
    """

    text: str
    ids: np.ndarray


@overload
def generate_text(
    trained: TextModel,
    prompt: str,
    length: int = ...,
    sampling: SamplingConfig = ...,
    *,
    samples: None = ...,
    seed: int = ...,
    stop: str | Sequence[str] = ...,
    **rules: float,
) -> str: ...


@overload
def generate_text(
    trained: TextModel,
    prompt: str,
    length: int = ...,
    sampling: SamplingConfig = ...,
    *,
    samples: int,
    seed: int = ...,
    stop: str | Sequence[str] = ...,
    **rules: float,
) -> list[str]: ...


def generate_text(
    trained: TextModel,
    prompt: str,
    length: int = LENGTH,
    sampling: SamplingConfig = GREEDY,
    *,
    samples: int | None = None,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    **rules: float,
) -> str | list[str]:
    """Continue a prompt: greedily by default, while the command samples at 0.8.

    Args:
        trained: the model.
        prompt: the text to continue.
        length: symbols to make.
        sampling: how they are chosen.
        samples: how many continuations, as a list; None for one, as a string.
        seed: decides every draw.
        stop: the text, or one of several, before which a continuation ends.
        **rules: fields of `sampling` to be changed: `temperature=0.7`, for example.

    Raises:
        InputError: the prompt holds characters that the model does not know, or a
            number makes no sense.
    """
    count = 1 if samples is None else samples
    (texts,) = generate_texts(
        trained,
        [prompt],
        length,
        sampling,
        samples=count,
        seed=seed,
        stop=stop,
        **rules,
    )
    return texts[0] if samples is None else texts


def generate_texts(
    trained: TextModel,
    prompts: Sequence[str],
    length: int = LENGTH,
    sampling: SamplingConfig = GREEDY,
    *,
    samples: int = 1,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    **rules: float,
) -> list[list[str]]:
    """Continue several prompts at once, of any lengths: each as it would be alone.

    The arguments are those of `generate_text`.

    Returns:
        For each prompt its samples.
    """
    if isinstance(prompts, str):
        raise InputError(f"prompts: expected a list of texts, found {prompts!r:.60}")
    sampling = _changed(sampling, rules)
    stops = (stop,) if isinstance(stop, str) else stop
    check_count("samples", samples, 1)
    keys = sample_keys(seed, samples)
    writers, pieces = write_texts(trained, prompts, length, sampling, keys, stops)
    texts = ["".join(parts) for parts in zip(*pieces, strict=True)]
    starts = range(0, len(writers), samples)
    return [texts[start : start + samples] for start in starts]


def _changed(sampling: SamplingConfig, rules: Mapping[str, Any]) -> SamplingConfig:
    """The settings with some others."""
    known = [field.name for field in dataclasses.fields(sampling)]
    for name in rules:
        if name not in known:
            raise InputError(f"expected one of {', '.join(known)}, found {name}")
    return dataclasses.replace(sampling, **rules)


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
    keys = sample_keys(seed, samples) if seeds is None else row_keys(seeds)
    return write_texts(trained, [prompt], length, sampling, keys, stops)[1]


def write_texts(
    trained: TextModel,
    prompts: Sequence[str],
    length: int,
    sampling: SamplingConfig,
    keys: PRNGKeys,
    stops: Sequence[str] = (),
) -> tuple[list["TextStreamer"], Iterator[list[str]]]:
    """Continue several prompts, side by side, once for each key.

    Args:
        trained: the model.
        prompts: of any lengths.
        length: symbols to make.
        sampling: how they are chosen.
        keys: of `sample_keys` or `row_keys`, the same for every prompt.
        stops: texts that end a continuation and are no part of it.

    Returns:
        A writer for every row, the first prompt's first, which knows its continuation
        once all is written; and what every row gains, piece by piece.

    Raises:
        InputError: at once, as `stream_texts`.
    """
    check_bounds(sampling)
    check_count("length", length, 0)
    check_count("prompts", len(prompts), 1)
    vocab = trained.vocab
    encoded = [encode_prompt(vocab, prompt) for prompt in prompts]
    count = len(keys)
    writers = [TextStreamer(vocab, stops, ids) for ids in encoded for _ in range(count)]

    def stream() -> Iterator[list[str]]:
        memory = memory_for(sampling, max(map(len, encoded)) + length)
        read = read_prompts(trained.model, encoded, memory)
        rows = repeat_rows(read, count)
        of_rows = jnp.tile(keys, len(prompts)) if len(prompts) > 1 else keys
        allowed = may_appear(vocab)
        for chunk in generate_from(
            trained.model, rows, length, sampling, of_rows, allowed
        ):
            new = zip(writers, chunk.ids.T, strict=True)
            yield [writer.write(row) for writer, row in new]
            if all(writer.stopped for writer in writers):
                return
        yield [writer.finish() for writer in writers]

    return writers, stream()


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

    Every stop ends a sequence within the search, and counts for its score. No text
    comes twice.

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
    found = search_continuations(trained, prompt, length, width, alpha, stops)
    return [each.text for each in found]


def search_continuations(
    trained: TextModel,
    prompt: str,
    length: int,
    width: int,
    alpha: float = 0.0,
    stops: Sequence[str] = (),
) -> list[Continuation]:
    """Do as `search_text`, whose arguments these are, and hand over the ids too."""
    vocab = trained.vocab
    ids = encode_prompt(vocab, prompt)
    endings = [vocab.encode(stop) for stop in stops if stop and not vocab.unknown(stop)]
    try:
        beams = search_ids(
            trained.model,
            ids,
            length,
            width=width,
            alpha=alpha,
            stops=endings,
            allowed=may_appear(vocab),
        )
    except ValueError as error:
        raise InputError(f"beam search: {error}") from None
    found = zip(*(np.asarray(of_row[0]) for of_row in beams), strict=True)
    texts: dict[str, Continuation] = {}
    for row, size, score in found:
        if score > -np.inf:
            writer = TextStreamer(vocab, stops, ids)
            writer.write(row[:size])
            writer.finish()
            texts.setdefault(writer.continuation().text, writer.continuation())
    return list(texts.values())


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
        self._vocab = vocab
        self._prompt = prompt
        self._decode = vocab.decoder(prompt)
        self._ids: list[np.ndarray] = []
        self._text: list[str] = []
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def write(self, ids: np.ndarray) -> str:
        """The text that these ids add, as far as it is certain."""
        if not self.stopped:
            self._ids.append(np.asarray(ids))
        return self._kept(self._release(self._decode(ids)))

    def finish(self) -> str:
        """What was held back, once nothing more comes."""
        text = self._release(self._decode((), final=True))
        return self._kept(text if self.stopped else text + self._held)

    def continuation(self) -> Continuation:
        """All of the text, and its ids, once it is finished or stopped."""
        text = "".join(self._text)
        ids = np.concatenate([np.zeros(0, np.int32), *self._ids]).astype(np.int32)
        # Ids of the stop, and whatever came after it, are not of the text.
        while not text.startswith(self._decoded(ids)):
            ids = ids[:-1]
        return Continuation(text, ids)

    def _decoded(self, ids: np.ndarray) -> str:
        decode = self._vocab.decoder(self._prompt)
        return decode(ids) + decode((), final=True)

    def _kept(self, text: str) -> str:
        self._text.append(text)
        return text

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
