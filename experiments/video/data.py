"""Movements of people: files of joints to sequences, labels and subjects. NumPy only.

A `.npz` holds the frames of all sequences one after another:

    xyz      [frames, 20, 3]  metres; x to the person's right, y up, z away
                              from the camera
    lengths  [sequences]      frames of each
    action   [sequences]      what is done: a name, or a number of MSR Action3D's list
    subject  [sequences]      who does it, if that is known

A `.csv` has a row per frame and the columns `head_x`, `head_y`, `head_z` and so on for
each joint of `JOINTS`, and may have `sequence`, which tells sequences apart, and
`action`.
"""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.tables import read_numbers
from experiments.video.archive import read_arrays
from experiments.video.skeleton import JOINTS, Frames
from lstm_jax import InputError
from lstm_jax.data import bytes_of, unpacked_name

ACTIONS = (
    *("high arm wave", "horizontal arm wave", "hammer", "hand catch"),
    *("forward punch", "high throw", "draw x", "draw tick", "draw circle"),
    *("hand clap", "two hand wave", "side boxing", "bend", "forward kick"),
    *("side kick", "jogging", "tennis swing", "tennis serve", "golf swing"),
    "pickup and throw",
)
# Li, Zhang and Liu (2010): eight similar actions twice, and eight complex ones.
SUBSETS = {
    name: tuple(ACTIONS[number - 1] for number in numbers)
    for name, numbers in {
        "AS1": (2, 3, 5, 6, 10, 13, 18, 20),
        "AS2": (1, 4, 7, 8, 9, 11, 12, 14),
        "AS3": (6, 14, 15, 16, 17, 18, 19, 20),
    }.items()
}
_ARRAYS = ("xyz", "lengths", "action", "subject", "in_cvpr12_557")
_FARTHEST = 1e9  # of a coordinate; more is a damaged file
_LARGEST = 2**31 - 1  # number of a person
_COLUMNS = [f"{joint}_{axis}" for joint in JOINTS for axis in "xyz"]


@dataclasses.dataclass(frozen=True)
class Movements:
    """Sequences of joints, the class of each, and what the classes are called.

    Attributes:
        sequences: [T, 20, 3] each, see `skeleton`.
        labels: [N], classes from 0; -1 where it is not known.
        subjects: [N], who was filmed; -1 where it is not known.
        classes: the names of the classes.
        left_out: how many sequences of the file are not among them.
    """

    sequences: list[Frames]
    labels: NDArray[np.int64]
    subjects: NDArray[np.int64]
    classes: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.sequences)

    def rows(self, chosen: NDArray) -> "Movements":
        """Some of the sequences, by index or by a mask."""
        indices = np.arange(len(self))[chosen]
        return dataclasses.replace(
            self,
            sequences=[self.sequences[k] for k in indices],
            labels=self.labels[indices],
            subjects=self.subjects[indices],
            left_out=0,
        )

    def of_classes(self, names: Sequence[str]) -> "Movements":
        """The sequences of some classes, which are then all there are.

        Of some of them there may be none.
        """
        number = {
            self.classes.index(name): k
            for k, name in enumerate(names)
            if name in self.classes
        }
        kept = self.rows(np.isin(self.labels, list(number)))
        labels = np.array([number[label] for label in kept.labels.tolist()], np.int64)
        return dataclasses.replace(kept, labels=labels, classes=tuple(names))


def read_movements(path: Path) -> Movements:
    """Read a `.npz` or a `.csv`, as the top of this file has them, or packed.

    What is packed ends in `.gz` or `.xz`.

    Sequences in which no body was tracked are left out, and those that `in_cvpr12_557`
    leaves out: the list of 557 of MSR Action3D's 567, without ten that have "missing or
    too erroneous skeletons", which is in use since Wang et al. (2012).

    Raises:
        InputError: it is no such file, or has no sequence that can be used.
    """
    kind = unpacked_name(path).suffix.lower()
    if kind not in (".npz", ".csv"):
        raise InputError(f"{path}: expected a .npz or .csv of joints")
    raw = b"".join(bytes_of(path))
    read = _from_npz if kind == ".npz" else _from_csv
    found, names, subjects, listed = read(raw, path)
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        sequences = [frames.astype(np.float32) for frames in found]
    for frames in sequences:
        if not np.isfinite(frames).all():
            raise InputError(
                f"{path}: expected numbers, found some that are not finite"
            )
        if not (np.abs(frames) <= _FARTHEST).all():
            raise InputError(
                f"{path}: expected coordinates within {_FARTHEST:g}, found some beyond"
            )
    used = [
        number
        for number, frames in enumerate(sequences)
        if listed[number] and frames.any()
    ]
    if not used:
        raise InputError(f"{path}: expected sequences of tracked joints, found none")
    classes = _ordered({names[number] for number in used} - {""})
    labels = [classes.index(names[number]) if names[number] else -1 for number in used]
    return Movements(
        [sequences[number] for number in used],
        np.array(labels, np.int64),
        np.array([subjects[number] for number in used], np.int64),
        classes,
        len(sequences) - len(used),
    )


def labelled(data: Movements, path: Path) -> Movements:
    """The same movements, all of which have to have an action.

    Raises:
        InputError: some have none.
    """
    if (data.labels < 0).any():
        raise InputError(f"{path}: expected an action of every sequence")
    return data


