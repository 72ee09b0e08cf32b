"""Files to ids to batches: nothing lost, nothing twice, nothing from the wrong part."""

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

from lstm_jax import data
from lstm_jax.config import Kind
from lstm_jax.data import (
    IGNORED,
    Batch,
    Corpus,
    encode_file,
    encode_files,
    encode_text,
    lane_batch,
    load_corpus,
    split_size,
    steps_per_epoch,
    survey_files,
    windows,
)
from lstm_jax.errors import InputError
from lstm_jax.vocab import UNKNOWN, Vocab

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
) -> tuple[Corpus, Vocab]:
    """What the library makes of some files, in two readings."""
    survey = survey_files(paths, kind, fraction)
    corpus = encode_files(paths, survey, target)
    assert survey.total == len(corpus.ids)
    assert survey.train_size == corpus.train_size
    return corpus, survey.vocab


def assert_same(found: tuple[Corpus, Vocab], expected: tuple[Corpus, Vocab]) -> None:
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
    assert vocab.characters == "abc"
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
    assert vocab.characters == ("xé" if first < 7 else "é")


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
    "missing": (None, "expected a text file, found nothing"),
    "missing.gz": (None, "expected a text file, found nothing"),
    ".": (None, "expected a text file, found a folder"),
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
        encode_file(path, Vocab("char", "abc"))


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


# Lanes.

# In these tests the text is 0, 1, 2, ...: a symbol is its own place.
shapes = st.tuples(st.integers(2, 60), st.integers(1, 5), st.integers(1, 7))


def lanes(
    shape: tuple[int, int, int], n: int, seed: int = 0, reset_probability: float = 0.3
) -> Batch:
    """Batch n of a text of `size` symbols, for a shape (size, batch, length)."""
    size, batch, length = shape
    ids = np.arange(size, dtype=np.uint16)
    return lane_batch(
        ids,
        n,
        batch=batch,
        length=length,
        seed=seed,
        reset_probability=reset_probability,
    )


def assert_equal_batches(a: Batch, b: Batch) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@given(shapes, st.integers(0, 20), st.integers(0, 2**63 - 1))
def test_a_batch_has_its_shape_and_types(
    shape: tuple[int, int, int], n: int, seed: int
) -> None:
    _, batch, length = shape
    found = lanes(shape, n, seed)
    assert {name: (a.shape, a.dtype.name) for name, a in found.items()} == {
        "inputs": ((length, batch), "int32"),
        "targets": ((length, batch), "int32"),
        "fresh": ((batch,), "bool"),
    }


@given(shapes, st.permutations(range(8)), st.integers(0, 99))
def test_a_batch_is_a_function_of_seed_and_number(
    shape: tuple[int, int, int], order: list[int], seed: int
) -> None:
    """Made in any order, or twice: the same."""
    in_order = [lanes(shape, n, seed) for n in range(8)]
    for n in order:
        assert_equal_batches(lanes(shape, n, seed), in_order[n])


@given(shapes, st.integers(0, 30))
def test_targets_are_true_successors(shape: tuple[int, int, int], n: int) -> None:
    """The end of the text never predicts its beginning."""
    batch = lanes(shape, n)
    np.testing.assert_array_equal(batch["targets"], batch["inputs"] + 1)
    assert batch["targets"].max() < shape[0]


@given(shapes, st.integers(0, 3))
def test_an_epoch_reads_everything(shape: tuple[int, int, int], epoch: int) -> None:
    """Every transition once, and no more twice than it takes to fill the last step."""
    size, batch, length = shape
    segments = steps_per_epoch(size, batch, length)
    inputs = [lanes(shape, epoch * segments + k)["inputs"] for k in range(segments)]
    counts = np.bincount(np.ravel(inputs), minlength=size)
    assert counts[-1] == 0  # the last symbol has no successor
    assert counts[:-1].min() >= 1
    assert counts.sum() == segments * batch * length
    assert (segments - 1) * batch * length < size - 1


@given(shapes, st.integers(0, 3))
def test_lanes_go_on_where_they_stopped(
    shape: tuple[int, int, int], epoch: int
) -> None:
    """Within an epoch a lane reads on; after the last transition comes the first."""
    size, batch, length = shape
    segments = steps_per_epoch(size, batch, length)
    first = epoch * segments
    inputs = [lanes(shape, first + k)["inputs"] for k in range(segments)]
    read = np.concatenate(inputs)
    np.testing.assert_array_equal(read[1:], (read[:-1] + 1) % (size - 1))
    ends, starts = read[-1], np.roll(read[0], -1)  # a lane ends where the next began
    np.testing.assert_array_equal(starts[:-1], (ends[:-1] + 1) % (size - 1))


