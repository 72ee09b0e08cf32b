"""Settings that all applications share, their bounds, and how they are read from JSON.

Free of JAX, so that `--help` answers at once. Every class is frozen; the text under a
field is its help, and the bounds of a number stand beside its type:

    layers: Annotated[int, Range(1, 1000)] = 2

`check_bounds` holds the numbers of any dataclass to them, a command's options or the
settings read from a file.
"""

import dataclasses
import math
import types
import typing
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from lstm_jax.errors import InputError

CellName = Literal["lstm", "gru", "peephole", "mogrifier", "coupled"]
EngineName = Literal[
    "auto", "fused", "scan", "native", "cudnn", "pallas_gpu", "pallas_tpu"
]
Precision = Literal["float32", "bfloat16", "mixed"]
OnNaN = Literal["stop", "backoff"]
HUGE = 2**63  # no setting is so large; a whole number may be too large for a float
MOST = 2**31 - 1  # of anything that is counted
MAX_SEED = 2**63
_UNBOUNDED = math.nextafter(math.inf, 0.0)  # the largest number that is finite
Section = TypeVar("Section", bound="Configuration")


@dataclasses.dataclass(frozen=True)
class Range:
    """The bounds of a number, to be written beside its type.

    Attributes:
        least: the lower end.
        most: the upper end; without one every finite number is low enough.
        words: what a message says is expected; by default the ends, as whole numbers
            or as an interval of real ones.
        above: whether the lower end is itself too low.
        below: whether the upper end is itself too high.
    """

    least: float
    most: float = _UNBOUNDED
    words: str = ""
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is within the bounds; one that is NaN never is."""
        high_enough = value > self.least if self.above else value >= self.least
        low_enough = value < self.most if self.below else value <= self.most
        return high_enough and low_enough

    def __str__(self) -> str:
        """What a message says is expected."""
        if self.words:
            return self.words
        if self.most == _UNBOUNDED:
            return f"a number of at least {self.least:g}"
        if isinstance(self.most, int):
            return f"a number from {self.least:,} to {self.most:,}"
        left, right = "(" if self.above else "[", ")" if self.below else "]"
        return f"a number in {left}{self.least:g}, {self.most:g}{right}"


Count = Annotated[int, Range(1, MOST)]
OneOrMore = Annotated[int, Range(1, MOST, "1 or more")]
ZeroOrMore = Annotated[int, Range(0, MOST, "0 or more")]
Seed = Annotated[int, Range(0, MAX_SEED - 1, "0 or more")]
Seed32 = Annotated[int, Range(0, 2**32 - 1, "0 to 4294967295")]  # as NumPy's are
Share = Annotated[float, Range(0.0, 1.0, below=True)]
Fraction = Annotated[float, Range(0.0, 1.0)]
Positive = Annotated[float, Range(0.0, words="a positive number", above=True)]
Amount = Annotated[float, Range(0.0)]
Devices = Count | Literal["all"] | None  # how many; None for as many as pay


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What all settings have in common."""


@dataclasses.dataclass(frozen=True)
class RegularizerConfig(Configuration):
    """Regularization beyond dropout and weight decay, all off by default.

    Noise acts during training only; penalties are not part of a reported loss.
    """

    variational: bool = False
    """Variational dropout: one mask per sequence and step instead of per symbol."""
    input_dropout: Share = 0.0
    """Dropout rate of input symbols; with --variational, of the distinct symbols of a
    sequence."""
    weight_drop: Share = 0.0
    """Dropout rate of recurrent weights (DropConnect), one mask per step."""
    recurrent_dropout: Share = 0.0
    """Dropout rate of the updates to the cell state. Requires engine scan."""
    zoneout_hidden: Share = 0.0
    """Zoneout rate of the hidden state h. Requires engine scan."""
    zoneout_cell: Share = 0.0
    """Zoneout rate of the cell state c. Requires engine scan."""
    label_smoothing: Share = 0.0
    """Label smoothing: fraction of each target spread evenly over all symbols."""
    training_temperature: Positive = 1.0
    """Divide logits by this temperature during training; below 1 the trained model is
    less overconfident afterwards."""
    l1: Amount = 0.0
    """L1 penalty on weights, matrices only."""
    l2: Amount = 0.0
    """L2 penalty on weights, matrices only; --weight-decay is its decoupled form."""
    activation_penalty: Amount = 0.0
    """Activation regularization (AR): penalty on the mean square of the outputs."""
    temporal_penalty: Amount = 0.0
    """Temporal activation regularization (TAR): penalty on the mean square of the
    change of outputs between steps."""

    @property
    def in_loop(self) -> bool:
        """Whether any of it acts inside the recurrence."""
        return bool(self.recurrent_dropout or self.zoneout_hidden or self.zoneout_cell)


PLAIN = RegularizerConfig()


