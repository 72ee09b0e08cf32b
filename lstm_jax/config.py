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
EngineName = Literal["auto", "fused", "scan", "native", "cudnn", "pallas_tpu"]
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
    """Regularization beyond dropout and weight decay; all off.

    Noise acts while training only, penalties are no part of a reported loss.
    """

    variational: bool = False
    """Draw dropout masks once per row and step instead of once per symbol."""
    input_dropout: Share = 0.0
    """Share of input symbols dropped; of a row's different symbols if variational."""
    weight_drop: Share = 0.0
    """Share of recurrent weights dropped, the same all through a step (DropConnect)."""
    recurrent_dropout: Share = 0.0
    """Share of what each symbol would write into the cell state. Needs engine scan."""
    zoneout_hidden: Share = 0.0
    """Share of units whose h stays as it was for a symbol. Needs engine scan."""
    zoneout_cell: Share = 0.0
    """Share of units whose c stays as it was for a symbol. Needs engine scan."""
    label_smoothing: Share = 0.0
    """Share of each target spread evenly over all symbols."""
    training_temperature: Positive = 1.0
    """What logits are divided by while training: below 1 the softmax is sharper then
    than afterwards, when the model is less sure of what it has learned by heart."""
    l1: Amount = 0.0
    """Penalty on the sum of absolute weights, matrices only."""
    l2: Amount = 0.0
    """Penalty on half the sum of squared weights; --weight-decay is the decoupled."""
    activation_penalty: Amount = 0.0
    """Penalty on the mean square of the outputs (AR)."""
    temporal_penalty: Amount = 0.0
    """Penalty on the mean square of their change from symbol to symbol (TAR)."""

    @property
    def in_loop(self) -> bool:
        """Whether any of it acts inside the recurrence."""
        return bool(self.recurrent_dropout or self.zoneout_hidden or self.zoneout_cell)


PLAIN = RegularizerConfig()


@dataclasses.dataclass(frozen=True)
class RunConfig(Configuration):
    """How long, and where it is kept: the same for whatever is trained."""

    run_dir: Path | None = None
    """Folder for everything the run leaves. Default: runs/NAME of the first file."""
    epochs: Count | None = None
    """Passes over the training data. Default: 10, or as many as --max-seconds
    allows."""
    max_seconds: Positive | None = None
    """Wall-clock budget of the training loop in seconds, compilation included."""
    seed: Seed = 0
    """Decides every random draw."""
    evaluations: ZeroOrMore = 10
    """How often to measure the validation loss, spread evenly over the run."""
    patience: Count | None = None
    """End the run after this many validations without improvement. Default: never."""
    min_improvement: Amount = 0.0
    """Nats by which the validation loss must fall to count as improved."""
    steps_per_call: Count = 16
    """Optimizer steps inside one compiled call."""
    checkpoint_seconds: Positive = 120.0
    """Save at the end of a call once so many seconds have passed since the last save;
    at every validation and at the end too."""
    checkpoint_steps: Count | None = None
    """Save after so many steps instead, whatever time they take."""
    on_nan: OnNaN = "stop"
    """What to do about a loss or a gradient that is no finite number: stop, or backoff,
    which halves the learning rate and goes on from the last checkpoint."""
    devices: Devices = None
    """Devices to spread the batch over, or all. Default: as many as pay; on CPU, its
    cores. A number shows the CPU as so many devices."""
    shard_model: bool = False
    """Spread parameters and optimizer state over the devices too: less memory on each,
    the same results. Checkpoints are then written by Orbax."""
    resume: bool = False
    """Continue the run in --run-dir."""
    overwrite: bool = False
    """Replace the run in --run-dir; other files in it stay."""
    tensorboard: bool = False
    """Write TensorBoard event files too, into --run-dir/tensorboard."""


@dataclasses.dataclass(frozen=True)
class ClusterConfig(Configuration):
    """Several processes, each with devices of its own, that make one run."""

    coordinator: str | None = None
    """HOST:PORT of process 0, or auto: what Slurm, Open MPI, Kubernetes or a TPU slice
    says. Default: this process is alone."""
    processes: int | None = None
    """How many processes there are."""
    process: int | None = None
    """Which one this is, counted from 0."""


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