def find_pair(paths: Sequence[Path]) -> tuple[Path, Path]:
    """The file to learn from and the one to be tested on.

    Args:
        paths: both, in this order; or a folder with one `.npz` each whose names end in
            `train` and `test`.

    Raises:
        InputError: they are not there.
    """
    if len(paths) == 2:
        return paths[0], paths[1]
    if len(paths) != 1:
        raise InputError(
            "--data: expected a folder, or a file to learn from and one for the test, "
            f"found {', '.join(map(str, paths)) or 'nothing (or --smoke)'}"
        )
    return _the_only(paths[0], "train"), _the_only(paths[0], "test")


def find_test(path: Path) -> Path:
    """A file, or that of the test in a folder.

    Raises:
        InputError: there is none in it.
    """
    return _the_only(path, "test") if path.is_dir() else path


def _the_only(folder: Path, part: str) -> Path:
    found = sorted(folder.glob(f"*{part}.npz"))
    if len(found) != 1:
        raise InputError(
            f"--data: expected a folder with one *{part}.npz, found {folder}"
        )
    return found[0]


_Read = tuple[list[NDArray], list[str], list[int], list[bool]]


def _from_npz(raw: bytes, path: Path) -> _Read:
    """Sequences, actions (empty if unknown), subjects, and whether they are listed."""
    found = _arrays_of(raw, path)
    xyz, lengths = found["xyz"], found["lengths"]
    if xyz.ndim != 3 or xyz.shape[1:] != (len(JOINTS), 3) or xyz.dtype.kind != "f":
        raise InputError(
            f"{path}: expected xyz of shape [frames, {len(JOINTS)}, 3], found "
            f"{list(xyz.shape)} of {xyz.dtype}"
        )
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and len(lengths) > 0
    if not whole or (lengths < 1).any():
        raise InputError(f"{path}: expected lengths of 1 or more, found others")
    total = sum(lengths.tolist())
    if total != len(xyz):
        raise InputError(
            f"{path}: expected lengths that add up to {len(xyz):,} frames, found "
            f"{total:,}"
        )
    actions = _column(found, "action", len(lengths), "", "iuU", path)
    subjects = _column(found, "subject", len(lengths), -1, "iu", path)
    listed = _column(found, "in_cvpr12_557", len(lengths), True, "b", path)
    if max(subjects.tolist()) > _LARGEST:
        raise InputError(f"{path}: expected subjects up to {_LARGEST}, found others")
    sequences = np.split(xyz, np.cumsum(lengths.astype(np.int64))[:-1])
    names = [_name(action) for action in actions.tolist()]
    return sequences, names, subjects.tolist(), listed.tolist()


def _arrays_of(raw: bytes, path: Path) -> dict[str, NDArray]:
    """The arrays of an archive that are read."""
    found = read_arrays(raw, path, _ARRAYS.__contains__)
    if not {"xyz", "lengths"} <= found.keys():
        raise InputError(f"{path}: expected xyz and lengths, found {sorted(found)}")
    return found


def _column(
    found: dict[str, NDArray],
    name: str,
    count: int,
    default: object,
    kinds: str,
    path: Path,
) -> NDArray:
    """One value for every sequence."""
    values = found.get(name, np.full(count, default))
    if values.shape != (count,) or values.dtype.kind not in kinds:
        raise InputError(
            f"{path}: expected {name} of each of {count} sequences, found "
            f"{list(values.shape)} of {values.dtype}"
        )
    return values


def _from_csv(raw: bytes, path: Path) -> _Read:
    """The same of a table with a row per frame."""
    try:
        table = read_numbers(raw.decode("utf-8-sig"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a table, found: {error}") from None
    if missing := [name for name in _COLUMNS if name not in table.names]:
        raise InputError(
            f"{path}: expected columns {_COLUMNS[0]} to {_COLUMNS[-1]}, found no "
            f"{missing[0]}"
        )
    try:
        frames = np.array(table.numbers(_COLUMNS)).reshape(-1, len(JOINTS), 3)
    except ValueError as error:
        raise InputError(
            f"{path}: expected {len(_COLUMNS)} numbers in every row, found {error}"
        ) from None
    sequences: dict[str, list[NDArray]] = {}
    names: dict[str, str] = {}
    for number, (row, joints) in enumerate(zip(table.rows, frames, strict=True), 1):
        key = row.get("sequence") or ""
        action = _name(row.get("action") or "")
        if names.setdefault(key, action) != action:
            raise InputError(
                f"{path}: expected one action of a sequence, found "
                f"{names[key]!r} and {action!r} in row {number}"
            )
        sequences.setdefault(key, []).append(joints)
    found = [np.stack(each) for each in sequences.values()]
    return found, list(names.values()), [-1] * len(found), [True] * len(found)


def _name(action: object) -> str:
    """What an action is called; a number is one of MSR Action3D's list."""
    word = str(action).strip()
    if word.isascii() and word.isdecimal() and 1 <= int(word[:9]) <= len(ACTIONS):
        return ACTIONS[int(word[:9]) - 1]
    return word


def _ordered(names: set[str]) -> tuple[str, ...]:
    """The known actions in the order of their list, then others by name."""
    known = [name for name in ACTIONS if name in names]
    return (*known, *sorted(names - set(known)))