@dataclasses.dataclass(frozen=True)
class RunConfig(Configuration):
    """Training run."""

    run_dir: Path | None = None
    """Folder in which the run is saved. Default: runs/NAME, after the first file."""
    epochs: Count | None = None
    """Passes over the training data, if --max-seconds has time for them. Without it as
    many as fit into --max-seconds, and of a text as many as help; without both 10 of a
    long text and more of a shorter one, or --steps where a command has it."""
    max_seconds: Positive | None = None
    """Time budget of training in seconds, compilation included. The learning-rate
    schedule ends with it, or with --epochs where these are over before."""
    seed: Seed = 0
    """Random seed."""
    evaluations: ZeroOrMore = 10
    """Number of validations, spread evenly over the run."""
    patience: Count | None = None
    """Early stopping: end the run after this many validations without improvement.
    Default: never."""
    min_improvement: Amount = 0.0
    """Smallest decrease of the validation loss, in nats, that counts as an
    improvement."""
    steps_per_call: Count = 16
    """Optimizer steps per compiled call."""
    checkpoint_seconds: Positive = 120.0
    """Save a checkpoint every this many seconds, besides those at validations and at
    the end."""
    checkpoint_steps: Count | None = None
    """Save a checkpoint every this many steps instead."""
    on_nan: OnNaN = "stop"
    """What to do when the loss or a gradient is not finite: stop, or back off, which
    halves the learning rate and continues from the last checkpoint."""
    devices: Devices = None
    """Number of devices to split the batch over, or all. Default: as many as are
    worthwhile. A CPU is one device, of all cores, unless several are asked for."""
    shard_model: bool = False
    """Shard parameters and optimizer state over the devices, too: less memory on each,
    the same results. Checkpoints are then written by Orbax."""
    resume: bool = False
    """Resume the run in --run-dir."""
    overwrite: bool = False
    """Replace the run in --run-dir; other files in it stay."""
    tensorboard: bool = False
    """Also write TensorBoard event files, to --run-dir/tensorboard."""


@dataclasses.dataclass(frozen=True)
class ClusterConfig(Configuration):
    """Multi-process training."""

    coordinator: str | None = None
    """HOST:PORT of process 0, or auto to detect it from Slurm, Open MPI, Kubernetes or
    a TPU slice. Default: a single process."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Index of this process, from 0."""


def check_run(run: RunConfig) -> None:
    """Refuse settings of a run that exclude each other.

    Raises:
        InputError: saying which.
    """
    if run.resume and run.overwrite:
        raise InputError("expected --resume or --overwrite, found both")


def check_cluster(cluster: ClusterConfig, devices: Devices) -> None:
    """Refuse an address that is none, and numbers of processes that make no sense.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    address, count, index = cluster.coordinator, cluster.processes, cluster.process
    alone = address is None
    host, _, port = (address or "").rpartition(":")
    if alone and (count is not None or index is not None):
        raise InputError("--coordinator: expected HOST:PORT or auto, found none")
    if not alone and address != "auto":
        valid = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
        expect("--coordinator", address, "HOST:PORT or auto", valid)
        expect("--processes", count, "their number", count is not None)
        expect("--process", index, "which one this is", index is not None)
    if count is not None:
        expect("--processes", count, "1 or more", count >= 1)
        even = not isinstance(devices, int) or devices % count == 0
        expect("--devices", devices, f"a multiple of {count} processes", even)
    if index is not None:
        most = HUGE if count is None else count
        expect("--process", index, f"0 to {most - 1}", 0 <= index < most)


def check_bounds(settings: Any) -> None:  # noqa: ANN401
    """Refuse a number that is out of the bounds at its field.

    What is None was not given, and what is a word has no bounds. Those of a tuple are
    those of each of its numbers.

    Args:
        settings: a dataclass; those in its fields are walked through, too.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            check_bounds(value)
        elif not isinstance(value, str | None):
            numbers = value if isinstance(value, tuple) else (value,)
            for bounds, number in product(_ranges(hints[field.name]), numbers):
                expect(flag_of(field.name), number, str(bounds), number in bounds)


def _ranges(hint: object) -> list[Range]:
    """The bounds that stand in an annotation, inside a union too."""
    if isinstance(hint, Range):
        return [hint]
    return [found for part in typing.get_args(hint) for found in _ranges(part)]


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def expect(flag: str, value: object, expected: str, holds: bool) -> None:
    """Refuse the value of a flag, unless it holds what is expected of it."""
    if not holds:
        raise InputError(f"{flag}: expected {expected}, found {value}")


def read_section(kind: type[Section], record: object, where: str) -> Section:
    """A configuration class from its record, which holds no fields but those of it."""
    fields = sorted(field.name for field in dataclasses.fields(kind))
    found = sorted(record) if isinstance(record, dict) else record
    if not isinstance(record, dict) or not set(record) <= set(fields):
        raise InputError(f"{where}: expected {fields}, found {found!r:.200}")
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            name: _value(hints[name], value, f"{where}: {name}")
            for name, value in record.items()
        }
    )


def _value(hint: object, value: object, where: str) -> object:
    """A value of the annotated type, from what JSON makes of it."""
    if isinstance(hint, type) and issubclass(hint, Configuration):
        return read_section(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        fixed = {x for part in arguments[1:] for x in typing.get_args(part)} | {None}
        known = isinstance(value, str | None) and value in fixed
        return value if known else _value(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is Literal and value in arguments:
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and abs(value) < HUGE:
        return float(value)
    if type(value) is hint:
        return value
    raise InputError(f"{where}: expected {hint}, found {value!r:.200}")


def expanded(path: Path | str) -> Path:
    """Replace a leading ~ or ~NAME by a home directory, as a shell does.

    A shell leaves it as it is inside quotation marks and in `--flag=~/x`, and a folder
    that is called ~ is then made, and one day removed with `rm -r ~`.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # nobody has that name: it is that of a file
        return path
