"""What a program needs to know to read and write text as a tokenizer does.

    kind    how a text is cut
    char    into characters
    byte    into the bytes of its UTF-8
    word    into words, see `data/tokenizers/pieces.py`; others into characters
    bpe     into words, and these into pieces that were merged one after the other
    ids     not at all: a text is numbers with spaces between them

Which characters are letters and which are white space depends on the version of
Unicode, so programs bring both along, as ranges of code points.
"""

import functools
import re
from typing import Any, NamedTuple

import numpy as np

from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.data.tokenizers.pieces import LONGEST, PieceTokenizer, letters
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError

Ranges = list[list[int]]  # [first, last] code points, one after the other
_CODE_POINTS = 0x110000
_SAMPLE = 200  # symbols of a proof
_NASTY = (
    " 'tis don't-stop -- ''a’b-c d- \r\n\n\t \x00\x0b\x1c\x85\u00a0\u3000 e\u0301\u0301"
    " नमस्ते لَا a\u200cb \u200d👩\u200d👩\u200d👧🏳️ x²½Ⅻ_٣ \ufeff\ufffd 中文字 "
    "ß\U0001d400 "
    f"{'w' * 60}{'!' * 60}{' ' * 60}\n"
)


class SymbolProof(NamedTuple):
    """A text that is hard to cut, and the ids that it is cut into."""

    text: str
    ids: list[int]


def symbol_settings(vocab: Vocabulary | None, size: int) -> dict[str, Any]:
    """Give what programs need to know of a vocabulary.

    Args:
        vocab: the vocabulary; None for a model of ids.
        size: V.

    Returns:
        `kind`; `symbols` by id, for those that are texts; `size`; `first`, the least id
        that may be written; and for words `letters`, `spaces` and the `longest` word.

    Raises:
        InputError: a tokenizer that no program has.
    """
    if vocab is None:
        return {"kind": "ids", "symbols": [], "size": size, "first": 0}
    if not isinstance(vocab, CharTokenizer | PieceTokenizer):
        raise InputError(
            "expected symbols that programs can cut a text into, char, byte, word or "
            f"bpe, found a {vocab.kind}"
        )
    known = vocab.symbols if isinstance(vocab, PieceTokenizer) else vocab.characters
    settings: dict[str, Any] = {
        "kind": vocab.kind,
        "symbols": [] if vocab.kind == "byte" else ["\ufffd", *known],
        "size": len(vocab),
        "first": 0 if vocab.unknown_id is None else 1,
    }
    if isinstance(vocab, PieceTokenizer):
        settings["letters"] = code_ranges(letters())
        settings["spaces"] = code_ranges(r"\s")
        settings["longest"] = LONGEST
    return settings


@functools.cache
def code_ranges(inside: str) -> Ranges:
    """The code points of a character class, of which `inside` is the inside."""
    every = "".join(map(chr, range(_CODE_POINTS)))
    spans = (match.span() for match in re.finditer(f"[{inside}]+", every))
    return [[first, end - 1] for first, end in spans]


def prove_symbols(vocab: Vocabulary | None, size: int) -> SymbolProof:
    """Cut a text of symbols that are known and of some that may be not."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, size, _SAMPLE)
    if vocab is None:
        return SymbolProof(" ".join(map(str, drawn)), drawn.tolist())
    text = vocab.decode(drawn) + _NASTY
    text = text.encode("utf-8", "ignore").decode()  # a program's input is UTF-8
    return SymbolProof(text, vocab.encode(text).tolist())
