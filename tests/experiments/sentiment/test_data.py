"""Labelled texts: what is read, what becomes of it, and who is to be beaten."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from experiments.sentiment.baseline import fit_naive_bayes, with_pairs
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.data import padded_batch, read_labelled
from lstm_jax.config import check_bounds
from lstm_jax.data.buckets import Picked, length_buckets
from lstm_jax.data.special_ids import IGNORED, UNKNOWN
from lstm_jax.data.tokenizers.words import common_words, tokens
from lstm_jax.errors import InputError


def test_a_file_for_each_class(tmp_path: Path) -> None:
    """Latin-1, whose next-line character is no end of a line here; and gzip."""
    (tmp_path / "film.pos").write_bytes("très bien\n\n gut \x85 so\n".encode("latin-1"))
    with gzip.open(tmp_path / "film.neg.gz", "wb") as file:
        file.write("schlecht \u2028 schön\r\n".encode())
    found = read_labelled([tmp_path / "film.pos", tmp_path / "film.neg.gz"])
    assert found.texts == ["très bien", "gut \x85 so", "schlecht \u2028 schön"]
    assert found.classes == ("neg", "pos") and found.labels.tolist() == [1, 1, 0]


def test_files_of_other_names_name_their_classes(tmp_path: Path) -> None:
    for name in ("ham", "spam", "eggs"):
        (tmp_path / f"{name}.txt").write_text(f"about {name}\n")
    paths = [tmp_path / f"{name}.txt" for name in ("spam", "ham", "eggs")]
    found = read_labelled(paths)
    assert found.classes == ("eggs", "ham", "spam")
    assert found.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize(("suffix", "comma"), [("csv", ","), ("tsv", "\t")])
def test_tables(tmp_path: Path, suffix: str, comma: str) -> None:
    lines = (["stars", "body"], ["1", '"two\nlines"'], ["5", "fine"], ["5", " "])
    path = tmp_path / f"some.{suffix}"
    path.write_text("\n".join(comma.join(line) for line in lines), encoding="utf-8-sig")
    found = read_labelled([path], "body", "stars")
    assert found.texts == ["two\nlines", "fine"] and found.classes == ("1", "5")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.csv": "text,mark\nx,1\n"}, "columns 'text' and 'label', found .*mark"),
        ({"a.csv": ""}, "columns 'text' and 'label', found \\[\\]"),
        ({"a.csv": "text,label\nx,1\ny\n"}, "a label in row 2"),
        ({"a.csv": "text,label\nx,1\n"}, "two classes or more, found 1 of 1"),
        ({"a.pos": "x\n", "b.csv": "text,label\n"}, "tables only or none"),
        ({"a.pos": "x\n", "a.neg": "\n"}, "two classes or more, found 1 of 1"),
        ({}, "no files: expected texts"),
    ],
)
def test_what_is_no_data_is_refused(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_labelled([tmp_path / name for name in files])


def test_words_and_marks() -> None:
    text = "It's a so-so film -- n'est-ce pas ?! 10\u00bd"
    assert tokens(text, "word") == [
        *("it's", "a", "so-so", "film", "--", "n'est-ce", "pas", "?!", "10\u00bd"),
    ]
    assert tokens("A  b\n", "char") == ["a", " ", "b"]


def test_rare_and_new_words_are_unknown() -> None:
    table = common_words(["a b a", "b c a"], "word", limit=10)
    assert table.symbols == ("a", "b") and len(table) == 3
    assert table.encode("C B a d").tolist() == [UNKNOWN, 2, 1, UNKNOWN]
    assert common_words(["b a", "b a", "c c"], "word", limit=3).symbols == ("a", "b")
    assert table.encode("").shape == (0,)


def test_naive_bayes_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(list("abcdef"), 5)) for _ in range(60)]
    labels = random.integers(3, size=60)
    labels[40:] = random.integers(2, size=20)  # classes of different sizes
    vectors = CountVectorizer(token_pattern=r"\w", ngram_range=(1, 2))
    judge = MultinomialNB().fit(vectors.fit_transform(texts[:40]), labels[:40])
    expected = judge.predict_joint_log_proba(vectors.transform(texts[40:]))
    terms = [with_pairs(text.split()) for text in texts]
    found = fit_naive_bayes(terms[:40], labels[:40], 3).scores(terms[40:])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_class_without_examples_is_never_chosen() -> None:
    found = fit_naive_bayes([["a"], ["b"]], [0, 2], 3).scores([["a"], ["c"], []])
    assert found.argmax(axis=1).tolist() == [0, 0, 0]
    assert (found[:, 1] == -np.inf).all()


def test_a_batch_is_padded_and_its_empty_rows_do_not_count() -> None:
    sequences = [np.arange(1, n + 1, dtype=np.int32) for n in (2, 0, 3)]
    picked = Picked((4,), np.array([2, -1, 0, 1]))
    batch = padded_batch(sequences, np.array([5, 6, 7]), picked)
    rows = [[1, 2, 3, 0], [0, 0, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0]]
    assert batch["inputs"].tolist() == rows
    assert batch["lengths"].tolist() == [3, 0, 2, 0]
    assert batch["targets"].tolist() == [7, IGNORED, 5, 6]


def test_buckets_have_room_and_few_shapes() -> None:
    lengths = np.random.default_rng(0).integers(0, 60, 500)
    sequences = [np.zeros(n, np.int32) for n in lengths]
    buckets = length_buckets(sequences, 3)
    assert len(buckets) == 3
    members = np.concatenate([bucket.members for bucket in buckets])
    assert sorted(members) == list(range(500))
    for bucket in buckets:
        (width,) = bucket.shape
        assert width % 8 == 0 and width >= lengths[bucket.members].max()


@pytest.mark.parametrize(
    ("flag", "recipe"),
    [
        ("dropout", ClassifierConfig(dropout=1.0)),
        ("members", ClassifierConfig(members=0)),
        ("symbols", ClassifierConfig(symbols=1)),
        ("learning-rate", ClassifierConfig(learning_rate=0.0)),
        ("weight-decay", ClassifierConfig(weight_decay=-1.0)),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(
    flag: str, recipe: ClassifierConfig
) -> None:
    with pytest.raises(InputError, match=f"--{flag}: expected"):
        check_bounds(recipe)
    check_bounds(ClassifierConfig())
