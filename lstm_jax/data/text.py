"""Text files to arrays of ids. NumPy only; memory stays bounded.

A text is read piece by piece and written once, as ids, into an array on disk that is
mapped into memory. Nothing holds the whole of it.
"""

import contextlib
import dataclasses
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lstm_jax.data.memmap import read_ids, write_ids
from lstm_jax.data.tokenizers.characters import CharTokenizer, code_points, to_bytes
from lstm_jax.data.tokenizers.huggingface import read_tokenizer
from lstm_jax.data.tokenizers.pieces import learn_pieces, whole_words
from lstm_jax.data.tokenizers.vocabulary import Vocabulary, check_level
from lstm_jax.errors import InputError, warn

_PIECE = 1 << 22  # bytes read at a time
_TRIED = 100_000  # characters that a tokenizer is tried on
_PACKED = {".gz": gzip.open, ".xz": lzma.open}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """An encoded text: `ids`, the first `train_size` of them for training.

    Where something was cut out of the middle of the training text, `seam` is the place
    of the first symbol after it; what is before does not predict it.
    """

    ids: np.ndarray
    train_size: int
    seam: int | None = None

    @property
    def train(self) -> np.ndarray:
        """The part the model learns from."""
        return self.ids[: self.train_size]

    @property
    def validation(self) -> np.ndarray:
        """The rest, and the one symbol before it, from which its first is predicted."""
        return self.ids[self.train_size - 1 :]

    @property
    def has_validation(self) -> bool:
        """Whether anything was held out."""
        return self.train_size < len(self.ids)


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a first reading of some files found: how much, and of what symbols.

    Attributes:
        total: symbols in all.
        train_size: the first ones, for training.
        vocab: the vocabulary.
        cut: characters of the training part, where a symbol is none; else None.
    """

    total: int
    train_size: int
    vocab: Vocabulary
    cut: int | None = None


def survey_files(
    paths: Sequence[Path],
    kind: str,
    validation_fraction: float,
    size: int | None = None,
    vocab: Vocabulary | None = None,
) -> Survey:
    """Read text files once or twice, to the end, keeping only counts.

    Args:
        paths: UTF-8 text files, or any files with kind "byte"; `.gz` is unpacked.
        kind: what a symbol is: "char", "byte", "word", "bpe", or the path of a
            tokenizer.json.
        validation_fraction: the share of the text held out, from the end.
        size: V, the ids of "word" and "bpe".
        vocab: one to use instead of learning one. The characters of the training part
            that it lacks are added, where it can have more.

    Returns:
        The sizes, and the vocabulary of the training part alone.

    Raises:
        InputError: a file is missing or no text, or all together are too short.
    """
    source = ", ".join(map(str, paths))
    for path in paths:
        if path.is_fifo() or path.is_char_device():
            raise InputError(
                f"{path}: expected a file, which can be read twice, found a pipe"
            )

    def read() -> Iterator[str | bytes]:
        return _pieces(paths, kind)

    return _survey(read, source, kind, validation_fraction, size, vocab)


def _survey(
    read: Callable[[], Iterator[str | bytes]],
    source: str,
    kind: str,
    validation_fraction: float,
    size: int | None,
    vocab: Vocabulary | None,
) -> Survey:
    if vocab is None and kind in ("char", "byte"):
        total, first_seen = _first_seen(read())
        train_size = split_size(total, validation_fraction, source)
        return Survey(total, train_size, _vocab_before(first_seen, train_size, kind))
    total, first_seen = _first_seen(read())
    cut = split_size(total, validation_fraction, source)
    if vocab is None:
        vocab = _learned(kind, _before(read(), cut), size)
    else:
        vocab = vocab.extended(_vocab_before(first_seen, cut, "char").characters)
    if isinstance(vocab, CharTokenizer):
        return Survey(total, cut, vocab)
    train_size, rest = (
        sum(len(vocab.encode(piece)) for piece in whole_words(part))
        for part in (_before(read(), cut), _after(read(), cut))
    )
    if train_size < 2:
        raise InputError(
            f"{source}: expected a training text of at least 2 symbols, "
            f"found {train_size}"
        )
    return Survey(train_size + rest, train_size, vocab, cut)


def _learned(kind: str, train: Iterator[str], size: int | None) -> Vocabulary:
    """The vocabulary of a training text, or one that was made elsewhere."""
    if kind == "word" or kind == "bpe":
        return learn_pieces(kind, whole_words(train), size)
    check_level(kind)
    vocab = read_tokenizer(Path(kind))
    _warn_of_loss(vocab, next(train, ""))
    return vocab


def _warn_of_loss(vocab: Vocabulary, text: str) -> None:
    """Say so if a tokenizer does not give a text back as it was."""
    text = text[:_TRIED]
    back = vocab.decode(vocab.encode(text))
    if back != text:
        place = next(
            (k for k, (a, b) in enumerate(zip(text, back, strict=False)) if a != b),
            min(len(text), len(back)),
        )
        start = max(0, place - 10)
        warn(
            f"--vocab: this tokenizer loses a part of the text: "
            f"{text[start : place + 10]!r} comes back as {back[start : place + 10]!r}"
        )


def encode_files(paths: Sequence[Path], survey: Survey, target: Path) -> Corpus:
    """Write the ids of surveyed files into an array on disk, and map it.

    Raises:
        InputError: the files changed since, or the disk is full.
    """
    vocab = survey.vocab
    pieces = _encoded(lambda: _pieces(paths, vocab.kind), survey)
    write_ids(target, vocab.dtype, survey.total, pieces)
    return Corpus(np.lib.format.open_memmap(target, mode="r"), survey.train_size)


def _encoded(
    read: Callable[[], Iterator[str | bytes]], survey: Survey
) -> Iterator[np.ndarray]:
    """The ids of a text, its training part by itself where symbols are longer."""
    if survey.cut is None:
        return map(survey.vocab.encode, read())
    parts = _before(read(), survey.cut), _after(read(), survey.cut)
    return (survey.vocab.encode(piece) for part in parts for piece in whole_words(part))


def _before(pieces: Iterable[str | bytes], cut: int) -> Iterator[str]:
    """The first characters of a text that comes in pieces."""
    for piece in pieces:
        assert isinstance(piece, str), "only bytes are read as bytes"
        yield piece[:cut]
        cut -= len(piece)
        if cut <= 0:
            return


def _after(pieces: Iterable[str | bytes], cut: int) -> Iterator[str]:
    """All but the first characters of a text that comes in pieces."""
    for piece in pieces:
        assert isinstance(piece, str), "only bytes are read as bytes"
        if len(piece) > cut:
            yield piece[max(cut, 0) :]
        cut -= len(piece)


def load_corpus(path: Path, train_size: int, symbols: int) -> Corpus:
    """Map an array of ids that was written before.

    Raises:
        InputError: there is none, it is damaged, or of a vocabulary of more `symbols`.
    """
    ids = read_ids(path, symbols)
    if len(ids) < train_size:
        raise InputError(
            f"{path}: expected at least {train_size} ids, found {len(ids)}"
        )
    return Corpus(ids, train_size)


def read_text(paths: Sequence[Path], kind: str) -> str | bytes:
    """The whole of some files, for what can't do with pieces: bytes of kind "byte".

    Raises:
        InputError: a file is missing or no text.
    """
    if kind == "byte":
        return b"".join(piece for path in paths for piece in bytes_of(path))
    return "".join(piece for path in paths for piece in _text_of(path))


def encode_text(
    text: str | bytes,
    kind: str,
    validation_fraction: float,
    size: int | None = None,
    vocab: Vocabulary | None = None,
) -> tuple[Corpus, Vocabulary]:
    """A text in memory: its ids, and the vocabulary of the training part.

    The arguments are those of `survey_files`.

    Raises:
        InputError: the text is too short.
    """
    symbols = to_bytes(text) if kind == "byte" and isinstance(text, str) else text

    def read() -> Iterator[str | bytes]:
        return iter([symbols])

    survey = _survey(read, "the text", kind, validation_fraction, size, vocab)
    ids = np.concatenate([*_encoded(read, survey)])
    return Corpus(ids, survey.train_size), survey.vocab


def split_size(total: int, validation_fraction: float, source: str) -> int:
    """How many of `total` symbols are for training: the first ones.

    Raises:
        InputError: there is nothing to learn from.
    """
    if total < 2:
        raise InputError(
            f"{source}: expected a text of at least 2 characters, found {total}"
        )
    train_size = int(total * (1 - validation_fraction))
    return train_size if train_size >= 2 else total


def encode_file(path: Path, vocab: Vocabulary) -> np.ndarray:
    """The ids of a text file under a given vocabulary, for evaluation.

    Raises:
        InputError: the file is missing, no text, or too short.
    """
    pieces: Iterator[str | bytes] = (
        _pieces([path], vocab.kind)
        if isinstance(vocab, CharTokenizer)
        else whole_words(_text_of(path))
    )
    ids = np.concatenate([np.zeros(0, vocab.dtype), *map(vocab.encode, pieces)])
    if len(ids) < 2:
        raise InputError(
            f"{path}: expected a text of at least 2 characters, found {len(ids)}"
        )
    return ids


def _first_seen(pieces: Iterable[str | bytes]) -> tuple[int, dict[int, int]]:
    """The number of symbols, and where each code point comes first."""
    total = 0
    first_seen: dict[int, int] = {}
    known, fresh = np.zeros(0x110000, bool), np.zeros(0x110000, bool)
    place = np.zeros(0x110000, np.int64)
    for piece in pieces:
        if isinstance(piece, str) and not _has_only(piece, known):
            codes = code_points(piece)
            new = np.flatnonzero(~known.take(codes))
            fresh[:] = False
            fresh[codes[new]] = True
            place[codes[new[::-1]]] = new[::-1]  # of those for one code the last stays
            values = np.flatnonzero(fresh)
            known |= fresh
            places = total + place[values]
            first_seen.update(zip(values.tolist(), places.tolist(), strict=True))
        total += len(piece)
    return total, first_seen


def _has_only(piece: str, known: np.ndarray) -> bool:
    """Whether a piece is ASCII without new characters, as most are: quick to say."""
    old = bytes(np.flatnonzero(known[:128]).tolist())
    return piece.isascii() and not piece.encode().translate(None, old)


def _vocab_before(
    first_seen: dict[int, int], train_size: int, kind: str
) -> CharTokenizer:
    assert kind == "char" or kind == "byte"
    codes = sorted(code for code, place in first_seen.items() if place < train_size)
    return CharTokenizer(kind, "".join(map(chr, codes)))


def _pieces(paths: Sequence[Path], kind: str) -> Iterator[str | bytes]:
    for path in paths:
        yield from bytes_of(path) if kind == "byte" else _text_of(path)


def _text_of(path: Path) -> Iterator[str]:
    """A file's text as it is: no newline is translated, nothing undecodable passes."""
    carried = b""
    offset = 0
    for raw in bytes_of(path):
        raw = carried + raw
        try:
            text = raw.decode("utf-8", "surrogatepass")
            carried = b""
        except UnicodeDecodeError as error:
            # A character may be cut in two by the end of a piece, and only there.
            if len(raw) - error.start > 3:
                raise _not_text(path, offset + error.start) from None
            text = raw[: error.start].decode("utf-8", "surrogatepass")
            carried = raw[error.start :]
        offset += len(raw) - len(carried)
        yield text
    if carried:
        raise _not_text(path, offset)


def _not_text(path: Path, offset: int) -> InputError:
    return InputError(
        f"{path}: expected UTF-8 text, found other data at byte {offset} "
        "(--vocab byte reads any file)"
    )


def bytes_of(path: Path) -> Iterator[bytes]:
    """A file in pieces, `.gz` and `.xz` unpacked; InputError if it can't be read."""
    with _reading(path), open(path, "rb") as plain:
        unpack = _PACKED.get(path.suffix.lower())
        file = unpack(plain) if unpack else plain
        while piece := file.read(_PIECE):
            yield piece


def unpacked_name(path: Path) -> Path:
    """The path without the ending of what `bytes_of` unpacks."""
    return path.with_suffix("") if path.suffix.lower() in _PACKED else path


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: expected a file, found nothing") from None
    except IsADirectoryError:
        raise InputError(f"{path}: expected a file, found a folder") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path}: expected a readable file, found: {error}") from None
