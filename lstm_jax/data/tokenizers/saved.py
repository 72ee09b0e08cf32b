"""Any tokenizer as a file: `tokenizer.json`, JSON with a checksum."""

from pathlib import Path
from typing import get_args

from lstm_jax.data.tokenizers.characters import CharTokenizer, load_vocab, save_vocab
from lstm_jax.data.tokenizers.subwords import BPETokenizer
from lstm_jax.data.tokenizers.words import Level, WordTokenizer
from lstm_jax.errors import InputError
from lstm_jax.storage.files import read_json, write_json

AnyTokenizer = CharTokenizer | WordTokenizer | BPETokenizer
_BPE = "bpe"


def save_tokenizer(tokenizer: AnyTokenizer, path: Path) -> None:
    """Write a tokenizer, whole or not at all."""
    if isinstance(tokenizer, CharTokenizer):
        save_vocab(tokenizer, path)
        return
    kind = f"words, {tokenizer.level}" if isinstance(tokenizer, WordTokenizer) else _BPE
    record = {"kind": kind, "symbols": list(tokenizer.symbols)}
    write_json(path, record | {"marks": tokenizer.marks})


def load_tokenizer(path: Path) -> AnyTokenizer:
    """Read what `save_tokenizer` wrote.

    Raises:
        InputError: the file is missing, damaged, or holds no tokenizer.
    """
    record = read_json(path, "a tokenizer")
    if "characters" in record:
        return load_vocab(path)
    kind, symbols = record.get("kind"), record.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
        raise InputError(f"{path}: expected a list of symbols, found {symbols!r:.60}")
    marks = record.get("marks", False)  # former versions cut words at them
    if not isinstance(marks, bool):
        raise InputError(f"{path}: expected marks true or false, found {marks!r:.60}")
    if kind == _BPE:
        return BPETokenizer(tuple(symbols), marks)
    for level in get_args(Level):
        if kind == f"words, {level}":
            return WordTokenizer(level, tuple(symbols), marks)
    raise InputError(f"{path}: expected a kind of tokenizer, found {kind!r:.60}")
