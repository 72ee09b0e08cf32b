"""Labelled texts: files to texts and classes, and their ids to padded batches.

A file for each class, a text per line; or tables with a column of texts and one of
labels. NumPy only.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lstm_jax import InputError
from lstm_jax.data import IGNORED, Batch, Picked, bytes_of, pad, unpacked_name


@dataclasses.dataclass(frozen=True)
class LabelledTexts:
    """Texts, the class of each [N], and what the classes are called."""

    texts: list[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path], text_column: str = "text", label_column: str = "label"
) -> LabelledTexts:
    """Read `.csv` or `.tsv` tables, or else a file for each class; `.gz` is unpacked.

    Files of classes that differ in their last suffix only, like reviews.pos and
    reviews.neg, give their classes the names of the suffixes, others those of the
    files. Lines end at a newline and nowhere else; empty ones are left out. What is no
    UTF-8 is read as Latin-1.

    Args:
        paths: the files.
        text_column: of a table, by the name in its first line.
        label_column: likewise.

    Raises:
        InputError: a file is missing, a table has no such column, or there are fewer
            than two classes.
    """
    tables = [path for path in paths if _kind(path) in (".csv", ".tsv")]
    if tables and len(tables) < len(paths):
        raise InputError(f"expected tables only or none, found {_listed(paths)}")
    if tables:
        columns = (text_column, label_column)
        rows = [row for path in paths for row in _table_rows(path, *columns)]
    else:
        names = _class_names(paths)
        rows = [
            (line, name)
            for name, path in zip(names, paths, strict=True)
            for line in _read(path).split("\n")
        ]
    rows = [(text.strip(), label) for text, label in rows if text.strip()]
    classes = tuple(sorted({label for _, label in rows}))
    if len(classes) < 2:
        raise InputError(
            f"{_listed(paths)}: expected texts of two classes or more, found "
            f"{len(rows)} of {len(classes)}"
        )
    labels = np.array([classes.index(label) for _, label in rows])
    return LabelledTexts([text for text, _ in rows], labels, classes)


def padded_batch(
    sequences: Sequence[NDArray], labels: NDArray[np.integer], picked: Picked
) -> Batch:
    """A batch for `classifier_loss`.

    Args:
        sequences: ids, [T] each.
        labels: the class of each.
        picked: which of them, and the length to pad to.

    Returns:
        `inputs` [B, T], `lengths` [B], and `targets` [B], IGNORED in an empty row.
    """
    nothing = np.zeros(0, np.int32)
    chosen = [sequences[k] if k >= 0 else nothing for k in picked.rows]
    targets = np.where(picked.rows >= 0, labels[picked.rows], IGNORED)
    return {
        "inputs": pad(chosen, len(chosen), picked.shape[0], 0),
        "lengths": np.array([len(sequence) for sequence in chosen], np.int32),
        "targets": targets.astype(np.int32),
    }


def _table_rows(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    separator = "\t" if _kind(path) == ".tsv" else ","
    try:
        table = csv.DictReader(io.StringIO(_read(path)), delimiter=separator)
        names = table.fieldnames or []
        missing = [name for name in (text, label) if name not in names]
        rows = [] if missing else list(table)
    except csv.Error as error:
        raise InputError(f"{path}: expected a table, found: {error}") from None
    if missing:
        raise InputError(
            f"{path}: expected columns {text!r} and {label!r}, found {list(names)}"
        )
    for number, row in enumerate(rows, start=1):
        if row[text] is None or row[label] is None:
            raise InputError(f"{path}: expected a label in row {number}, found none")
    return [(row[text], row[label]) for row in rows]


def _class_names(paths: Sequence[Path]) -> list[str]:
    """The suffixes where they tell files of one stem apart, or else the file names."""
    plain = [unpacked_name(path) for path in paths]
    suffixes = {path.suffix for path in plain}
    if len({path.stem for path in plain}) == 1 and len(suffixes) == len(plain):
        return [path.suffix.removeprefix(".") for path in plain]
    return [path.stem for path in plain]


def _kind(path: Path) -> str:
    """The last suffix before `.gz`, in lower case."""
    return unpacked_name(path).suffix.lower()


def _read(path: Path) -> str:
    raw = b"".join(bytes_of(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths)) or "no files"
