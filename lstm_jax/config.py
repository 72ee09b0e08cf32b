"""Settings that all applications share, and how they are read from JSON.

Free of JAX, so that `--help` answers at once. Every class is frozen; the text under a
field is its help.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from lstm_jax.errors import InputError

EngineName = Literal["auto", "fused", "scan", "cudnn", "pallas_tpu"]
Precision = Literal["float32", "bfloat16", "mixed"]
OnNaN = Literal["stop", "backoff"]
Devices = int | Literal["all"] | None  # how many; None for as many as pay
HUGE = 2**63  # no setting is so large; a whole number may be too large for a float
MOST = 2**31 - 1  # of anything that is counted
MAX_SEED = 2**63
Section = TypeVar("Section", bound="Configuration")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What all settings have in common."""


@dataclasses.dataclass(frozen=True)
class RegularizerConfig(Configuration):
    """What keeps it from learning by heart, beside dropout and weight decay; all off.

    Noise acts while training only, penalties are no part of a reported loss.
    """

    variational: bool = False
    """Draw dropout masks once per row and step instead of once per symbol."""
    input_dropout: float = 0.0
    """Share of input symbols dropped; of a row's different symbols if variational."""
    weight_drop: float = 0.0
    """Share of recurrent weights dropped, the same all through a step (DropConnect)."""
    recurrent_dropout: float = 0.0
    """Share of what each symbol would write into the cell state. Needs engine scan."""
    zoneout_hidden: float = 0.0
    """Share of units whose h stays as it was for a symbol. Needs engine scan."""
    zoneout_cell: float = 0.0
    """Share of units whose c stays as it was for a symbol. Needs engine scan."""
    label_smoothing: float = 0.0
    """Share of each target spread evenly over all symbols."""
    training_temperature: float = 1.0
    """What scores are divided by while training: below 1 the softmax is sharper then
    than afterwards, when the model is less sure of what it has learned by heart."""
    l1: float = 0.0
    """Penalty on the sum of absolute weights, matrices only."""
    l2: float = 0.0
    """Penalty on half the sum of squared weights; --weight-decay is the decoupled."""
    activation_penalty: float = 0.0
    """Penalty on the mean square of the outputs (AR)."""
    temporal_penalty: float = 0.0
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
    """Folder for everything the run leaves. Default: runs/NAME, of the first file."""
    epochs: int | None = None
    """Passes over the training data. Default: 10, or as many as --max-seconds
    allows."""
    max_seconds: float | None = None
    """Wall-clock budget of the training loop in seconds, compilation included."""
    seed: int = 0
    """Decides every random draw."""
    evaluations: int = 10
    """How often to measure the validation loss, spread evenly over the run."""
    patience: int | None = None
    """End the run after this many validations without improvement. Default: never."""
    min_improvement: float = 0.0
    """Nats by which the validation loss must fall to count as improved."""
    steps_per_call: int = 16
    """Optimizer steps inside one compiled call."""
    checkpoint_seconds: float = 120.0
    """Save at the end of a call once so many seconds have passed since the last save;
    at every validation and at the end too."""
    checkpoint_steps: int | None = None
    """Save after so many steps instead, whatever time they take."""
    on_nan: OnNaN = "stop"
    """What to do about a loss or a gradient that is no finite number: stop, or backoff,
    which halves the learning rate and goes on from the last checkpoint."""
    devices: Devices = None
    """Devices to spread the batch over, or all. Default: as many as pay; on CPU, its
    cores. A number shows the CPU as so many devices."""
    shard_model: bool = False
    """Spread parameters and optimizer state over the devices too: less memory on each,
    the same results."""
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


def check_flags(
    options: object,
    *,
    counts: Sequence[str] = (),
    several: Sequence[str] = (),
    shares: Sequence[str] = (),
    positive: Sequence[str] = (),
    amounts: Sequence[str] = (),
    seeds: Sequence[str] = (),
) -> None:
    """Refuse numbers of an application that make no sense, before anything is done.

    Args:
        options: a dataclass of flags; those that are None were not given.
        counts: the names of those that are 1 or more.
        several: of those that are 2 or more.
        shares: of those in [0, 1).
        positive: of those above 0 and finite, a budget in seconds among them.
        amounts: of those from 0 on and finite.
        seeds: of those from 0 to 4,294,967,295.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    for names, expected, holds in (
        (counts, "1 or more", lambda value: 1 <= value <= MOST),
        (several, "2 or more", lambda value: 2 <= value <= MOST),
        (shares, "a number in [0, 1)", lambda value: 0 <= value < 1),
        (positive, "a positive number", lambda value: 0 < value < math.inf),
        (amounts, "0 or more", lambda value: 0 <= value < math.inf),
        (seeds, "0 to 4294967295", lambda value: 0 <= value < 2**32),
    ):
        for name in names:
            value = getattr(options, name)
            flag = f"--{name.replace('_', '-')}"
            expect(flag, value, expected, value is None or holds(value))


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
