"""A `tokenizer.json` of Hugging Face as a vocabulary, read by their `tokenizers`."""

import dataclasses
import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_jax.data.tokenizers.vocabulary import TextSize, name_of_symbol, utf8_size
from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KIND = "tokenizer.json"
_CONTEXT = 8  # ids before a piece that its text may depend on


@dataclasses.dataclass(frozen=True)
class HuggingFaceTokenizer:
    """Symbols and ids of a tokenizer that was made elsewhere.

    Attributes:
        text: its `tokenizer.json`.
    """

    text: str

    kind = KIND

    def __len__(self) -> int:
        """V, one more than the largest id."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """The id of what it can't express; None if it has none for that."""
        model = json.loads(self.text).get("model", {})
        if isinstance(model.get("unk_id"), int):  # Unigram
            return model["unk_id"]
        token = model.get("unk_token")
        return self._tokenizer.token_to_id(token) if isinstance(token, str) else None

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text [T]; none is added at its ends."""
        return np.array(self._encoding(text).ids, self.dtype)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some ids, as the tokenizer joins it."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def decoder(self, after: Iterable[int] | np.ndarray = ()) -> "HuggingFaceDecoder":
        """A decoder for ids that arrive piece by piece, `after` those of a prompt."""
        return HuggingFaceDecoder(self, [int(i) for i in after][-_CONTEXT:])

    def unknown(self, text: str) -> list[str]:
        """The distinct pieces of a text that it can't express, as they come."""
        found = self._encoding(text)
        pairs = zip(found.ids, found.offsets, strict=True)
        parts = (text[a:b] for i, (a, b) in pairs if i == self.unknown_id)
        return list(dict.fromkeys(parts))

    def extended(self, characters: str) -> "HuggingFaceTokenizer":
        """Itself: what it lacks, it goes on to lack."""
        return self

    def names(self) -> list[str]:
        """A visible name of every id."""
        found = [f"id {i}" for i in range(len(self))]
        for token, i in self._tokenizer.get_vocab(with_added_tokens=True).items():
            found[i] = name_of_symbol(token)
        return found

    def size_of(self, ids: np.ndarray) -> TextSize:
        """How long the text of some ids is."""
        return utf8_size(self.decode(ids))

    def _encoding(self, text: str | bytes) -> Any:  # noqa: ANN401
        if isinstance(text, bytes):
            text = text.decode()
        return self._tokenizer.encode(text, add_special_tokens=False)

    @functools.cached_property
    def _tokenizer(self) -> "Tokenizer":
        return _parsed(self.text, KIND)


class HuggingFaceDecoder:
    """Turns ids into text as they come; what is not complete yet is held back.

    The text of an id depends on those before it: bytes make a character together, and
    the space before a word goes without saying at the beginning of a text. So some of
    the ids before are decoded again, and their text taken off.
    """

    def __init__(self, vocab: HuggingFaceTokenizer, before: list[int]) -> None:
        self._vocab, self._before, self._pending = vocab, before, list[int]()

    def __call__(self, ids: Iterable[int] | np.ndarray, final: bool = False) -> str:
        """The text that these ids complete; `final` ends it."""
        self._pending += [int(i) for i in ids]
        known = self._vocab.decode(self._before)
        text = self._vocab.decode([*self._before, *self._pending])[len(known) :]
        if not final and text.endswith("\ufffd"):  # perhaps a part of a character
            return ""
        self._before = [*self._before, *self._pending][-_CONTEXT:]
        self._pending = []
        return text


def read_tokenizer(path: Path) -> HuggingFaceTokenizer:
    """Read a `tokenizer.json`.

    Raises:
        InputError: the file is missing or is none, or the package that reads it is not
            installed.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"--vocab: {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--vocab: {path}: could not be read: {error}") from None
    return parse_tokenizer(text, str(path))


def parse_tokenizer(text: str, where: str) -> HuggingFaceTokenizer:
    """Make a vocabulary of the contents of a `tokenizer.json`.

    Args:
        text: the contents.
        where: they are from, for the message.

    Raises:
        InputError: it is none, or the package that reads it is not installed.
    """
    _parsed(text, where)
    return HuggingFaceTokenizer(text)


def _parsed(text: str, where: str) -> "Tokenizer":
    """The tokenizer, without the padding and the cuts that it may ask for."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(
            f"{where}: expected the package tokenizers, found none; "
            "pip install tokenizers"
        ) from None
    try:
        found = Tokenizer.from_str(text)
    except Exception as error:  # what it raises has no name
        reason = (str(error).splitlines() or ["no reason"])[0]
        raise InputError(
            f"{where}: expected a tokenizer.json, found another file: {reason:.200}"
        ) from None
    found.no_padding()
    found.no_truncation()
    if not found.get_vocab_size(with_added_tokens=True):
        raise InputError(f"{where}: expected a tokenizer of some symbols, found none")
    return found
