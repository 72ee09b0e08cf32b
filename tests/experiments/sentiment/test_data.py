"""Labelled texts: what is read, what becomes of it, and who is to be beaten."""

import codecs
import gzip
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from experiments.sentiment.baseline import fit_naive_bayes, with_pairs
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.data import (
    Sequences,
    class_files,
    padded_batch,
    read_labelled,
)
from lstm_jax.config import check_bounds
from lstm_jax.data.buckets import Picked, length_buckets
from lstm_jax.data.special_ids import IGNORED, UNKNOWN
from lstm_jax.data.tokenizers.words import common_words, tokens
from lstm_jax.errors import InputError


def test_a_file_for_each_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Latin-1, whose next-line character is no end of a line here; and gzip."""
    (tmp_path / "film.pos").write_bytes("très bien\n\n gut \x85 so\n".encode("latin-1"))
    with gzip.open(tmp_path / "film.neg.gz", "wb") as file:
        file.write("schlecht \u2028 schön\r\n".encode())
    found = read_labelled([tmp_path / "film.pos", tmp_path / "film.neg.gz"])
    assert "film.pos: no UTF-8 text, read as latin-1" in caplog.text
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
        (
            {"a.csv": "text,label\nx,1\ny\n"},
            "2 cells in line 3, as in the first, found 1",
        ),
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


TABLE = "text,label\nfine film,pos\ndull film,neg\n"


@pytest.mark.parametrize(
    "raw",
    [
        TABLE.encode("utf-16"),
        codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"),
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-16-be"),
        TABLE.encode("utf-32"),
        codecs.BOM_UTF8 + codecs.BOM_UTF8 + TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("\n", "\n\n \n").encode(),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", "\t").encode(),
        TABLE.replace(",", "|").encode(),
        b"sep=;\r\n" + TABLE.replace(",", ";").encode(),
        TABLE.replace(",", " , ").encode(),
        TABLE.replace("text,label", "Text,LABEL").encode(),
        b"id," + TABLE.encode().replace(b"\n", b"\n1,", 2),
        TABLE.replace("pos", '" pos "').encode(),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_is_read_however_it_was_written(
    raw: bytes, suffix: str, tmp_path: Path
) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(raw)
    found = read_labelled([tmp_path / f"a.{suffix}"])
    assert found.texts == ["fine film", "dull film"]
    assert found.classes == ("neg", "pos") and found.labels.tolist() == [1, 0]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize(
    "text",
    [
        '"Great film',
        '"Great" film',
        'a 5" screen',
        '"',
        '5"',
        "\"Great' film",
        '"" film',
    ],
)
def test_a_quotation_mark_is_no_more_than_that(
    text: str, suffix: str, tmp_path: Path
) -> None:
    comma = {"csv": ",", "tsv": "\t"}[suffix]
    lines = [("text", "label"), ("dull", "neg"), (text, "pos"), ("fine", "pos")]
    path = tmp_path / f"a.{suffix}"
    path.write_text("\n".join(comma.join(line) for line in lines))
    assert read_labelled([path]).texts == ["dull", text, "fine"]


def test_two_quotation_marks_do_not_swallow_the_lines_between(tmp_path: Path) -> None:
    """Of a table with tabs; in one with commas they are how a cell has lines."""
    rows = '"Great\tpos\ndull\tneg\nfine"\tpos\n'
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + rows)
    found = read_labelled([tmp_path / "a.tsv"])
    assert found.texts == ['"Great', "dull", 'fine"']
    (tmp_path / "a.csv").write_text('text,label\n"Great,\n""ok""",pos\ndull,neg\n')
    found = read_labelled([tmp_path / "a.csv"])
    assert found.texts == ['Great,\n"ok"', "dull"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("good, bad,pos\n", "expected 2 cells in line 4, as in the first, found 3"),
        ("good,pos,\n", "expected 2 cells in line 4, as in the first, found 3"),
        ("good;pos\n", "expected 2 cells in line 4, as in the first, found 1"),
        ('"a\nb",pos\nc\n', "expected 2 cells in line 6, as in the first, found 1"),
        ('"never\nfine,pos\n', "expected 2 cells in line 4, as in the first, found 1"),
        ("good,\n", "expected a label in line 4, found none"),
        ("good, \n", "expected a label in line 4, found none"),
        ("good,NaN\n", "expected a label in line 4, found 'NaN'"),
        ("go\0od,pos\n", "expected text, found a NUL character in line 4"),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(
    rows: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(TABLE + rows)
    with pytest.raises(InputError, match=f"a.csv: {said}"):
        read_labelled([tmp_path / "a.csv"])


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    with pytest.raises(InputError, match="expected texts of a class or more, found 0"):
        read_labelled([tmp_path / "a.csv"], fewest=1)


def test_a_text_may_be_as_long_as_it_likes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"{TABLE}{'long ' * 100_000},pos\n")
    assert len(read_labelled([tmp_path / "a.csv"]).texts[2]) == 499_999


def test_a_row_without_a_text_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(TABLE + ",pos\n,\n")
    assert len(read_labelled([tmp_path / "a.csv"]).texts) == 2
    assert "rows without a text are left out, 1 of 4" in caplog.text


def test_columns_without_names_have_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,fine film,pos\n2,dull film,neg\n3,good film,pos\n")
    found = read_labelled([path], "2", "3")
    assert found.texts == ["fine film", "dull film", "good film"]
    with pytest.raises(InputError, match="expected columns 'text' and 'label', found "):
        read_labelled([path])
    with pytest.raises(InputError, match="expected columns '2' and '4', found "):
        read_labelled([path], "2", "4")
    path.write_text("text,tone,label\na,1,pos\nb,2,neg\nc,1,pos\nd,1,neg\n")
    with pytest.raises(InputError, match="that comes again, found 'label'"):
        read_labelled([path], "1", "3")
    assert read_labelled([path], "text", "2").classes == ("1", "2")
    path.write_text("text,label,text\na,pos,b\nc,neg,d\n")
    with pytest.raises(InputError, match="expected one column 'text', found 2"):
        read_labelled([path])


def test_both_forms_of_an_accent_are_one_label(tmp_path: Path) -> None:
    forms = [unicodedata.normalize(form, "été") for form in ("NFC", "NFD")]
    rows = "".join(f"a,{form}\n" for form in forms)
    (tmp_path / "a.csv").write_text(TABLE + rows, encoding="utf-8")
    assert read_labelled([tmp_path / "a.csv"]).classes == ("neg", "pos", forms[0])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-le", "latin-1"])
def test_folders_of_texts(encoding: str, tmp_path: Path) -> None:
    """Files of classes, and a folder for each class with a file for each text."""
    flat, deep = tmp_path / "flat", tmp_path / "deep"
    for name, texts in {"neg": ["schlecht", "öde"], "pos": ["très bien"]}.items():
        flat.mkdir(exist_ok=True)
        raw = "".join(f"{text}\r\n" for text in texts).encode(encoding)
        (flat / f"{name}.txt").write_bytes(raw)
        (deep / name).mkdir(parents=True)
        (deep / name / ".DS_Store").write_bytes(b"\0")
        for k, text in enumerate(texts):
            (deep / name / f"{k}.txt").write_bytes(f"{text}\nso".encode(encoding))
    found = read_labelled([flat])
    assert found.texts == ["schlecht", "öde", "très bien"]
    assert found.classes == ("neg", "pos") and found.labels.tolist() == [0, 0, 1]
    for paths in ([deep], [deep / "neg", deep / "pos"]):
        found = read_labelled(paths)
        assert found.texts == ["schlecht\nso", "öde\nso", "très bien\nso"]
        assert found.classes == ("neg", "pos") and found.labels.tolist() == [0, 0, 1]
    files = [source.described() for source in class_files([deep])]
    assert [file.name for file in files] == ["neg", "pos"]
    (deep / "neg" / "0.txt").write_bytes("gut\nso".encode(encoding))
    other = [source.described() for source in class_files([deep])]
    assert other[0].sha256 != files[0].sha256 and other[1] == files[1]
    (deep / "urls.txt").write_text("x")
    with pytest.raises(
        InputError, match=r"urls\.txt: expected files only, or a folder"
    ):
        read_labelled([deep])


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
    batch = padded_batch(Sequences(sequences), np.array([5, 6, 7]), picked)
    assert "beside" not in batch
    rows = [[1, 2, 3, 0], [0, 0, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0]]
    assert batch["inputs"].tolist() == rows
    assert batch["lengths"].tolist() == [3, 0, 2, 0]
    assert batch["targets"].tolist() == [7, IGNORED, 5, 6]
    beside = [np.full((n, 2), n, np.float32) for n in (2, 0, 3)]
    batch = padded_batch(Sequences(sequences, beside), np.array([5, 6, 7]), picked)
    assert batch["beside"][..., 1].tolist() == [
        *([3, 3, 3, 0], [0, 0, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0])
    ]


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
