"""Whose a folder is: where a run may be kept, and what of a former run is removed.

A run gets a folder that is new or empty or, on request, that of a former run. Nothing
passes for a former run by its name; its own record has to say so:

    config.json      of `train`, `crossval` and `save`: reads as a configuration
    experiment.json  of an application: names it
    result.json      of an application older than that record: reads as a result

Of a former run only files that such a run writes are ever removed, those of the table
WRITTEN. All others stay where they are, and a note says so.
"""

import contextlib
import dataclasses
import functools
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lstm_jax.errors import InputError, warn
from lstm_jax.lm.config import load_config
from lstm_jax.storage.files import read_json, writing
from lstm_jax.storage.lock import locked

RUN = "train"  # and what shares its configuration: crossval and save
DRAFT = "config.json.draft"  # and no config.json: a run that is being begun
_CONFIG, _EXPERIMENT, _RESULT = "config.json", "experiment.json", "result.json"
_FORMAT = 1  # of experiment.json
_SECTIONS = {"format", "text", "model", "optimizer", "run"}  # of every config.json
_ROW = {"task", "protocol", "ours", "floor", "published", "command"}  # of a result.json
_SHOWN = 3  # names in a message


def _inside(folder: str, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names)


_BEGINNING = ("config.json", "vocab.json", "corpus.npy", "corpus.sha256", "split.json")
# As Orbax writes it; with more behind its name it is not finished.
_PARTS = ("_*", "manifest.ocdbt", "commit_success.txt", "array_metadatas/process_#")
_PARTS += ("d/*", "ocdbt.process_#/manifest.ocdbt", "ocdbt.process_#/d/*")
_STATE = (
    *("model.safetensors", "training.safetensors", "record.json"),
    *(*_inside("training.orbax", _PARTS), *_inside("training.orbax.*", _PARTS)),
)
_CHECKPOINTS = (
    *_inside("checkpoints/#", _STATE),
    *_inside("checkpoints/#.draft", _STATE),
    *_inside("checkpoints/#.aside", _STATE),
)
_TRAINED = (
    *_BEGINNING,
    *("metrics.jsonl", "summary.json", "samples.txt", "curves.png", "report.html"),
    *("confusion.png", "confusion.json", "confusion-*.png", "confusion-*.json"),
    *_CHECKPOINTS,
    "tensorboard/events.out.tfevents.*",
    *_inside("inspect", ("gates.png", "lags.png", "units.png")),
)
_FOLDS = ("crossval.json", "predictions.npz")
_PLAN = "folds/crossval-plan.json"
# And what else is counted before the first step.
_COUNTED = ("bayes.json", "ratios.json", "ngrams.json")
_TOKENIZERS = ("tokenizer.json", "source.json", "target.json", *_COUNTED)
_LEARNED = (
    *("experiment.json", "seconds.json", "config.json", *_TOKENIZERS),
    *("metrics.jsonl", "summary.json", "curves.png", "result.json", "report.html"),
    *_CHECKPOINTS,
    "tensorboard/events.out.tfevents.*",
    *("settings.json", "model.npz"),  # of former versions
)
# What a run of each kind writes; # is a number, * anything. An application that is not
# listed writes what all of them do.
WRITTEN: dict[str, tuple[str, ...]] = {
    RUN: (
        *(*_TRAINED, *_FOLDS, *_inside("seed-#", _FOLDS)),
        *(_PLAN, "folds/seed-#/fold-#.json", *_inside("folds/seed-#/fold-#", _TRAINED)),
        *_inside("folds/program-#", _TRAINED),
    ),
    "anomaly": (*_LEARNED, "alarms.png", "f1/result.json", "f1/report.html"),
    "forecast": (*_LEARNED, "forecasts.csv", "forecasts.png"),
    "healthcare": (
        *(*_LEARNED, *_FOLDS, "folds/fold-#.json", *_inside("folds/fold-#", _LEARNED)),
        *("stay.png", "calibration.png"),
    ),
    "music": (*_LEARNED, "chorales.png"),
    "handwriting": (*_LEARNED, "joined.png", *_inside("isolated", _LEARNED)),
    "sentiment": (
        *(*_LEARNED, *_FOLDS, "folds/fold-#.json", *_inside("folds/fold-#", _LEARNED)),
        *("confusion-lstm.png", "confusion-naive-bayes.png"),
        *("confusion-lstm.json", "confusion-naive-bayes.json"),
    ),
    "speech": (
        *(*_LEARNED, "joined.png", *_inside("isolated", _LEARNED)),
        *("speakers/*.json", *_inside("speakers/*", _LEARNED)),
        *_inside("speakers/*/isolated", _LEARNED),
    ),
    "text_generation": (
        *(*_LEARNED, "generated.txt", "results.md", "ablation.md"),
        *_inside("seed-#", _TRAINED),
        *_inside("ablation/*", _TRAINED),
    ),
    "translate": (*_LEARNED, "attention.png", "test_translations.txt"),
    "video": (
        *(*_LEARNED, "confusion.png", "confusion.json", "skeleton.png", "skeleton.gif"),
        *_inside("subsets/*", _LEARNED),
    ),
    "video pixels": (*_LEARNED, "frames.png", *_inside("flat", _LEARNED)),
}


