"""Text files to ids: pieces, splits, damage."""

import gzip
import io
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lstm_jax.data import text as data
from lstm_jax.data.special_ids import UNKNOWN
from lstm_jax.data.text import (
    Corpus,
    encode_file,
    encode_files,
    encode_text,
    load_corpus,
    split_size,
    survey_files,
)
from lstm_jax.data.tokenizers.characters import CharTokenizer, Kind
from lstm_jax.data.tokenizers.vocabulary import Vocabulary
from lstm_jax.errors import InputError

# Characters of one to four bytes, every kind of line end, NUL, the byte order mark.
MIXED = "\ufeffaé\r\n\u0301\0€\x85b\u2028\U0001f600\rc\u2029\n\U0010ffffz\x0b\x0c"
each_kind = pytest.mark.parametrize("kind", ["char", "byte"])


def write(path: Path, content: str | bytes) -> Path:
    """A file of exactly this content, packed if its name says so."""
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def read_back(
    paths: Sequence[Path], kind: Kind, fraction: float, target: Path
) -> tuple[Corpus, Vocabulary]:
    """What the library makes of some files, in two readings."""
    survey = survey_files(paths, kind, fraction)
    corpus = encode_files(paths, survey, target)
    assert survey.total == len(corpus.ids)
    assert survey.train_size == corpus.train_size
    return corpus, survey.vocab


def assert_same(
    found: tuple[Corpus, Vocabulary], expected: tuple[Corpus, Vocabulary]
) -> None:
    assert found[1] == expected[1]
    assert found[0].train_size == expected[0].train_size
    assert found[0].ids.dtype == expected[0].ids.dtype
    np.testing.assert_array_equal(found[0].ids, expected[0].ids)


# Reading.


@each_kind
@pytest.mark.parametrize("fraction", [0.0, 0.3])
@pytest.mark.parametrize(
    "names",
    [["a.txt"], ["a.txt.gz"], ["a.txt", "b"], ["a.gz", "b.txt", "c.gz"]],
    ids="+".join,
)
def test_files_are_their_content_end_to_end(
    tmp_path: Path, names: list[str], fraction: float, kind: Kind
) -> None:
    texts = [f"{MIXED} {name} {'xyz' * n}" for n, name in enumerate(names)]
    pairs = zip(names, texts, strict=True)
    paths = [write(tmp_path / name, text) for name, text in pairs]
    found = read_back(paths, kind, fraction, tmp_path / "corpus.npy")
    assert_same(found, encode_text("".join(texts), kind, fraction))


@each_kind
def test_every_character_is_kept_as_it_is(tmp_path: Path, kind: Kind) -> None:
    """No line end is translated, no byte order mark dropped."""
    path = write(tmp_path / "text", MIXED)
    corpus, vocab = read_back([path], kind, 0.0, tmp_path / "corpus.npy")
    assert vocab.decode(corpus.ids) == MIXED
    assert vocab.decode(encode_file(path, vocab)) == MIXED


@each_kind
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(st.characters(), min_size=2, max_size=20), st.integers(1, 7))
@example(MIXED, 1)
@example(MIXED, 2)
@example("\U0001f600" * 5, 3)
@example("\ud83d\ude00\udfff", 2)
def test_text_cut_into_pieces(
    tmp_path: Path, kind: Kind, text: str, piece: int
) -> None:
    """Wherever a piece ends, in a character too, the ids are those of the whole.

    Lone surrogates are no UTF-8, but some programs write them, so they are read.
    """
    path = write(tmp_path / "text", text.encode("utf-8", "surrogatepass"))
    expected = encode_text(text, kind, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_PIECE", piece)
        found = read_back([path], kind, 0.2, tmp_path / "corpus.npy")
        assert_same(found, expected)
        ids = encode_file(path, expected[1])
    np.testing.assert_array_equal(ids, expected[0].ids)


def test_vocabulary_comes_from_the_training_part() -> None:
    corpus, vocab = encode_text("cabcacaxyb", "char", 0.3)
    assert corpus.train_size == 7
    assert vocab == CharTokenizer("char", "abc")
    assert vocab.decode(corpus.train) == "cabcaca"
    assert corpus.ids[7:].tolist() == [UNKNOWN, UNKNOWN, 2]
    assert corpus.has_validation
    assert corpus.validation.tolist() == corpus.ids[6:].tolist()


@pytest.mark.parametrize("first", [6, 7])
@pytest.mark.parametrize("piece", [1, 5, 99])
def test_the_split_decides_to_the_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, first: int
) -> None:
    """A character first seen just before or just behind the split, in any piece."""
    monkeypatch.setattr(data, "_PIECE", piece)
    text = "é" * first + "x" + "é" * (9 - first)
    path = write(tmp_path / "text", text)
    corpus, vocab = read_back([path], "char", 0.3, tmp_path / "corpus.npy")
    assert corpus.train_size == 7
    assert vocab == CharTokenizer("char", "xé" if first < 7 else "é")


