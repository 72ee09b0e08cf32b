"""Two files, line by line; and a dictionary learned from them."""

import gzip
import random
import unicodedata
from collections import defaultdict
from pathlib import Path

import pytest

from experiments.translate.baseline import learn_lexicon, translate_by_words
from experiments.translate.data import (
    Pairs,
    ParallelParts,
    read_lines,
    read_parallel,
    read_parts,
)
from lstm_jax.errors import InputError

LANGUAGES = ("de", "en")
PAIRS = [
    ("das haus", "the house"),
    ("das buch", "the book"),
    ("ein buch", "a book"),
    ("ein großes haus ist da", "a big house is there"),
]


def write(path: Path, text: str) -> Path:
    raw = text.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs_are_read(tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / f"a.de{ending}", "Ein  Hund\n\nDer\x85Ä\u2028Tag\nzu\n")
    target = write(tmp_path / "a.en", "a dog \nnothing\nthe\tday\n \n")
    pairs = read_parallel(source, target)
    assert pairs == [("Ein Hund", "a dog"), ("Der Ä Tag", "the day")]
    lower = ParallelParts(pairs, [], pairs).in_lower_case()
    assert lower.test[1] == ("der ä tag", "the day") and lower.val == []


def test_a_last_line_needs_no_newline(tmp_path: Path) -> None:
    assert read_lines(write(tmp_path / "a", "x\ny")) == ["x", "y"]
    assert read_lines(write(tmp_path / "a", "x\ny\n")) == ["x", "y"]


def test_what_is_not_parallel_text_is_refused(tmp_path: Path) -> None:
    two, three = write(tmp_path / "two", "a\nb\n"), write(tmp_path / "three", "a\nb\nc")
    with pytest.raises(InputError, match=r"three as in .*two, 2, found 3"):
        read_parallel(two, three)
    with pytest.raises(InputError, match="missing: expected a file, found no"):
        read_parallel(two, tmp_path / "missing")
    (tmp_path / "latin").write_bytes("ab\nä\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin: expected UTF-8 .* at byte 3"):
        read_parallel(tmp_path / "latin", two)
    empty = write(tmp_path / "empty", "\n")
    with pytest.raises(InputError, match="expected sentences, found none"):
        read_parallel(empty, empty)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_both_files_may_come_from_anywhere(
    encoding: str, end: str, tmp_path: Path
) -> None:
    ours = unicodedata.normalize("NFD", f"Käse{end}ein Hund{end}")
    (tmp_path / "a.de").write_bytes(ours.encode(encoding))
    (tmp_path / "a.en").write_bytes(f"cheese{end}a dog".encode(encoding))
    pairs = read_parallel(tmp_path / "a.de", tmp_path / "a.en")
    assert pairs == [("Käse", "cheese"), ("ein Hund", "a dog")]


def test_empty_lines_at_the_end_are_none(tmp_path: Path) -> None:
    source = write(tmp_path / "a.de", "ein\nzwei\n\n \n")
    target = write(tmp_path / "a.en", "one\ntwo\n")
    assert read_parallel(source, target) == [("ein", "one"), ("zwei", "two")]
    write(target, "one\n\ntwo\n")
    with pytest.raises(InputError, match=r"as in .*a.de, 2, found 3"):
        read_parallel(source, target)


def test_pairs_with_an_empty_side_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path / "a.de", "ein\n\n\nvier\n")
    target = write(tmp_path / "a.en", "one\ntwo\n\nfour\n")
    assert len(read_parallel(source, target)) == 2
    assert "pairs with an empty side are left out, 1" in caplog.text


def test_a_nul_is_no_text(tmp_path: Path) -> None:
    source = write(tmp_path / "a.de", "ein\nz\0wei\n")
    with pytest.raises(InputError, match=r"a.de: .* found a NUL character in line 2"):
        read_parallel(source, source)


def random_pairs() -> Pairs:
    """Sentences of few words, some of them far more frequent than others."""
    draw = random.Random(0)

    def words(letters: str) -> str:
        return " ".join(draw.choices(letters, range(1, 7), k=draw.randint(1, 6)))

    return [(words("abcdef"), words("uvwxyz")) for _ in range(30)]


def slow_model(pairs: Pairs, iterations: int) -> dict[str, dict[str, float]]:
    """IBM model 1 in dictionaries: chances of an English word, given a German one."""
    german = {word for source, _ in pairs for word in ["", *source.split()]}
    chance: dict[str, dict[str, float]] = {f: defaultdict(lambda: 1.0) for f in german}
    for _ in range(iterations):
        counts = {f: defaultdict(float) for f in german}
        for source, target in pairs:
            words = ["", *source.split()]
            for e in target.split():
                total = sum(chance[f][e] for f in words)
                for f in words:
                    counts[f][e] += chance[f][e] / total
        for f in german:
            total = sum(counts[f].values())
            chance[f] = defaultdict(float, {e: n / total for e, n in counts[f].items()})
    return chance


@pytest.mark.parametrize("iterations", [1, 2, 5, 20])
@pytest.mark.parametrize("pairs", [PAIRS, random_pairs()], ids=["few", "random"])
def test_the_dictionary_is_that_of_slow_counting(pairs: Pairs, iterations: int) -> None:
    lexicon = learn_lexicon(pairs, iterations)
    expected = slow_model(pairs, iterations)
    assert {word.strip() for word in lexicon} == set(expected) - {""}
    for word, translation in lexicon.items():
        chances = expected[word.strip()]
        assert chances[translation.strip()] == pytest.approx(max(chances.values()))


def test_translation_word_by_word() -> None:
    lexicon = learn_lexicon(PAIRS)
    assert translate_by_words(lexicon, "das buch") == "the book"
    assert translate_by_words(lexicon, "ein xyz haus") == "a xyz house"


def number(path: Path, prefix: str, count: int) -> Path:
    return write(path, "".join(f"{prefix} {k}\n" for k in range(count)))


def test_a_folder_has_its_parts(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("val", 2), ("other", 3)):
        number(tmp_path / f"{name}.fr", f"{name} ours", count)
        number(tmp_path / f"{name}.cs.gz", f"{name} theirs", count)
    parts = read_parts([tmp_path], ("fr", "cs"), "other")
    assert list(map(len, (parts.train, parts.val, parts.test))) == [5, 2, 3]
    assert parts.test[1] == ("other ours 1", "other theirs 1")


def test_two_files_are_cut_into_parts(tmp_path: Path) -> None:
    data = number(tmp_path / "a", "x", 45), number(tmp_path / "b", "y", 45)
    parts = read_parts(data, LANGUAGES, "test")
    assert parts.train + parts.val + parts.test == [
        (f"x {k}", f"y {k}") for k in range(45)
    ]
    assert (len(parts.val), len(parts.test)) == (2, 2)


def test_too_few_and_too_many_are_refused(tmp_path: Path) -> None:
    few = (number(tmp_path / "a", "x", 19), number(tmp_path / "b", "y", 19))
    with pytest.raises(InputError, match="at least 20 pairs of sentences, found 19"):
        read_parts(few, LANGUAGES, "test")
    for data in ((), (*few, tmp_path)):
        with pytest.raises(InputError, match="expected a folder or two files, found"):
            read_parts(data, LANGUAGES, "test")
    with pytest.raises(
        InputError, match=r"^--data: .* two files, found one file, .*a$"
    ):
        read_parts(few[:1], LANGUAGES, "test")
    with pytest.raises(InputError, match=r"train\.de: expected a file"):
        read_parts([tmp_path], LANGUAGES, "test")
