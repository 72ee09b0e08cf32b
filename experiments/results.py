"""What a run leaves for the table of applications: `result.json`."""

import dataclasses
import hashlib
import json
from pathlib import Path

from lstm_jax import InputError
from lstm_jax.data import bytes_of, unpacked_name
from lstm_jax.storage import read_object

_RESULT = "result.json"


@dataclasses.dataclass(frozen=True)
class DataFile:
    """What was read: its name, how many bytes it has, and their SHA-256.

    All are those of the unpacked content. What can be read once only, a pipe, has a
    name and nothing else.
    """

    name: str
    bytes: int | None
    sha256: str | None


def describe_file(path: Path) -> DataFile:
    """Name a file that a result is made from; `.gz` and `.xz` as if it were unpacked.

    Raises:
        InputError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        return DataFile(path.name, None, None)
    size, digest = 0, hashlib.sha256()
    for piece in bytes_of(path):
        size += len(piece)
        digest.update(piece)
    return DataFile(unpacked_name(path).name, size, digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of the table of applications, see `experiments/README.md`.

    `ours` is what this run measured of `metric`, by `protocol`; `floor` is the trivial
    or classical method that the run computed itself; `published` and `best_known` are
    other people's numbers with their source. `files` are the data, in the order in
    which they were read; none if they were generated.
    """

    task: str
    data: str
    licence: str
    protocol: str
    metric: str
    ours: str
    floor: str
    published: str
    best_known: str
    minutes: float
    command: str
    files: tuple[DataFile, ...] = ()


def write_result(run_dir: Path, result: Result) -> None:
    """Write `result.json` and print it as one line."""
    line = json.dumps(dataclasses.asdict(result), ensure_ascii=False)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / _RESULT).write_text(line + "\n", encoding="utf-8")
    print(line)


def read_result(run_dir: Path) -> Result:
    """The result of a run.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = run_dir / _RESULT
    fields = read_object(path)
    expected = [field.name for field in dataclasses.fields(Result)]
    found = sorted({"files": [], **fields})  # older ones do not name their files
    if found != sorted(expected):
        raise InputError(f"{path}: expected {expected}, found {sorted(fields)}")
    try:
        files = tuple(DataFile(**file) for file in fields.pop("files", []))
    except TypeError as error:
        raise InputError(f"{path}: expected data files, found: {error}") from None
    return Result(**fields, files=files)
