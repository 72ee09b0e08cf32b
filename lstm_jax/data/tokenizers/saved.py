"""Any tokenizer as a file: JSON with a checksum.

Applications keep theirs in `tokenizer.json`, the text generator in `vocab.json`.
"""

from pathlib import Path
from typing import get_args

from lstm_jax.data.tokenizers.characters import CharTokenizer, load_vocab, save_vocab
from lstm_jax.data.tokenizers.huggingface import (
    KIND,
    HuggingFaceTokenizer,
    parse_tokenizer,
)
from lstm_jax.data.tokenizers.pieces import PieceKind, PieceTokenizer
from lstm_jax.data.tokenizers.subwords import BPETokenizer
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
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


def save_vocabulary(vocab: Vocabulary, path: Path) -> None:
    """Write the vocabulary of a text generator, whole or not at all."""
    if isinstance(vocab, CharTokenizer):
        save_vocab(vocab, path)
    elif isinstance(vocab, PieceTokenizer):
        write_json(path, {"kind": vocab.kind, "symbols": list(vocab.symbols)})
    else:
        assert isinstance(vocab, HuggingFaceTokenizer)
        write_json(path, {"kind": KIND, "tokenizer": vocab.text})


def load_vocabulary(path: Path) -> Vocabulary:
    """Read what `save_vocabulary` wrote.

    Raises:
        InputError: the file is missing, damaged, or holds no vocabulary; or the package
            that reads it is not installed.
    """
    record = read_json(path, "a vocabulary")
    kind, symbols = record.get("kind"), record.get("symbols")
    if kind == KIND and isinstance(text := record.get("tokenizer"), str):
        return parse_tokenizer(text, str(path))
    for known in get_args(PieceKind):
        if kind == known:
            return PieceTokenizer(known, _distinct(symbols, path))
    return load_vocab(path)


def _distinct(symbols: object, path: Path) -> tuple[str, ...]:
    texts = isinstance(symbols, list) and all(isinstance(s, str) for s in symbols)
    if not texts or not all(symbols) or len(set(symbols)) != len(symbols):
        raise InputError(
            f"{path}: expected a list of distinct symbols, found {symbols!r:.60}"
        )
    return tuple(symbols)
