"""Log-count ratios: right, without the text they are read with, and back from disk."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.sentiment.ratios import (
    ClassRatios,
    count_classes,
    load_ratios,
    log_ratios,
)
from lstm_jax.errors import InputError

DOCUMENTS = [["a", "b", "a"], ["a", "c"], ["a"], ["b", "d"]]
LABELS = [0, 0, 1, 1]


def counted() -> ClassRatios:
    return count_classes(DOCUMENTS, LABELS, 2)


def test_a_ratio_is_that_of_texts_with_the_term() -> None:
    """Of three texts with an "a" two are of class 0, and one more of each is added."""
    found = counted().of(["a", "c", "new"])
    expected = np.log([[3 / 5 / 0.5, 2 / 5 / 0.5], [2 / 3 / 0.5, 1 / 3 / 0.5], [1, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rare_classes_are_no_evidence_against_them() -> None:
    """A term of one text in ten of either class says nothing."""
    ratios = log_ratios(np.array([[1.0, 9.0]]), np.array([0.1, 0.9]))
    np.testing.assert_allclose(ratios, 0, atol=1e-12)


@pytest.mark.parametrize("k", range(4))
def test_a_text_of_the_counts_is_left_out(k: int) -> None:
    others = [j for j in range(4) if j != k]
    rest = count_classes([DOCUMENTS[j] for j in others], [LABELS[j] for j in others], 2)
    rest = dataclasses.replace(rest, prior=counted().prior)
    terms = [*DOCUMENTS[k], "new", ""]
    np.testing.assert_allclose(
        counted().of(terms, LABELS[k]), rest.of(terms), rtol=1e-6
    )
    assert not np.allclose(counted().of(terms), rest.of(terms))


def test_a_text_without_terms_has_no_ratios() -> None:
    assert counted().of([]).shape == (0, 2)
    assert count_classes([[], []], [0, 1], 2).of(["a"]).tolist() == [[0, 0]]


def test_counts_come_back(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    counted().save(path)
    again = load_ratios(path, 2)
    terms = ["a", "b", "c", "d", "e"]
    np.testing.assert_array_equal(again.of(terms), counted().of(terms))
    for classes, text in ((3, None), (2, '{"terms": {"a": [1, -1]}, "prior": [1, 1]}')):
        if text:
            path.write_text(text)
        with pytest.raises(InputError, match=f"expected counts of {classes} classes"):
            load_ratios(path, classes)
