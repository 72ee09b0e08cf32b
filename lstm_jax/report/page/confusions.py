"""Confusion matrices for the page, and the file that one is kept in."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_jax.errors import InputError
from lstm_jax.storage.files import Fields, read_json, replace_file

Example = tuple[int, int, str]  # the true class, the predicted one, and what it was
_MOST = 100  # classes that are shown
_EXAMPLES = 5  # of a cell
_LONGEST = 300  # characters of an example, or of a name
_LISTS = ("names", "totals", "cells", "examples")


def describe_confusion(
    matrix: NDArray,
    names: Sequence[str],
    title: str = "",
    examples: Sequence[Example] = (),
) -> Fields:
    """Describe a confusion matrix. Of more than 100 classes the most frequent ones.

    Args:
        matrix: counts [C, C], the target first.
        names: of the classes.
        title: printed above.
        examples: what was taken for what; of every cell the first five are kept.
    """
    matrix = np.asarray(matrix)
    seen = matrix.sum(1) + matrix.sum(0)
    shown = np.sort(np.argsort(-seen, kind="stable")[: min(_MOST, (seen > 0).sum())])
    counts = matrix[np.ix_(shown, shown)]
    rows, columns = np.nonzero(counts)
    cells = np.stack([rows, columns, counts[rows, columns]], axis=1)
    left = int((seen > 0).sum()) - len(shown)
    more = f" The {len(shown)} most frequent of {len(shown) + left}." if left else ""
    return {
        "title": title or "Confusion matrix",
        "names": [names[k][:_LONGEST] for k in shown],
        "totals": matrix[shown].sum(1).tolist(),
        "cells": cells.tolist(),
        "examples": _kept(examples, {int(old): new for new, old in enumerate(shown)}),
        "note": "A row is a class, its colors are shares of that row. Choose a cell by "
        f"click or with the arrow keys.{more}",
    }


def _kept(examples: Sequence[Example], place: dict[int, int]) -> list[Example]:
    kept: list[Example] = []
    counts: dict[tuple[int, int], int] = {}
    for target, predicted, text in examples:
        cell = target, predicted
        counts[cell] = counts.get(cell, 0) + 1
        if counts[cell] <= _EXAMPLES and {*cell} <= place.keys():
            kept.append((place[target], place[predicted], text[:_LONGEST]))
    return kept


def write_confusion(fields: Fields, path: Path) -> None:
    """Keep what `describe_confusion` returned, for the page of the run.

    Raises:
        InputError: it can't be written.
    """
    replace_file(path, f"{json.dumps(fields)}\n".encode())


def read_confusion(path: Path) -> Fields | None:
    """Read what was kept; None if it is none of that."""
    try:
        fields = read_json(path, "a confusion matrix")
    except InputError:
        return None
    return fields if _is_sound(fields) else None


def _is_sound(fields: Fields) -> bool:
    """Whether it has the parts of a matrix, and no cell lies outside."""
    texts = [fields.get(name) for name in ("title", "note")]
    names, totals, cells, examples = (_list(fields.get(name)) for name in _LISTS)
    triples = [triple for triple in map(_list, cells + examples) if len(triple) == 3]
    places = [place for triple in triples for place in triple[:2]]
    return (
        all(isinstance(text, str) for text in texts + names)
        and all(map(_is_count, totals + places))
        and len(names) == len(totals)
        and len(triples) == len(cells) + len(examples)
        and max(places, default=-1) < len(names)
        and all(_is_count(triple[2]) for triple in triples[: len(cells)])
        and all(isinstance(triple[2], str) for triple in triples[len(cells) :])
    )


def _list(value: object) -> list:
    return value if isinstance(value, list) else []


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0
