"""Text classifiers: they learn, come back from disk, and see training texts only."""

import csv
import dataclasses
import io
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sentiment import __main__ as sentiment
from experiments.sentiment.baseline import fit_naive_bayes
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.data import LabelledTexts
from experiments.sentiment.ngrams import ngrams_of
from experiments.sentiment.ratios import count_classes
from experiments.sentiment.task import (
    NETWORKS,
    NGRAMS,
    TextClassifier,
    classifier_spec,
    classifier_steps,
    load_classifier,
    predict_proba,
    proba_of_parts,
    sequences_of,
    terms_of,
    train_classifier,
)
from lstm_jax.config import RunConfig, read_section
from lstm_jax.data import common_words
from lstm_jax.data.tokenizers.saved import save_tokenizer
from lstm_jax.data.tokenizers.words import WordTokenizer
from lstm_jax.errors import InputError
from lstm_jax.storage.files import write_json
from lstm_jax.training.compiled import CompiledSteps

DATA = sentiment.generated()
TRAIN, TEST = np.arange(120), np.arange(120, 160)
RECIPE = dataclasses.replace(ClassifierConfig(), **sentiment.SMOKE)
RUN = RunConfig(epochs=15, steps_per_call=1)


@pytest.fixture(scope="module")
def compiled() -> CompiledSteps:
    """All trainings here make batches of one shape."""
    return classifier_steps(RECIPE)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def classifier(compiled: CompiledSteps, run_dir: Path) -> TextClassifier:
    data = sentiment.part(DATA, TRAIN)
    found, *_ = train_classifier(data, RECIPE, RUN, compiled=compiled, folder=run_dir)
    return found


def test_it_learns_that_a_not_turns_the_sense_round(classifier: TextClassifier) -> None:
    held_out = sentiment.part(DATA, TEST)
    chances = predict_proba(classifier, held_out.texts)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (chances.argmax(axis=1) == held_out.labels).mean() > 0.95
    turned = predict_proba(classifier, ["it is good .", "it is not good ."])
    assert turned.argmax(axis=1).tolist() == [1, 0]


def test_chances_do_not_depend_on_the_company(classifier: TextClassifier) -> None:
    texts = ["it is dull", "", "the film is not weak " * 4, DATA.texts[0]]
    together = predict_proba(classifier, texts)
    alone = [predict_proba(classifier, [text])[0] for text in texts]
    np.testing.assert_array_equal(together, alone)
    backwards = predict_proba(classifier, [*texts[::-1], *DATA.texts])[:4]
    np.testing.assert_array_equal(backwards[::-1], together)
    assert predict_proba(classifier, []).shape == (0, 2)


def test_words_of_the_training_texts_only(
    classifier: TextClassifier, compiled: CompiledSteps
) -> None:
    texts = ["rare rare good", "bad"] * 8
    data = LabelledTexts(texts, np.array([1, 0] * 8), DATA.classes)
    assert "rare" not in classifier.words.symbols
    run = dataclasses.replace(RUN, epochs=1)
    found, *_ = train_classifier(data, RECIPE, run, compiled=compiled)
    assert found.words.symbols == ("rare", "bad", "good")


