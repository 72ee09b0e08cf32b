"""A run of an application: its folder, its devices, and how it is resumed.

`experiment.json` says how a run was asked for and of what data it was made; with
`--resume` it is what the settings are taken from, and the data are held against it.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import lstm_jax
from experiments.results import DataFile
from lstm_jax import InputError
from lstm_jax.config import (
    HUGE,
    ClusterConfig,
    Configuration,
    Precision,
    RunConfig,
    check_bounds,
    check_cluster,
    check_run,
    read_section,
)
from lstm_jax.lm import Claim
from lstm_jax.storage import locked, read_json, write_json

_RECORD, _SECONDS = "experiment.json", "seconds.json"
_FORMAT = 1
# What may change while a run lasts: by what processes and devices, and what it says
# where; of a single training also how long it does. The seed, and what is not named
# here, may not.
_PASSING = (
    *("run_dir", "resume", "overwrite", "tensorboard", "cluster"),
    *("steps_per_call", "checkpoint_seconds", "checkpoint_steps", "on_nan"),
    *("devices", "shard_model"),
)
_LENGTH = (
    *("epochs", "max_seconds", "steps"),
    *("evaluations", "patience", "min_improvement"),
)
WordTokenizer = list[str]


@dataclasses.dataclass(frozen=True)
class RunOptions(Configuration):
    """What the options of every application have."""

    precision: Precision | None = None
    """Floating-point precision. mixed uses bfloat16 only for the factors of matrix
    products, and only on hardware that multiplies them faster. Default: float32, or
    that of the preset."""
    fetch: bool = False
    """Use the benchmark's data as --data, downloaded into data/ unless they are there;
    `python -m experiments.fetch` lists data sets and licences."""
    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    cluster: ClusterConfig = dataclasses.field(default_factory=ClusterConfig)

    @property
    def trains_several(self) -> bool:
        """Whether networks are trained one by one that are to be compared: folds."""
        return False


Options = TypeVar("Options", bound=Configuration)


@dataclasses.dataclass
class Clock:
    """How long a run took, all attempts together if it was resumed.

    Attributes:
        started: this attempt, in seconds of `time.perf_counter`.
        spent: seconds before this attempt.
    """

    started: float = dataclasses.field(default_factory=time.perf_counter)
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """Since the run began, without those between its attempts."""
        return self.spent + time.perf_counter() - self.started

    @property
    def minutes(self) -> float:
        """The same in minutes."""
        return self.seconds / 60


def kept_options(kind: type[Options], name: str, run_dir: Path) -> Options:
    """Read the options of the run that is to be continued.

    Args:
        kind: the options of the application.
        name: of the application.
        run_dir: the folder of its run.

    Raises:
        InputError: there is no such run, or its record is damaged.
    """
    path = run_dir / _RECORD
    record = read_json(path, f"a run of {name}")
    found = record.get("experiment")
    if found != name or record.get("format") != _FORMAT or "options" not in record:
        raise InputError(f"{path}: expected a run of {name}, found {found!r:.60}")
    return read_section(kind, record["options"], str(path))


def refuse_changes(kept: RunOptions, asked: RunOptions) -> None:
    """Refuse to continue a run with other settings; a single training may last longer.

    Of several, those that are finished would not be trained like those that follow.

    Raises:
        InputError: naming the flag.
    """
    several = kept.trains_several or asked.trains_several
    _refuse_others(kept, asked, _PASSING if several else (*_PASSING, *_LENGTH))


def _refuse_others(
    kept: Configuration, asked: Configuration, passing: Sequence[str]
) -> None:
    """Refuse settings that differ and are not among those that may."""
    for field in dataclasses.fields(kept):
        was, now = getattr(kept, field.name), getattr(asked, field.name)
        if field.name in passing:
            continue
        if isinstance(was, Configuration):
            _refuse_others(was, now, passing)
        elif was != now:
            flag = "--" + field.name.replace("_", "-")
            raise InputError(
                f"--resume: expected {flag} as the run has it, {was}, found {now}"
            )


def check_options(options: RunOptions, *, validated: bool) -> None:
    """Refuse options that make no sense, before anything is read.

    Args:
        options: of the run.
        validated: whether something is held out to choose the best step by.

    Raises:
        InputError: naming the flag.
    """
    check_bounds(options)
    check_run(options.run)
    check_cluster(options.cluster, options.run.devices)
    if options.run.patience and not (validated and options.run.evaluations):
        raise InputError("--patience: expected --evaluations and a held-out part")


def words_of(run: RunConfig, *, but: Sequence[str] = ()) -> WordTokenizer:
    """Name the settings of a run that are not the defaults, as flags of a command.

    Args:
        run: the settings.
        but: names of those that are left out.
    """
    words: WordTokenizer = []
    for field in dataclasses.fields(run):
        value = getattr(run, field.name)
        if value != field.default and field.name not in but:
            flag = f"--{field.name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
    return words


@contextlib.contextmanager
def begun(
    name: str,
    options: RunOptions,
    *,
    files: Sequence[DataFile],
    spare: Sequence[Path] = (),
    clock: Clock | None = None,
) -> Iterator[Path]:
    """Have the folder, the devices and the other processes of a run while this is open.

    To be entered once everything was checked, and before JAX is first used. Of several
    processes the first one has the folder, and speaks.

    Args:
        name: of the application.
        options: of the run.
        files: the data; none if they are generated.
        spare: files and folders of the user's that must outlive this.
        clock: is told of the attempts before, and kept for those that follow.

    Yields:
        The folder.

    Raises:
        InputError: the folder is no place for the run, or the run that is to be
            continued is of other data.
    """
    from lstm_jax.distributed import (
        any_process,
        enable_compilation_cache,
        is_primary,
        joined,
        keep_freed_memory,
        set_cpu_device_count,
    )

    assert options.run.run_dir is not None, "every application has a default"
    enable_compilation_cache()
    keep_freed_memory()
    set_cpu_device_count(options.run.devices, options.cluster)
    with joined(options.cluster), contextlib.ExitStack() as held:
        if is_primary():
            held.enter_context(run_folder(name, options, files, spare))
            held.enter_context(_timed(options.run, clock or Clock()))
            held.enter_context(_reported(options.run.run_dir))
        any_process(False)  # nobody passes before the folder is there
        if not is_primary():
            nowhere = held.enter_context(open(os.devnull, "w"))
            held.enter_context(contextlib.redirect_stdout(nowhere))
        held.enter_context(lstm_jax.report.activity("working"))
        yield options.run.run_dir


@contextlib.contextmanager
def run_folder(
    name: str,
    options: RunOptions,
    files: Sequence[DataFile] = (),
    spare: Sequence[Path] = (),
) -> Iterator[None]:
    """Have a new folder, or that of the run to be continued; other processes keep out.

    If a new run fails before anything is computed, nothing is left of it.

    Args:
        name: of the application.
        options: of the run.
        files: the data.
        spare: files and folders of the user's that must outlive this.

    Raises:
        InputError: the folder is no place for the run, or the data are not those that
            the run was begun with.
    """
    path = options.run.run_dir
    assert path is not None
    if options.run.resume:
        with locked(path):
            _refuse_other_data(path, files)
            yield
        return
    with Claim(path, name, options.run.overwrite, spare).held():
        lasting = dataclasses.replace(options.run, resume=False, overwrite=False)
        kept = dataclasses.replace(options, run=lasting, cluster=ClusterConfig())
        record = {
            "format": _FORMAT,
            "experiment": name,
            "options": dataclasses.asdict(kept),
            "files": [dataclasses.asdict(file) for file in files],
        }
        plain = json.loads(json.dumps(record, default=str))
        write_json(path / _RECORD, plain, indent=2)
        yield


@contextlib.contextmanager
def _timed(run: RunConfig, clock: Clock) -> Iterator[None]:
    """Add the seconds of the attempts before, and leave those of all."""
    assert run.run_dir is not None
    path = run.run_dir / _SECONDS
    if run.resume and path.exists():
        spent = read_json(path, "the seconds of a run").get("seconds")
        if not isinstance(spent, int | float) or not 0 <= spent < HUGE:
            raise InputError(f"{path}: expected seconds, found {spent!r:.60}")
        clock.spent = float(spent)
    try:
        yield
    finally:
        with contextlib.suppress(InputError):  # the disk is full, which was said
            write_json(path, {"seconds": clock.seconds})


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Leave `report.html` however the run ends, once there is something to show."""
    from lstm_jax.report import try_to_report

    try:
        yield
    finally:
        for result in path.glob("*/result.json"):
            try_to_report(result.parent)
        if any((path / name).exists() for name in ("metrics.jsonl", "result.json")):
            try_to_report(path)  # last, for it names the others


def _refuse_other_data(path: Path, files: Sequence[DataFile]) -> None:
    """Refuse to go on with data that are not those of the first part of the run."""
    kept = read_json(path / _RECORD, "a run").get("files")
    found = [dataclasses.asdict(file) for file in files]
    if kept != found:
        names = ", ".join(file.name for file in files) or "generated data"
        raise InputError(
            f"--resume: expected the data that {path} was begun with, found others "
            f"by the name of {names}"
        )
