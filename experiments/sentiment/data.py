"""Labelled texts: files to texts and classes, and their ids to padded batches.

A file for each class, a text per line; or tables with a column of texts and one of
labels. NumPy only.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.results import DataFile, describe_file
from experiments.texts import columns_of, is_table, text_of
from lstm_jax import InputError
from lstm_jax.data import (
    IGNORED,
    Batch,
    Picked,
    composed,
    pad,
    pad_frames,
    plain_lines,
    stratified_split,
    unpacked_name,
)
from lstm_jax.errors import warn

OLD = "latin-1"  # of texts that are no UTF-8
_NO_LABEL = ("", "nan")  # the latter of pandas


@dataclasses.dataclass(frozen=True)
class LabelledTexts:
    """Texts, the class of each [N], and what the classes are called."""

    texts: list[str]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path],
    text_column: str = "text",
    label_column: str = "label",
    *,
    fewest: int = 2,
) -> LabelledTexts:
    """Read `.csv` or `.tsv` tables, or else a file for each class; `.gz` is unpacked.

    Of files of classes every line is a text; see `class_files` for what folders are.
    Files that differ in their last suffix only, like reviews.pos and reviews.neg, give
    their classes the names of the suffixes, others those of the files. Empty texts are
    left out, of tables with a note. What is no UTF-8, and has no byte order mark, is
    read as Latin-1; - is a table on the standard input. Labels are stripped like texts,
    and in normal form C.

    Args:
        paths: the files, or folders of them.
        text_column: of a table, by the name in its first line; or by its number, from
            1, in a table that has no names.
        label_column: likewise.
        fewest: classes there must be.

    Raises:
        InputError: a file is missing, a table has no such column, a label is missing,
            or there are too few classes.
    """
    sources = class_files(paths)
    files = [file for source in sources for file in source.files]
    tables = [path for path in files if is_table(path)]
    if tables and len(tables) < len(files):
        raise InputError(f"expected tables only or none, found {_listed(paths)}")
    if tables:
        columns = (text_column, label_column)
        rows = [row for path in files for row in _table_rows(path, *columns)]
    else:
        rows = [row for source in sources for row in source.rows()]
        rows = [(text.strip(), composed(label)) for text, label in rows if text.strip()]
    classes = tuple(sorted({label for _, label in rows}))
    if len(classes) < fewest:
        wanted = "a class" if fewest < 2 else "two classes"
        raise InputError(
            f"{_listed(paths)}: expected texts of {wanted} or more, found {len(rows)} "
            f"of {len(classes)}"
        )
    labels = np.array([classes.index(label) for _, label in rows], np.int64)
    return LabelledTexts([text for text, _ in rows], labels, classes)


@dataclasses.dataclass(frozen=True)
class Source:
    """Files with texts.

    Attributes:
        name: of their class.
        files: they.
        whole: whether each is one text, not one a line.
    """

    name: str
    files: list[Path]
    whole: bool = False

    def rows(self) -> Iterator[tuple[str, str]]:
        """The texts, and their class."""
        for file in self.files:
            text = text_of(file, OLD)
            texts = [text] if self.whole else plain_lines(text)
            yield from ((each, self.name) for each in texts)

    def described(self) -> DataFile:
        """What a result says of them."""
        if not self.whole:
            return describe_file(self.files[0])
        found = [describe_file(file) for file in self.files]
        lines = "".join(f"{file.sha256}  {file.name}\n" for file in found)
        size = sum(file.bytes or 0 for file in found)
        return DataFile(self.name, size, hashlib.sha256(lines.encode()).hexdigest())


def class_files(paths: Sequence[Path]) -> list[Source]:
    """The files that are read, of folders those in them.

    One folder of files is as if its files were named. A folder of folders has one for
    each class, with a file for each text, and so have several folders. Hidden files
    are not read.

    Raises:
        InputError: there are files beside folders.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        named = zip(_class_names(paths), paths, strict=True)
        return [Source(name, [path]) for name, path in named]
    inside = {folder: _visible(folder) for folder in folders}
    if len(paths) == 1 and not any(path.is_dir() for path in inside[folders[0]]):
        return class_files(inside[folders[0]])
    if len(paths) == 1:
        return [_class_folder(path) for path in inside[folders[0]]]
    return [_class_folder(path) for path in paths]