def test_it_comes_back_and_predicts(
    classifier: TextClassifier, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = load_classifier(run_dir)
    assert (again.words, again.classes) == (classifier.words, classifier.classes)
    for ours, kept in zip(
        jax.tree.leaves(classifier.models), jax.tree.leaves(again.models), strict=True
    ):
        np.testing.assert_array_equal(ours, kept)
    sentiment.main(["predict", str(run_dir), "it is good .", "this plot is bad !"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["pos", "neg"]
    assert lines[0].endswith("  it is good .")


def test_it_is_scored_on_a_file_of_the_users(
    classifier: TextClassifier,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("said,tone\nit is good .,pos\nit is bad .,neg\nit is fine .,neg\n")
    words = ["--text-column", "said", "--label-column", "tone", "--json"]
    given = ["evaluate", str(run_dir), "--data", str(table)]
    sentiment.main([*given, *words])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    # Of two neg one is found, and of two found pos one is right.
    assert found["accuracy"] == pytest.approx(2 / 3) and found["texts"] == 3
    assert found["precision"] == found["recall"] == pytest.approx(0.75)
    table.write_text("text,label\na,pos\nb,so-so\n")
    with pytest.raises(InputError, match="expected the labels neg, pos, found so-so"):
        sentiment.main(given)
    with pytest.raises(InputError, match="--data: expected files, found none"):
        sentiment.main(["evaluate", str(run_dir)])


def rows_of(text: str) -> list[list[str]]:
    """The cells of a CSV table."""
    return list(csv.reader(io.StringIO(text)))


TEXTS = ["it is good .", "", 'this plot is bad, "bad" !']


def test_files_and_the_standard_input_are_classified(
    classifier: TextClassifier,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every line, in its order, with the probabilities of Python's function."""
    chances = predict_proba(classifier, TEXTS)
    expected = [
        [text, classifier.classes[row.argmax()], *(f"{p:.6f}" for p in row)]
        for text, row in zip(TEXTS, chances, strict=True)
    ]
    lines, table = tmp_path / "lines.txt", tmp_path / "table.tsv"
    lines.write_bytes("".join(f"{text}\r\n" for text in TEXTS).encode("utf-16"))
    rows = "".join(f"{k}\t{text}\n" for k, text in enumerate(TEXTS))
    table.write_text("id\tsaid\n" + rows)
    given = ["predict", str(run_dir)]
    named = ["--text-column", "said"]
    for words in ([str(lines)], ["--data", str(lines)], [str(table), *named]):
        sentiment.main([*given, *words])
        head, *found = rows_of(capsys.readouterr().out)
        assert head == ["text", "label", "p_neg", "p_pos"] and found == expected
    for text, words in ((lines.read_bytes(), ["-"]), (table.read_bytes(), named)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        sentiment.main([*given, *words, "--out", str(tmp_path / "out.csv")])
        assert rows_of((tmp_path / "out.csv").read_text())[1:] == expected
        assert capsys.readouterr().out == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("text,label\ngood,pos\n"))
    with pytest.raises(InputError, match=r"^standard input: expected column 'tex'"):
        sentiment.main([*given, "--text-column", "tex"])
    monkeypatch.setattr("sys.stdin", io.StringIO("label;text\npos;it is good .\n"))
    os.mkfifo(tmp_path / "pipe")
    end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    sentiment.main([*given, "--out", str(tmp_path / "pipe")])
    assert rows_of(os.read(end, 1000).decode())[1:] == expected[:1]
    os.close(end)
    monkeypatch.setattr("sys.stdin", None)  # closed by the shell
    sentiment.main(given)
    assert rows_of(capsys.readouterr().out) == [["text", "label", "p_neg", "p_pos"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tset.csv"], "^tset.csv: expected a text or a file, found the name of none"),
        (["good", "no/t.TXT.gz"], "^no/t.TXT.gz: expected a text or a file, found the"),
        (["--data", "none"], "^none: expected a file, found nothing"),
        (["good", "--out", "no/where.csv"], "^--out: expected a file in a folder that"),
    ],
)
def test_the_name_of_no_file_is_not_classified(
    words: list[str], message: str, run_dir: Path, classifier: TextClassifier
) -> None:
    with pytest.raises(InputError, match=message):
        sentiment.main(["predict", str(run_dir), *words])


def test_every_text_that_is_scored_can_be_looked_at(
    classifier: TextClassifier, run_dir: Path, tmp_path: Path
) -> None:
    """Those of one class too."""
    (tmp_path / "a.csv").write_text("text,label\nit is good .,pos\nit is bad .,pos\n")
    out = tmp_path / "out.csv"
    words = ["--data", str(tmp_path / "a.csv"), "--out", str(out)]
    sentiment.main(["evaluate", str(run_dir), *words])
    head, *rows = rows_of(out.read_text())
    assert head == ["text", "label", "p_neg", "p_pos", "expected"]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("it is good .", "pos", "pos"),
        ("it is bad .", "neg", "pos"),
    ]


def test_the_best_step_is_that_of_the_texts_held_out(compiled: CompiledSteps) -> None:
    data, held_out = sentiment.part(DATA, TRAIN), sentiment.part(DATA, TEST)
    run = dataclasses.replace(RUN, epochs=2, evaluations=4)
    _, trained = train_classifier(
        data, RECIPE, run, compiled=compiled, held_out=held_out
    )
    losses = [line.val["loss"] for line in trained.history if line.val]
    assert len(losses) == 4 and all(
        "accuracy" in x.val for x in trained.history if x.val
    )
    best = min(
        (line for line in trained.history if line.val), key=lambda x: x.val["loss"]
    )
    assert trained.step == best.step


def test_what_is_no_classifier_is_refused(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected the configuration of a model"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"recipe": {"depth": 3}}))
    with pytest.raises(InputError, match="expected a model of sentiment, found None"):
        load_classifier(tmp_path)


def test_a_resumed_run_keeps_its_words(compiled: CompiledSteps, tmp_path: Path) -> None:
    """Be they of a former version, which cut words at their marks."""
    old = WordTokenizer("word", ("good", "bad"), marks=False)
    save_tokenizer(old, tmp_path / "tokenizer.json")
    data = sentiment.part(DATA, TRAIN)
    run = dataclasses.replace(RUN, epochs=1, resume=True)
    found, *_ = train_classifier(data, RECIPE, run, compiled=compiled, folder=tmp_path)
    assert found.words == old and load_classifier(tmp_path).words == old


def test_a_former_run_has_its_recipe() -> None:
    """Its record does not name what came later, and is read as it was meant."""
    record = dataclasses.asdict(ClassifierConfig(hidden=7))
    record = {name: record[name] for name in record.keys() - {"ngrams", "ratios"}}
    former = read_section(ClassifierConfig, record, "experiment.json")
    assert former == ClassifierConfig(hidden=7, ngrams=0.0, ratios=False)
    spec = classifier_spec(former, 2)
    assert "side_features" not in spec.arguments


def test_ratios_are_read_and_ngrams_have_their_say(tmp_path: Path) -> None:
    """All of it comes back with the run, and the parts make the whole."""
    recipe = dataclasses.replace(RECIPE, ratios=True, ngrams=0.25)
    data = sentiment.part(DATA, TRAIN)
    run = dataclasses.replace(RUN, epochs=5)
    steps = classifier_steps(recipe)
    found, _ = train_classifier(data, recipe, run, compiled=steps, folder=tmp_path)
    texts = [*sentiment.part(DATA, TEST).texts, "", "new words"]
    parts = proba_of_parts(found, texts)
    assert found.ngrams and found.ratios
    terms = [ngrams_of(text.split()) for text in texts]
    by_terms = np.exp(found.ngrams.log_proba(terms))
    np.testing.assert_allclose(parts[NGRAMS], by_terms, rtol=1e-5)
    both = parts[NETWORKS] ** 0.75 * parts[NGRAMS] ** 0.25
    expected = both / both.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict_proba(found, texts), expected, rtol=1e-5)
    again = proba_of_parts(load_classifier(tmp_path), texts)
    for name, each in parts.items():
        np.testing.assert_array_equal(again[name], each)
    unread = dataclasses.replace(found.ratios, counts=0 * found.ratios.counts)
    other = proba_of_parts(dataclasses.replace(found, ratios=unread), texts)
    assert np.abs(other[NETWORKS] - parts[NETWORKS]).max() > 1e-3
    for name, message in (("ratios", "counts of classes"), ("ngrams", "an n-gram mod")):
        (tmp_path / f"{name}.json").unlink()
        with pytest.raises(InputError, match=f"expected {message}"):
            load_classifier(tmp_path)
        (found.ratios if name == "ratios" else found.ngrams).save(
            tmp_path / f"{name}.json"
        )


def test_a_training_text_is_read_without_its_own_count() -> None:
    """Its ratios are those of the other texts, and those of a new one are of all."""
    data = LabelledTexts(
        ["fine film", "fine plot", "dull"], np.array([1, 1, 0]), ("n", "p")
    )
    words = common_words(data.texts, "word", 9)
    ratios = count_classes([ngrams_of(t.split()) for t in data.texts], data.labels, 2)
    seen = sequences_of(words, ratios, data.texts, data.labels).beside
    new = sequences_of(words, ratios, data.texts).beside
    assert seen and new
    np.testing.assert_array_equal(seen[2], 0)  # nobody else is dull
    assert (new[2][:, 0] > 0).all()
    np.testing.assert_allclose(seen[0][0, :2], ratios.of(["fine"], 1)[0])


def test_naive_bayes_has_its_say(compiled: CompiledSteps, tmp_path: Path) -> None:
    """As a weighted geometric mean of probabilities, and it comes back with the run."""
    data = sentiment.part(DATA, TRAIN)
    run = dataclasses.replace(RUN, epochs=1)
    recipe = dataclasses.replace(RECIPE, bayes=0.25)
    found, *_ = train_classifier(data, recipe, run, compiled=compiled, folder=tmp_path)
    alone = dataclasses.replace(found, bayes=None)
    texts = [*DATA.texts[120:], "it is it is good", "", "new words"]
    counts = fit_naive_bayes(terms_of(data.texts), data.labels, 2)
    both = predict_proba(alone, texts) ** 0.75
    both *= np.exp(counts.log_proba(terms_of(texts))) ** 0.25
    expected = both / both.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predict_proba(found, texts), expected, rtol=1e-5)
    assert not np.allclose(predict_proba(alone, texts), expected, atol=1e-3)
    again = load_classifier(tmp_path)
    np.testing.assert_array_equal(
        predict_proba(again, texts), predict_proba(found, texts)
    )
    whole = (tmp_path / "config.json").read_text()
    damaged = json.loads(whole)
    del damaged["sha256"]
    damaged["settings"] |= {"bayes": 0.5, "ngrams": 0.75}
    (tmp_path / "config.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"expected weights below 1, found 1\.25 in"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text(whole)
    (tmp_path / "bayes.json").unlink()
    with pytest.raises(InputError, match="expected a naive Bayes"):
        load_classifier(tmp_path)
    write_json(tmp_path / "bayes.json", {"prior": [0.5, 0.5], "terms": {"a": [1]}})
    with pytest.raises(InputError, match=r"bayes\.json: expected chances of 2 cl"):
        load_classifier(tmp_path)
