"""Symbols and their ids: characters of a text, or its bytes."""

import codecs
import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.tokenizers.vocabulary import TextSize, count_ids, name_of_symbol
from lstm_jax.errors import InputError
from lstm_jax.storage.files import read_json, write_json

Kind = Literal["char", "byte"]

_CODE_POINTS = 0x110000


@dataclasses.dataclass(frozen=True)
class CharTokenizer:
    """A two-way table between symbols and ids.

    With kind "char" a symbol is a Unicode character: id 0 stands for all that were not
    seen in training, id k for `characters[k - 1]`. With kind "byte" a symbol is a byte
    of the UTF-8 text and its own id; there is nothing unknown.
    """

    kind: Kind
    characters: str = ""

    def __len__(self) -> int:
        """V, the number of ids."""
        return 256 if self.kind == "byte" else 1 + len(self.characters)

    @property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text; characters that are not in the table become UNKNOWN."""
        if self.kind == "byte":
            raw = to_bytes(text) if isinstance(text, str) else text
            return np.frombuffer(raw, np.uint8)
        if isinstance(text, bytes):
            text = text.decode()
        if text.isascii() and len(self) <= 256:  # three times as fast
            return np.frombuffer(text.encode().translate(self._of_ascii), np.uint8)
        return self._table.take(code_points(text))

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of some ids. Bytes that are no UTF-8 and UNKNOWN become U+FFFD."""
        decoder = self.decoder()
        return decoder(ids) + decoder((), final=True)

    def decoder(self, after: Iterable[int] | np.ndarray = ()) -> "Decoder":
        """A decoder for ids that arrive piece by piece."""
        return Decoder(self)

    @property
    def unknown_id(self) -> int | None:
        """The id of all characters that were not seen in training; bytes all are."""
        return None if self.kind == "byte" else UNKNOWN

    def size_of(self, ids: np.ndarray) -> TextSize:
        """How long the text of some ids is; an unknown character counts as U+FFFD."""
        counts = count_ids(ids, len(self))
        if self.kind == "byte":  # those from 0x80 to 0xBF continue a character
            return TextSize(len(ids) - int(counts[0x80:0xC0].sum()), len(ids))
        return TextSize(len(ids), int(counts @ self._utf8_lengths))

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that the table lacks, as they come."""
        if self.kind == "byte":
            return []
        known = set(self.characters)
        return list(dict.fromkeys(c for c in text if c not in known))

    def extended(self, characters: str) -> "CharTokenizer":
        """The table with those of some characters that it lacks, as its last ids."""
        new = "".join(self.unknown(characters))
        return dataclasses.replace(self, characters=self.characters + new)

    def names(self) -> list[str]:
        """A visible name of every id: the symbol, or how it is written with escapes."""
        if self.kind == "byte":
            ascii_only = (chr(b) if b < 0x80 else f"\\x{b:02x}" for b in range(256))
            return [name_of_symbol(symbol) for symbol in ascii_only]
        return ["unknown", *map(name_of_symbol, self.characters)]

    @functools.cached_property
    def _of_ascii(self) -> bytes:
        return self._table[:256].tobytes()

    @functools.cached_property
    def _utf8_lengths(self) -> np.ndarray:
        codes = code_points("\ufffd" + self.characters)
        return 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)

    @functools.cached_property
    def _table(self) -> np.ndarray:
        table = np.full(_CODE_POINTS, UNKNOWN, self.dtype)
        table[code_points(self.characters)] = np.arange(1, len(self))
        return table


class Decoder:
    """Turns ids into text as they come; bytes of one character may come apart."""

    def __init__(self, vocab: CharTokenizer) -> None:
        self._characters = "\ufffd" + vocab.characters
        self._bytes = None
        if vocab.kind == "byte":
            self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def __call__(self, ids: Iterable[int] | np.ndarray, final: bool = False) -> str:
        """The text that these ids complete; `final` ends it."""
        if self._bytes is not None:
            return self._bytes.decode(bytes(int(i) for i in ids), final)
        return "".join(self._characters[int(i)] for i in ids)


def code_points(text: str) -> np.ndarray:
    """The Unicode code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def to_bytes(text: str) -> bytes:
    """The UTF-8 bytes of a text, lone surrogates included.

    Those that stand for bytes which are no UTF-8, as they do in arguments of a command,
    are these bytes (PEP 383).
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def save_vocab(vocab: CharTokenizer, path: Path) -> None:
    """Write `vocab.json`. Every character is listed by itself, in the order of ids."""
    write_json(path, {"kind": vocab.kind, "characters": list(vocab.characters)})


def load_vocab(path: Path) -> CharTokenizer:
    """Read `vocab.json`.

    Raises:
        InputError: the file is missing or is not a vocabulary.
    """
    record = read_json(path, "a vocabulary")
    if sorted(record) != ["characters", "kind"]:
        raise InputError(
            f"expected a kind and characters in {path}, found {sorted(record)!r:.100}"
        )
    kind, characters = record["kind"], record["characters"]
    each_is_one = isinstance(characters, list) and all(
        isinstance(c, str) and len(c) == 1 for c in characters
    )
    if kind not in ("char", "byte") or not each_is_one:
        raise InputError(
            f'expected kind "char" or "byte" and a list of single characters in {path},'
            f" found kind {kind!r:.60} and {type(characters).__name__}"
        )
    if len(set(characters)) != len(characters):
        raise InputError(f"expected distinct characters in {path}, found repeated ones")
    return CharTokenizer(kind, "".join(characters))