@pytest.mark.parametrize(
    ("total", "fraction", "train_size"),
    [(10, 0.0, 10), (10, 0.1, 9), (11, 0.1, 9), (100, 0.999, 100), (2, 0.5, 2)],
)
def test_split_size(total: int, fraction: float, train_size: int) -> None:
    """At least two symbols must remain to learn from; else nothing is held out."""
    assert split_size(total, fraction, "text") == train_size


def test_ids_on_disk_are_mapped(tmp_path: Path) -> None:
    corpus, _ = read_back([write(tmp_path / "t", MIXED)], "char", 0.0, tmp_path / "c")
    assert isinstance(corpus.ids, np.memmap)
    again = load_corpus(tmp_path / "c", 3, 256)
    np.testing.assert_array_equal(again.ids, corpus.ids)
    assert again.train_size == 3


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the text takes no more memory: only a few pieces of it are held.

    Python's own count of allocations is used. It is exact, knows NumPy's arrays, and
    leaves out the mapped ids, which the system may drop whenever it likes. Anything
    that followed the file would show as 48 MB or more, a byte for every character.
    """
    monkeypatch.setattr(data, "_PIECE", 2**18)

    def peak(megabytes: int) -> int:
        block = (MIXED + "the quick brown fox " * 60).encode()
        path = write(tmp_path / "text", block * (megabytes * 2**20 // len(block)))
        tracemalloc.start()
        read_back([path], "char", 0.1, tmp_path / "corpus.npy")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(64) - peak(16) < 2**20


def test_data_that_are_no_text_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after reading on: else the damage at the end of this file would be named."""
    monkeypatch.setattr(data, "_PIECE", 8)
    path = tmp_path / "binary.gz"
    path.write_bytes(gzip.compress(b"abc\xff" + bytes(99999))[:-9])
    with pytest.raises(InputError, match="found other data at byte 3"):
        survey_files([path], "char", 0.1)


UNREADABLE = {  # name of a file: its content, and what is said of it
    "missing": (None, "expected a file, found nothing"),
    "missing.gz": (None, "expected a file, found nothing"),
    ".": (None, "expected a file, found a folder"),
    "empty": (b"", "expected a text of at least 2 characters, found 0"),
    "empty.gz": (b"", "expected a text of at least 2 characters, found 0"),
    "one": ("é".encode(), "expected a text of at least 2 characters, found 1"),
    "binary": (b"abc\xff\xfe\0", "other data at byte 3 (--vocab byte reads any"),
    "latin": ("aé€ é".encode() + b"\xe9t\xe9", "found other data at byte 9"),
    "half": ("a€".encode()[:-1], "found other data at byte 1"),
    "overlong": (b"ab\xc0\xafcd", "found other data at byte 2"),
    "plain.gz": (b"just text", "expected a readable file, found"),
    "cut.gz": (gzip.compress(b"abc" * 99)[:-9], "expected a readable file, found"),
    "damaged.gz": (
        gzip.compress(b"abc" * 99)[:10] + b"\xff" * 40,
        "expected a readable file, found",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("piece", [1, 2, 5, 1 << 22])
def test_what_cannot_be_read_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    piece: int,
) -> None:
    """In one line with the file's name, wherever the reading pieces end."""
    monkeypatch.setattr(data, "_PIECE", piece)
    content, message = UNREADABLE[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        survey_files([path], "char", 0.1)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=re.escape(message)):
        encode_file(path, CharTokenizer("char", "abc"))


def test_bytes_of_any_file_can_be_learned(tmp_path: Path) -> None:
    path = write(tmp_path / "binary", bytes(range(256)))
    corpus, _ = read_back([path], "byte", 0.0, tmp_path / "corpus.npy")
    assert corpus.ids.tolist() == list(range(256))


def test_one_character_of_several_bytes_is_text_enough_as_bytes() -> None:
    with pytest.raises(InputError, match="the text: expected a text of at least 2"):
        encode_text("é", "char", 0.0)
    corpus, _ = encode_text("é", "byte", 0.0)
    assert corpus.ids.tolist() == [0xC3, 0xA9]


def saved(array: np.ndarray) -> bytes:
    """An array as the bytes of its file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected encoded text, found"),
        (b"text", "expected encoded text, found"),
        (saved(np.zeros(9, np.uint8))[:-5], "expected encoded text, found"),
        (saved(np.zeros((2, 2), np.uint8)), "a row of ids, found uint8[2, 2]"),
        (saved(np.zeros(4, np.int64)), "a row of ids, found int64[4]"),
        (saved(np.zeros(2, np.uint8)), "at least 3 ids, found 2"),
    ],
    ids=["empty", "text", "cut", "matrix", "signed", "short"],
)
def test_damaged_arrays_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = write(tmp_path / "corpus.npy", content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load_corpus(path, 3, 256)
    assert str(caught.value).startswith(f"{path}: expected")
    assert "\n" not in str(caught.value)


def test_missing_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected encoded text, found"):
        load_corpus(tmp_path / "corpus.npy", 0, 256)