def _class_folder(path: Path) -> Source:
    files = _visible(path) if path.is_dir() else [path]
    if not path.is_dir() or any(file.is_dir() for file in files):
        raise InputError(
            f"{path}: expected files only, or a folder of texts for each class, found "
            "both"
        )
    return Source(path.name, files, whole=True)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def with_classes(
    data: LabelledTexts, classes: Sequence[str], flag: str
) -> LabelledTexts:
    """Texts with their classes numbered as a classifier has them.

    Raises:
        InputError: a label is none of them, naming the flag.
    """
    if foreign := sorted(set(data.classes) - set(classes)):
        raise InputError(
            f"{flag}: expected the labels {', '.join(classes)}, found "
            f"{', '.join(foreign)}"
        )
    numbers = np.array([classes.index(name) for name in data.classes])
    return LabelledTexts(data.texts, numbers[data.labels], tuple(classes))


@dataclasses.dataclass(frozen=True)
class Parts:
    """Labelled texts by what they are for, all with the same classes."""

    train: LabelledTexts
    validation: LabelledTexts | None = None
    test: LabelledTexts | None = None


def part(data: LabelledTexts, rows: NDArray[np.int64]) -> LabelledTexts:
    """Some of the texts."""
    texts = [data.texts[k] for k in rows]
    return LabelledTexts(texts, data.labels[rows], data.classes)


def split(
    data: LabelledTexts, share: float, seed: int
) -> tuple[LabelledTexts, LabelledTexts]:
    """Hold out a share of the texts of every class: the rest, and those."""
    fold = stratified_split(data.labels, share, seed)
    return part(data, fold.train), part(data, fold.test)


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What networks read of texts.

    Attributes:
        ids: of the symbols, [T] for each text.
        beside: side features of the symbols, [T, D] for each text; None without any.
    """

    ids: list[NDArray[np.int32]]
    beside: list[NDArray[np.float32]] | None = None


def padded_batch(
    sequences: Sequences, labels: NDArray[np.integer], picked: Picked
) -> Batch:
    """A batch for `classifier_loss`.

    Args:
        sequences: of all texts.
        labels: the class of each.
        picked: which of them, and the length to pad to.

    Returns:
        `inputs` [B, T], `lengths` [B], and `targets` [B], IGNORED in an empty row; and
        `beside` [B, T, D], where there are side features.
    """
    nothing = np.zeros(0, np.int32)
    chosen = [sequences.ids[k] if k >= 0 else nothing for k in picked.rows]
    targets = np.where(picked.rows >= 0, labels[picked.rows], IGNORED)
    batch = {
        "inputs": pad(chosen, len(chosen), picked.shape[0], 0),
        "lengths": np.array([len(ids) for ids in chosen], np.int32),
        "targets": targets.astype(np.int32),
    }
    if sequences.beside is not None:
        empty = sequences.beside[0][:0]
        rows = [sequences.beside[k] if k >= 0 else empty for k in picked.rows]
        batch["beside"], _ = pad_frames(rows, picked.shape[0])
    return batch


def _table_rows(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """The rows of a table that have a text."""
    lines, rows = columns_of(path, text_of(path, OLD), (text, label))
    kept = []
    for line, (words, name) in zip(lines, rows, strict=True):
        if words and name.casefold() in _NO_LABEL:
            found = repr(name) if name else "none"
            raise InputError(f"{path}: expected a label in line {line}, found {found}")
        if words:
            kept.append((words, composed(name)))
    if empty := sum(1 for words, name in rows if name and not words):
        warn(f"{path}: rows without a text are left out, {empty} of {len(rows)}")
    return kept


def _class_names(paths: Sequence[Path]) -> list[str]:
    """The suffixes where they tell files of one stem apart, or else the file names."""
    plain = [unpacked_name(path) for path in paths]
    suffixes = {path.suffix for path in plain}
    if len({path.stem for path in plain}) == 1 and len(suffixes) == len(plain):
        return [path.suffix.removeprefix(".") for path in plain]
    return [path.stem for path in plain]


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths)) or "no files"
