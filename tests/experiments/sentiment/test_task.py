"""Text classifiers: they learn, come back from disk, and see training texts only."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.sentiment import __main__ as sentiment
from experiments.sentiment.config import Recipe
from experiments.sentiment.data import Labelled
from experiments.sentiment.task import (
    TextClassifier,
    class_chances,
    classifier_programs,
    load_classifier,
    save_classifier,
    train_classifier,
)
from lstm_jax.errors import InputError
from lstm_jax.training.compiled import Programs

DATA = sentiment.generated()
TRAIN, TEST = np.arange(120), np.arange(120, 160)
RECIPE = dataclasses.replace(Recipe(), **sentiment.SMOKE)


@pytest.fixture(scope="module")
def programs() -> Programs:
    """All trainings here make batches of one shape."""
    return classifier_programs(RECIPE)


@pytest.fixture(scope="module")
def classifier(
    programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> TextClassifier:
    folder = tmp_path_factory.mktemp("curves")
    data = sentiment.part(DATA, TRAIN)
    found = train_classifier(data, RECIPE, programs=programs, run_dir=folder)
    assert (folder / "curves.png").stat().st_size > 1000
    return found


def test_it_learns_that_a_not_turns_the_sense_round(classifier: TextClassifier) -> None:
    held_out = sentiment.part(DATA, TEST)
    chances = class_chances(classifier, held_out.texts)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (chances.argmax(axis=1) == held_out.labels).mean() > 0.95
    turned = class_chances(classifier, ["it is good .", "it is not good ."])
    assert turned.argmax(axis=1).tolist() == [1, 0]


def test_chances_do_not_depend_on_the_company(classifier: TextClassifier) -> None:
    texts = ["it is dull", "", "the film is not weak " * 4, DATA.texts[0]]
    together = class_chances(classifier, texts)
    alone = [class_chances(classifier, [text])[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert class_chances(classifier, []).shape == (0, 2)


def test_words_of_the_training_texts_only(
    classifier: TextClassifier, programs: Programs
) -> None:
    texts = ["rare rare good", "bad"] * 8
    data = Labelled(texts, np.array([1, 0] * 8), DATA.classes)
    recipe = dataclasses.replace(RECIPE, epochs=1)
    assert "rare" not in classifier.words.symbols
    found = train_classifier(data, recipe, programs=programs)
    assert found.words.symbols == ("rare", "bad", "good")


def test_it_comes_back_and_predicts(
    classifier: TextClassifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_classifier(tmp_path, classifier)
    again = load_classifier(tmp_path)
    assert (again.recipe, again.words, again.classes) == (
        classifier.recipe,
        classifier.words,
        classifier.classes,
    )
    for ours, kept in zip(
        jax.tree.leaves(classifier.models), jax.tree.leaves(again.models), strict=True
    ):
        np.testing.assert_array_equal(ours, kept)
    sentiment.main(["predict", str(tmp_path), "it is good .", "this plot is bad !"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["pos", "neg"]
    assert lines[0].endswith("  it is good .")


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a finished run"):
        load_classifier(tmp_path)
    for recipe in ({"depth": 3}, {"hidden": "32"}, {"hidden": 0}, {"level": "line"}):
        record = {"recipe": recipe, "classes": ["neg", "pos"], "symbols": []}
        (tmp_path / "settings.json").write_text(json.dumps(record))
        with pytest.raises(InputError, match="expected the settings of a classifier"):
            load_classifier(tmp_path)
    with pytest.raises(InputError, match="predict: expected a text"):
        sentiment.predict(sentiment.PredictOptions(tmp_path, ()))
