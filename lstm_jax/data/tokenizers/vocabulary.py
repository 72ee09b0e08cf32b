"""What the text generator asks of a vocabulary, whatever its symbols are."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from lstm_jax.errors import InputError

LEVELS = ("char", "byte", "word", "bpe")  # what --vocab takes, beside a file
_PIECE = 1 << 22  # ids counted at a time
TOKENIZER_FILE = ".json"  # how the name of a Hugging Face tokenizer ends


class TextSize(NamedTuple):
    """How long a text is, in characters and in bytes of UTF-8."""

    characters: int
    bytes: int


@runtime_checkable
class IncrementalDecoder(Protocol):
    """Turns ids into text as they come; what is not complete yet is held back."""

    def __call__(self, ids: Iterable[int] | np.ndarray, final: bool = False) -> str:
        """The text that these ids complete; `final` ends it."""
        ...


@runtime_checkable
class Vocabulary(Protocol):
    """A two-way table between symbols and ids, which reads text and writes it."""

    @property
    def kind(self) -> str:
        """What a symbol is: one of `LEVELS`, or "tokenizer.json"."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        ...

    @property
    def unknown_id(self) -> int | None:
        """The id of all that the table lacks; None if it lacks nothing."""
        ...

    def __len__(self) -> int:
        """V, the number of ids."""
        ...

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text [T]."""
        ...

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some ids; what is unknown becomes U+FFFD."""
        ...

    def decoder(self, after: Iterable[int] | np.ndarray = ()) -> IncrementalDecoder:
        """A decoder for ids that arrive piece by piece, `after` those of a prompt."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The distinct pieces of a text that the table lacks, as they come."""
        ...

    def extended(self, characters: str) -> "Vocabulary":
        """The table with those of some characters that it lacks, as its last ids."""
        ...

    def names(self) -> list[str]:
        """A visible name of every id."""
        ...

    def size_of(self, ids: np.ndarray) -> TextSize:
        """How long the text of some ids is."""
        ...


def is_tokenizer_file(name: str) -> bool:
    """Whether --vocab names a file instead of a level."""
    return name.lower().endswith(TOKENIZER_FILE)


def check_level(name: str, size: int | None = None) -> None:
    """Refuse a --vocab that is neither a level nor a file, and a size for one.

    Args:
        name: of the level, or a path.
        size: V as asked for by --vocab-size.

    Raises:
        InputError: naming the flag.
    """
    if name not in LEVELS and not is_tokenizer_file(name):
        raise InputError(
            f"--vocab: expected one of {', '.join(LEVELS)}, or the path of a "
            f"tokenizer.json, found {name}"
        )
    if size is not None and name not in ("word", "bpe"):
        raise InputError(
            f"--vocab-size: expected --vocab word or bpe, whose size it is, "
            f"found {name}"
        )


def symbols_of(vocab: Vocabulary) -> str:
    """What its symbols are called, several of them."""
    return {"char": "characters", "byte": "bytes"}.get(vocab.kind, "tokens")


def name_of_symbol(symbol: str) -> str:
    r"""Make a symbol visible: a space as an open box, a newline as \n."""
    parts = (
        "\u2423" if c == " " else c if c.isprintable() else repr(c)[1:-1]
        for c in symbol
    )
    return "".join(parts)


def utf8_size(text: str) -> TextSize:
    """How long a text is; lone surrogates count as they are encoded."""
    return TextSize(len(text), len(text.encode("utf-8", "surrogatepass")))


def count_ids(ids: np.ndarray, symbols: int) -> np.ndarray:
    """How often each id comes [V], in little memory whatever their number."""
    counts = np.zeros(symbols, np.int64)
    for start in range(0, len(ids), _PIECE):
        counts += np.bincount(ids[start : start + _PIECE], minlength=symbols)
    return counts
