"""With few texts, too, the classifier is not below its floor."""

import numpy as np
import pytest

from experiments.sentiment import __main__ as sentiment
from experiments.sentiment.baseline import fit_naive_bayes
from experiments.sentiment.config import RECIPE
from experiments.sentiment.data import LabelledTexts
from experiments.sentiment.task import (
    classifier_steps,
    predict_proba,
    terms_of,
    train_classifier,
)
from lstm_jax.config import RunConfig

WORDS, TESTED = 2000, 1000


def drawn_texts(count: int) -> LabelledTexts:
    """Words drawn one by one, each a little likelier in one of the classes.

    Nothing is to be learned from their order: it is what naive Bayes assumes.
    """
    rng = np.random.default_rng(0)
    tone = rng.normal(size=WORDS)
    chances = np.exp([-0.3 * tone, 0.3 * tone]) / np.arange(5, WORDS + 5)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = np.arange(count) % 2
    rows = [rng.choice(WORDS, rng.integers(5, 20), p=chances[k]) for k in labels]
    texts = [" ".join(f"w{word}" for word in row) for row in rows]
    return LabelledTexts(texts, labels, ("neg", "pos"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [400, 1600])
def test_it_is_not_below_naive_bayes(count: int) -> None:
    data = drawn_texts(TESTED + count)
    test = sentiment.part(data, np.arange(TESTED))
    train = sentiment.part(data, np.arange(TESTED, TESTED + count))
    bayes = fit_naive_bayes(terms_of(train.texts), train.labels, 2)
    floor = np.mean(bayes.scores(terms_of(test.texts)).argmax(axis=1) == test.labels)
    run = RunConfig(epochs=sentiment.Options().run.epochs, steps_per_call=1)
    found, _ = train_classifier(train, RECIPE, run, compiled=classifier_steps(RECIPE))
    accuracy = np.mean(predict_proba(found, test.texts).argmax(axis=1) == test.labels)
    assert floor > 0.55, "there is something to learn"
    assert accuracy >= floor