class Former(NamedTuple):
    """A run that a folder holds: its kind, and whether it has left anything yet."""

    kind: str
    begun_only: bool = False


class Entries(NamedTuple):
    """What is in a folder, by relative path; a link counts as a file."""

    files: list[str]
    folders: list[str]


@dataclasses.dataclass(frozen=True)
class Claim:
    """The folder that a run is to have.

    Attributes:
        path: where.
        kind: of the run, a name of WRITTEN or of another application.
        overwrite: replace a former run there.
        spare: files and folders that must outlive this.
        hint: how a former run is replaced, for the message.
        resumes: whether one can be continued instead, if it is of this kind.
    """

    path: Path
    kind: str = RUN
    overwrite: bool = False
    spare: Sequence[Path] = ()
    hint: str = "--overwrite replaces it"
    resumes: bool = False

    def check(self) -> Former | None:
        """Refuse what is no place for this run; nothing is changed.

        Returns:
            The run that is to be replaced, or None.

        Raises:
            InputError: there is something else, or a run and no leave to replace it;
                the place is that of other files or runs; or it can't be written to.
        """
        _refuse_place(self.path)
        for file in self.spare:
            if file.resolve().is_relative_to(self.path.resolve()):
                raise InputError(f"{self.path}: expected a folder without {file} in it")
        former = _former_of(self.path)
        if former and not former.begun_only and not self.overwrite:
            alike = former.kind == self.kind
            hint = "--resume continues it, " if self.resumes and alike else ""
            found = "a run" if former.kind == RUN else f"a run of {former.kind}"
            raise InputError(
                f"{self.path}: expected a new folder, found {found}; {hint}{self.hint}"
            )
        if former:
            self._refuse_neighbours(former, _entries(self.path))
        _try_to_write(self.path)
        return former

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have the folder, empty of a former run, while this is open.

        What fails before anything was computed leaves nothing of this run: neither its
        files nor the folders that were made for it.

        Raises:
            InputError: see `check`; or another process is at work there.
        """
        self.check()
        with _made(self.path), locked(self.path):
            former = self.check()  # another process may have been faster
            stay = _remove(self.path, former.kind) if former else []
            if stay:
                warn(f"{self.path}: {_listed(stay)}; only files of runs are replaced")
            try:
                yield
            except BaseException as error:
                # Beside files of the user's only a run makes it a folder for runs.
                if not stay and self._is_worthless(error):
                    _remove(self.path, self.kind)
                raise

    def _refuse_neighbours(self, former: Former, found: Entries) -> None:
        """Refuse to go between files of the user's, or runs of their own."""
        for folder in found.folders:
            if _folders_of(former.kind).fullmatch(folder):
                continue
            if _kind_of(self.path / folder):
                raise InputError(
                    f"{self.path}: expected no other run in it, found {folder}"
                )
        own, files = _files_of(former.kind), _files_of(self.kind)
        stay = [name for name in found.files if not own.fullmatch(name)]
        for name in filter(files.fullmatch, (*found.folders, *stay)):
            self._refuse(name)
        for name in filter(_folders_of(self.kind).fullmatch, stay):
            if not (self.path / name).is_symlink():
                self._refuse(name)

    def _refuse(self, name: str) -> None:
        raise InputError(
            f"{self.path}: expected nothing of the user's where the run writes, "
            f"found {name}"
        )

    def _is_worthless(self, error: BaseException) -> bool:
        """Whether a run that ended so has left nothing to go on from."""
        found = list(filter(_files_of(self.kind).fullmatch, _entries(self.path).files))
        resumable = _CONFIG in found and not isinstance(error, Exception)
        return all(map(_beginning().fullmatch, found)) and not resumable


