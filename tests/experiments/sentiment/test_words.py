"""What each word of a text speaks for, and the picture of it."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from experiments.sentiment import __main__ as sentiment
from experiments.sentiment import plots, task
from experiments.sentiment.config import ClassifierConfig
from experiments.sentiment.task import TextClassifier, classifier_spec, word_weights
from lstm_jax.data import common_words
from lstm_jax.errors import InputError
from lstm_jax.models.saved import save_model

ODDS = {"good": 1.5, "bad": -2.0, "not": -0.5}
ORANGE, BLUE = plots._COLORS


def small(classes: Sequence[str] = ("neg", "pos")) -> TextClassifier:
    words = common_words(["a good bad not film"], "word", 20)
    recipe = ClassifierConfig(features=2, hidden=2, members=1, symbols=20)
    models = classifier_spec(recipe, len(classes)).build(jax.random.key(0))
    return TextClassifier(words, tuple(classes), models)


def by_sum(classifier: TextClassifier, texts: Sequence[str]) -> np.ndarray:
    """The odds of the second class are the product of those of the words."""
    odds = np.array([sum(ODDS.get(w, 0.0) for w in text.split()) for text in texts])
    second = 1 / (1 + np.exp(-odds))
    return np.stack([1 - second, second], axis=1).astype(np.float32)


def test_the_weight_of_a_word_is_what_is_lost_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "predict_proba", by_sum)
    words = "a good film and not bad".split()
    expected = [ODDS.get(word, 0.0) for word in words]
    for of, sign in ((1, 1), (0, -1)):
        found = word_weights(small(), words, of)
        np.testing.assert_allclose(sign * found, expected, atol=1e-5)


def test_of_two_classes_a_word_has_the_color_of_the_one_it_speaks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them was found."""
    drawn: list[Figure] = []
    monkeypatch.setattr(task, "predict_proba", by_sum)
    monkeypatch.setattr(
        plots, "save_figure", lambda figure, *given: drawn.append(figure)
    )
    texts = ["", "a good film", "bad not good", "word " * 70]
    sentiment.draw(small(), texts, by_sum(small(), texts), tmp_path / "a.png")
    (figure,) = drawn
    shown = colors_of(figure)
    assert shown[:2] == [("speaks for neg", ORANGE), ("speaks for pos", BLUE)]
    assert [pair for pair in shown[2:] if pair[0] != "word"] == [
        *[("pos 0.82", None), ("a", None), ("good", BLUE), ("film", None)],
        *[("neg 0.73", None), ("bad", ORANGE), ("not", ORANGE), ("good", BLUE)],
        *[("neg 0.50", None), ("…", None)],
    ]
    assert shown.count(("word", None)) == plots.WORDS


def colors_of(figure: Figure) -> list[tuple[str, str | None]]:
    """The texts of a picture, and what is behind them."""
    (axes,) = figure.axes
    texts = [each for each in axes.texts if isinstance(each, Text)]
    return [
        (each.get_text(), to_hex(box.get_facecolor()) if box else None)
        for each in texts
        for box in [each.get_bbox_patch()]
    ]


def test_a_picture_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three classes, a word speaks for the one that was found, or against it."""
    classifier, run_dir = small(("a", "b", "c")), tmp_path / "run"
    spec = classifier_spec(
        ClassifierConfig(features=2, hidden=2, members=1, symbols=20), 3
    )
    settings = {"classes": classifier.classes}
    save_model(run_dir, "sentiment", spec, classifier.models, settings)
    task.save_tokenizer(classifier.words, run_dir / "tokenizer.json")
    path = tmp_path / "words.png"
    words = ["predict", str(run_dir), "a good film", "--picture"]
    sentiment.main([*words, str(path)])
    assert capsys.readouterr().out.endswith("  a good film\n")
    assert path.read_bytes().startswith(b"\x89PNG")
    for asked, message in (
        ([*words, "x.doc"], "--picture: expected a name that ends in"),
        (["predict", str(run_dir), " ", "--picture", str(path)], "a text with words"),
    ):
        with pytest.raises(InputError, match=message):
            sentiment.main(asked)
