"""The n-gram model: its terms, its start as naive Bayes, its optimum, its file."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from experiments.sentiment import ngrams
from experiments.sentiment.ngrams import fit_ngrams, load_ngrams, ngrams_of
from experiments.sentiment.ratios import count_classes
from lstm_jax.errors import InputError

TEXTS = ["a fine film", "fine , fine film", "dull film", "a dull plot", "weak plot"]
DOCUMENTS = [ngrams_of(text.split()) for text in TEXTS]
LABELS = np.array([1, 1, 0, 0, 0])


def test_terms_are_words_pairs_and_pieces_each_once() -> None:
    found = ngrams_of("un un no".split())
    words, pairs = ["un", "no"], ["un un", "un no"]
    assert found == [*words, *pairs, "\t^un$", "\t^no$"]
    assert [ngrams._kind(term) for term in found] == [0, 0, 1, 1, 2, 2]
    pieces = [term[1:] for term in ngrams_of(["dull"]) if term[0] == "\t"]
    assert pieces == ["^dul", "dull", "ull$", "^dull", "dull$"]
    assert ngrams_of([]) == []


def test_what_is_known_stands_in_its_place() -> None:
    """Of the word, of the pair that it ends, and of its pieces, without the text."""
    ratios = count_classes(DOCUMENTS, LABELS, 2)
    words = ["a", "dull", "film", "new"]
    found = ngrams.ratios_along(ratios, words, 0)
    assert found.shape == (4, 6)
    np.testing.assert_array_equal(found[:, :2], ratios.of(words, 0))
    pairs = ["", "a dull", "dull film", "film new"]
    np.testing.assert_array_equal(found[:, 2:4], ratios.of(pairs, 0))
    pieces = [f"\t{piece}" for piece in ("^fil", "film", "ilm$", "^film", "film$")]
    expected = ratios.of(pieces, 0).mean(axis=0)
    np.testing.assert_allclose(found[2, 4:], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[0, 4:], 0)
    assert ngrams.ratios_along(ratios, []).shape == (0, 6)


def test_sums_are_counted_without_the_text() -> None:
    """As they are if the text is taken away and everything is counted anew."""
    ratios = count_classes(DOCUMENTS, LABELS, 2)
    has = ngrams._matrix_of(DOCUMENTS, ratios.rows)
    kinds = np.array([ngrams._kind(term) for term in ratios.rows])
    found = ngrams._sums_without(ratios, has, kinds, LABELS)
    for k, terms in enumerate(DOCUMENTS):
        each = ratios.of(terms, int(LABELS[k]))
        for kind in range(3):
            chosen = [ngrams._kind(term) == kind for term in terms]
            np.testing.assert_allclose(
                found[k, kind], each[chosen].sum(axis=0), atol=1e-5
            )


def test_without_freedom_it_is_a_weighted_naive_bayes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One number for each kind of terms, which fits the sums without the text best."""
    monkeypatch.setattr(ngrams, "PENALTY", 1e9)
    model = fit_ngrams(DOCUMENTS, LABELS, 2)
    ratios = count_classes(DOCUMENTS, LABELS, 2)
    kinds = np.array([ngrams._kind(term) for term in model.rows])
    sums = ngrams._sums_without(
        ratios, ngrams._matrix_of(DOCUMENTS, ratios.rows), kinds, LABELS
    )
    weights, bias = ngrams._weigh_kinds(sums, LABELS)
    expected = ratios.of([*model.rows]) * weights[kinds, None]
    np.testing.assert_allclose(model.weights, expected, atol=1e-5)
    np.testing.assert_array_equal(model.bias, bias)

    def loss(weights: np.ndarray) -> float:
        logs = log_softmax(np.einsum("nkc,k->nc", sums, weights) + bias, axis=1)
        right = logs[np.arange(len(LABELS)), LABELS]
        return -right.mean() + ngrams._SLIGHT / 2 * (weights**2).sum()

    for move in np.eye(3):
        assert loss(weights) < min(loss(weights + move / 20), loss(weights - move / 20))


def test_it_is_at_the_least_of_its_loss() -> None:
    """Neither more nor less of any term's weight fits better."""
    documents, labels = DOCUMENTS * 8, np.tile(LABELS, 8)
    ratios = count_classes(documents, labels, 2)
    has = ngrams._matrix_of(documents, ratios.rows)
    known = np.random.default_rng(0).normal(size=(len(labels), 2))
    best = ngrams._learn_terms(has, known, labels)

    def loss(v: np.ndarray) -> float:
        logs = log_softmax(known + has @ v, axis=1)
        right = logs[np.arange(len(labels)), labels]
        return -right.mean() + ngrams.PENALTY / 2 * (v**2).sum()

    for place in np.ndindex(best.shape):
        for change in (-1e-2, 1e-2):
            moved = best.copy()
            moved[place] += change
            assert loss(moved) > loss(best)


def test_it_tells_three_classes_and_comes_back(tmp_path: Path) -> None:
    texts = ["red rose", "red apple", "blue sky", "blue sea", "green leaf", "green tea"]
    documents = [ngrams_of(text.split()) for text in texts * 4]
    labels = np.tile([0, 0, 1, 1, 2, 2], 4)
    model = fit_ngrams(documents, labels, 3)
    asked = [ngrams_of(["green", "hat"]), ngrams_of(["blue"]), ngrams_of(["new"]), []]
    found = model.log_proba(asked)
    assert found.argmax(axis=1)[:2].tolist() == [2, 1]
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    path = tmp_path / "ngrams.json"
    model.save(path)
    np.testing.assert_array_equal(load_ngrams(path, 3).log_proba(asked), found)
    assert model.log_proba([]).shape == (0, 3)
    for classes, text in ((2, None), (1, '{"terms": {"a": ["x"]}, "bias": [0]}')):
        if text:
            path.write_text(text)
        with pytest.raises(InputError, match=f"expected weights of {classes} classes"):
            load_ngrams(path, classes)