def test_epochs_and_seeds_begin_at_different_places() -> None:
    shape = (1000, 2, 5)
    segments = steps_per_epoch(*shape)
    by_epoch = {int(lanes(shape, k * segments)["inputs"][0, 0]) for k in range(20)}
    by_seed = {int(lanes(shape, 0, seed)["inputs"][0, 0]) for seed in range(20)}
    assert len(by_epoch) > 15
    assert len(by_seed) > 15


def fresh_share(reset_probability: float, *, first: bool) -> float:
    """The share of fresh lanes, over 50 epochs of 10 segments of 20 lanes."""
    shape = (20 * 10 * 3 + 1, 20, 3)
    numbers = [n for n in range(50 * 10) if (n % 10 == 0) == first]
    found = [lanes(shape, n, 0, reset_probability)["fresh"] for n in numbers]
    return float(np.mean(found))


@pytest.mark.parametrize("probability", [0.0, 0.02, 0.5])
def test_an_epoch_starts_from_the_zero_state(probability: float) -> None:
    assert fresh_share(probability, first=True) == 1


@pytest.mark.parametrize("probability", [0.02, 0.5, 0.9])
def test_lanes_are_reset_as_often_as_asked(probability: float) -> None:
    """9000 draws: four standard deviations of their mean, sqrt(p (1 - p) / 9000)."""
    share = fresh_share(probability, first=False)
    allowed = 4 * (probability * (1 - probability) / 9000) ** 0.5
    assert abs(share - probability) < allowed


def test_without_resets_none_happen() -> None:
    assert fresh_share(0.0, first=False) == 0


def test_lanes_are_reset_independently() -> None:
    """Neither all lanes at once nor the same ones every time."""
    shape = (2000, 8, 3)
    fresh = np.array([lanes(shape, n, 0, 0.5)["fresh"] for n in range(1, 60)])
    assert not (fresh == fresh[:, :1]).all(axis=1).all()
    assert not (fresh == fresh[:1]).all()


# Windows.


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 5))
def test_windows_predict_every_symbol_but_the_first_once(
    size: int, length: int, rows: int
) -> None:
    """In order, in batches of one shape; what fills them up is not counted."""
    batches = list(windows(np.arange(size, dtype=np.uint8), length, rows))
    for batch in batches:
        assert batch["inputs"].shape == batch["targets"].shape == (length, rows)
        assert batch["fresh"].tolist() == [True] * rows
    inputs, targets = (
        np.concatenate([batch[name].T.ravel() for batch in batches])
        for name in ("inputs", "targets")
    )
    assert targets.tolist() == [*range(1, size)] + [IGNORED] * (len(targets) - size + 1)
    assert inputs[: size - 1].tolist() == [*range(size - 1)]
    assert len(targets) - size + 1 < length * rows  # no batch of nothing


@pytest.mark.parametrize(
    ("limit", "firsts"),
    [
        (None, list(range(10))),
        (10, list(range(10))),
        (99, list(range(10))),
        (1, [0]),
        (2, [0, 9]),
        (4, [0, 3, 6, 9]),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_limit_takes_windows_evenly(
    rows: int, limit: int | None, firsts: list[int]
) -> None:
    """Of ten windows of five; each is still a whole window."""
    ids = np.arange(51, dtype=np.uint8)
    batches = list(windows(ids, 5, rows, limit))
    targets = np.concatenate([batch["targets"] for batch in batches], axis=1).T
    counted = targets[targets[:, 0] != IGNORED]
    expected = [[5 * first + k + 1 for k in range(5)] for first in firsts]
    assert counted.tolist() == expected


# A seam in the training text.


@pytest.mark.parametrize("seam", [1, 2, 30, 58, 59])
def test_nothing_is_predicted_across_a_seam(seam: int) -> None:
    """Every transition but that one is read in an epoch, and no other."""
    ids = np.arange(60, dtype=np.uint8)
    batches = [
        lane_batch(ids, n, batch=3, length=4, seed=1, reset_probability=0.0, seam=seam)
        for n in range(steps_per_epoch(60, 3, 4))
    ]
    found = {
        pair
        for batch in batches
        for pair in zip(
            batch["inputs"].ravel().tolist(),
            batch["targets"].ravel().tolist(),
            strict=True,
        )
    }
    assert found == {(k, k + 1) for k in range(59)} - {(seam - 1, seam)}