def default_folder(data: Sequence[Path], suffix: str = "") -> Path:
    """Name the folder of a run on some files, always one inside runs/.

    Args:
        data: the files; the first one gives its name, without what follows a dot.
        suffix: of the folder's name.
    """
    # A name of dots is no folder of its own; rm -r takes a ~ or a - for something else.
    name = data[0].name.strip(" .-~").split(".")[0].rstrip(" -~")
    return Path("runs") / f"{name or 'text'}{suffix}"


def _refuse_place(path: Path) -> None:
    """Refuse links and files, folders that are lived in, and those of other runs."""
    try:
        if path.is_symlink():
            raise InputError(f"{path}: expected a folder for the run, found a link")
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: expected a folder for the run, found a file")
    except OSError as error:
        raise InputError(f"{path}: expected a folder for the run: {error}") from None
    whole = Path(os.path.realpath(path))
    here, home = Path.cwd(), Path(os.path.realpath(os.path.expanduser("~")))
    for place, name in ((here, "the current directory"), (home, "the home directory")):
        if place.is_relative_to(whole):
            where = "" if place == whole else "one around "
            raise InputError(
                f"{path}: expected a folder of its own for the run, found {where}{name}"
            )
    for parent in whole.parents:
        kind = _kind_of(parent)
        inner = whole.relative_to(parent).as_posix()
        if kind and not _folders_of(kind).fullmatch(inner):
            raise InputError(
                f"{path}: expected a folder outside of other runs, found it in {parent}"
            )


def _former_of(path: Path) -> Former | None:
    """The run that a folder holds; None if there is no folder, or an empty one.

    Raises:
        InputError: it holds something else.
    """
    try:
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise InputError(f"{path}: expected a folder for the run: {error}") from None
    if not names:
        return None
    drafts = {f"{name}.draft" for name in (*_BEGINNING, _EXPERIMENT)}
    if DRAFT in names and names <= {*_BEGINNING, *drafts} - {_CONFIG}:
        return Former(RUN, begun_only=True)
    if names == {f"{_EXPERIMENT}.draft"}:
        return Former(_EXPERIMENT, begun_only=True)
    if _CONFIG not in names and _is_empty(path / DRAFT):
        return Former(RUN)  # begun where files of the user's had stayed
    try:
        kind = _kind_in(path)
    except InputError as error:
        raise InputError(
            f"{path}: expected an empty folder or a run, found other files or a "
            f"damaged run: {error}"
        ) from None
    if kind is None:
        raise InputError(
            f"{path}: expected an empty folder or a run, found other files in it"
        )
    begun = names <= {
        *(_EXPERIMENT, f"{_EXPERIMENT}.draft", "seconds.json", "generated.txt"),
    }
    return Former(kind, begun)


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _kind_of(path: Path) -> str | None:
    """The kind of the run that a folder holds; None for a damaged one too."""
    with contextlib.suppress(InputError, OSError):
        return _kind_in(path)
    return None


def _kind_in(path: Path) -> str | None:
    """The kind of run that the records in a folder are of; None if there are none.

    Raises:
        InputError: there is a file of that name, but it is no such record.
    """
    if (path / _EXPERIMENT).is_file():
        record = read_json(path / _EXPERIMENT, "the record of an application")
        kind = record.get("experiment")
        if record.get("format") != _FORMAT or not isinstance(kind, str):
            raise InputError(f"{path / _EXPERIMENT}: expected it from an application")
        return kind
    if (path / _CONFIG).is_file():
        record = read_json(path / _CONFIG, "a configuration")
        if isinstance(record.get("application"), str):
            return record["application"]
        if not record.keys() >= _SECTIONS:
            raise InputError(f"{path / _CONFIG}: expected the settings of a run")
        load_config(path / _CONFIG)
        return RUN
    if (path / _RESULT).is_file():
        record = read_json(path / _RESULT, "the result of an application")
        words = str(record.get("command")).split()
        _, _, kind = " ".join(words[:3]).partition("python -m experiments.")
        if not record.keys() >= _ROW or not kind:
            raise InputError(f"{path / _RESULT}: expected it from an application")
        return kind
    return None


def _try_to_write(path: Path) -> None:
    """Write a file where the run is to be, or its folder is to be made."""
    place = path
    with _refused_in_one_line(path):
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(512))
            file.flush()


@contextlib.contextmanager
def _refused_in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: expected a folder to write to: {reason}") from None


@contextlib.contextmanager
def _made(path: Path) -> Iterator[None]:
    """Make a folder and those around it; remove what was made if this fails."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    try:
        with _refused_in_one_line(path):
            path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # there is something in it
            for each in missing:
                each.rmdir()
        raise


def _entries(path: Path) -> Entries:
    """All that is in a folder, at any depth."""
    found = Entries([], [])
    for folder, folders, files in os.walk(path):
        where = Path(folder).relative_to(path)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found.files.extend((where / name).as_posix() for name in (*files, *links))
        found.folders.extend((where / n).as_posix() for n in folders if n not in links)
    return found


def _remove(path: Path, kind: str) -> list[str]:
    """Remove what a run of this kind writes. Returns the files that stay.

    Its records go last: cut short, it is still a run that can be replaced.
    """
    found, stay = _entries(path), []
    own, folders = _files_of(kind), _folders_of(kind)
    records = (_CONFIG, _EXPERIMENT, _RESULT)
    for name in sorted(found.files, key=lambda name: name in records):
        is_link = (path / name).is_symlink()
        if own.fullmatch(name) or (is_link and folders.fullmatch(name)):
            with writing(path / name):
                (path / name).unlink()
        else:
            stay.append(name)
    for name in sorted(filter(folders.fullmatch, found.folders), reverse=True):
        with contextlib.suppress(OSError):  # there is something in it
            (path / name).rmdir()
    return sorted(stay)


def _listed(names: Sequence[str]) -> str:
    """The first of some names, and that they stay."""
    more = len(names) - _SHOWN
    shown = [*names[:_SHOWN], *([f"{more} more"] if more > 0 else [])]
    if len(shown) == 1:
        return f"{shown[0]} stays"
    return f"{', '.join(shown[:-1])} and {shown[-1]} stay"


@functools.cache
def _files_of(kind: str) -> re.Pattern[str]:
    """The relative paths of what a run of this kind writes, drafts among them."""
    return _pattern(WRITTEN.get(kind, _LEARNED), r"(\.draft)?")


@functools.cache
def _folders_of(kind: str) -> re.Pattern[str]:
    """The relative paths of the folders in which it does."""
    files = WRITTEN.get(kind, _LEARNED)
    parents = {str(each) for name in files for each in Path(name).parents}
    return _pattern(sorted(parents - {"."}))


@functools.cache
def _beginning() -> re.Pattern[str]:
    """The relative paths of what is written before the first step."""
    names = (*_BEGINNING, *_TOKENIZERS, _EXPERIMENT, "seconds.json", "generated.txt")
    names += (_PLAN,)
    states = _inside("checkpoints/*", _STATE)
    folds = _inside("folds/seed-*/fold-*", (_CONFIG, *states))
    folds += _inside("isolated", (_CONFIG, *states))
    folds += _inside("folds/fold-*", (_CONFIG, *_TOKENIZERS, *states))
    programs = _inside("folds/program-*", states)
    return _pattern((*names, *states, *folds, *programs), r"(\.draft)?")


def _pattern(names: Sequence[str], end: str = "") -> re.Pattern[str]:
    escaped = "|".join(map(re.escape, names))
    return re.compile(
        f"(?:{escaped}){end}".replace(r"\#", r"\d+").replace(r"\*", "[^/]+"), re.DOTALL
    )
