"""All settings of a run of the text generator: the flags and `config.json`.

Free of JAX, so that `--help` answers at once. Every class is frozen; the text under a
field is its help.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Literal

from lstm_jax.config import (
    HUGE,
    MAX_SEED,
    MOST,
    ClusterConfig,
    Configuration,
    Devices,
    EngineName,
    Precision,
    RegularizerConfig,
    RunConfig,
    expect,
    read_section,
)
from lstm_jax.data.tokenizers.characters import Kind
from lstm_jax.errors import InputError
from lstm_jax.storage.files import read_json, write_json

FORMAT = 1  # of config.json; a new setting with a default needs no new one
PresetName = Literal["shakespeare-3min", "shakespeare-10min", "shakespeare-60min"]
_MOST_ROUNDS = 100  # of a Mogrifier; each is a part of the program
_LARGEST = {"--layers": 1000, "--hidden": 2**20}  # more is a damaged file


@dataclasses.dataclass(frozen=True)
class DataConfig(Configuration):
    """What to learn from."""

    data: tuple[Path, ...] = ()
    """Text files to train on, read one after the other; `.gz` is unpacked. Without
    any, the built-in corpus "hello world"."""
    vocab: Kind = "char"
    """What a symbol is: a Unicode character or a byte."""
    validation_fraction: float = 0.1
    """Share of the text held out from its end to measure generalization."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Configuration):
    """The network."""

    layers: int = 2
    """LSTM layers."""
    hidden: int | None = None
    """Units of each layer. Default: by the size of the text and --max-seconds."""
    dropout: float | None = None
    """Share of activations dropped between layers and before the softmax. Default: by
    how often the text will be read."""
    precision: Precision = "float32"
    """Type of the arithmetic; with bfloat16, parameters and the cell state stay
    float32. mixed: in training the factors of matrix products are bfloat16, if the
    processor multiplies those faster, and all else is float32."""
    engine: EngineName = "auto"
    """How the recurrence is run. The results are the same."""
    remat: bool = False
    """Train in far less memory, for one more forward pass per step."""
    mogrifier: int = 0
    """Rounds in which input and state scale each other before every step (Mogrifier);
    with an embedding in the place of the first layer's table. Its loop is its own:
    there is no --engine to choose."""
    top_only: bool = False
    """Show the softmax the last layer alone, not the outputs of every layer."""
    capped_gate: bool = False
    """Let input gates be at most 1 - f. As the Mogrifier, it has a loop of its own."""

    @property
    def dtype(self) -> str:
        """Type of the activations."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"

    @property
    def plain(self) -> bool:
        """Whether the cell is the textbook's."""
        return not (self.mogrifier or self.capped_gate)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Configuration):
    """How it learns: Adam on truncated back-propagation through time."""

    batch: int = 32
    """Stretches of text read side by side."""
    length: int = 32
    """Symbols per step through which gradients flow; the state is carried on."""
    learning_rate: float = 4e-3
    """Peak of the schedule: a linear warm-up, then a linear decay."""
    warmup: float = 0.02
    """Share of the run in which the learning rate rises."""
    final_rate: float = 0.0
    """The learning rate at the end of the run, as a share of its peak."""
    beta2: float = 0.99
    """Adam's memory of squared gradients."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW), on matrices only."""
    clip_norm: float = 1.0
    """Largest gradient norm; longer gradients are scaled down to it. 0 is any."""
    reset_probability: float = 0.02
    """Chance of a stretch to begin a step from the zero state."""
    average: float = 0.0
    """Memory of a running average of the weights, 0.999 for example: the average is
    what is validated and kept. 0 is none."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(Configuration):
    """A training run."""

    text: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    regularizer: RegularizerConfig = dataclasses.field(
        default_factory=RegularizerConfig
    )
    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    cluster: ClusterConfig = dataclasses.field(default_factory=ClusterConfig)
    preset: PresetName | None = None
    """Begin with settings made for tiny shakespeare and a budget, and a machine of 2
    cores, instead of the defaults; other flags still count."""


HELLO_WORLD_TEXT = "hello world"
# The chapter's program: one layer of 50 units, windows of 3 characters, plain Adam.
HELLO_WORLD = TrainConfig(
    text=DataConfig(validation_fraction=0.0),
    model=ModelConfig(layers=1, hidden=50, dropout=0.0),
    optimizer=OptimizerConfig(
        batch=1,
        length=3,
        learning_rate=1e-3,
        warmup=0.0,
        final_rate=1.0,
        beta2=0.999,
        weight_decay=0.0,
    ),
    run=RunConfig(epochs=200, evaluations=0, steps_per_call=80),
)


def check(config: TrainConfig) -> None:
    """Refuse what makes no sense.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    model, optimizer, run = config.model, config.optimizer, config.run
    regularizer = config.regularizer
    for flag, value in (
        ("--layers", model.layers),
        ("--hidden", 1 if model.hidden is None else model.hidden),
        ("--batch", optimizer.batch),
        ("--length", optimizer.length),
        ("--epochs", 1 if run.epochs is None else run.epochs),
        ("--steps-per-call", run.steps_per_call),
        ("--devices", run.devices if isinstance(run.devices, int) else 1),
        ("--patience", 1 if run.patience is None else run.patience),
        (
            "--checkpoint-steps",
            1 if run.checkpoint_steps is None else run.checkpoint_steps,
        ),
    ):
        most = _LARGEST.get(flag, MOST)
        expect(flag, value, f"a number from 1 to {most:,}", 1 <= value <= most)
    for flag, value in (
        ("--dropout", 0.0 if model.dropout is None else model.dropout),
        ("--validation-fraction", config.text.validation_fraction),
        ("--beta2", optimizer.beta2),
        ("--reset-probability", optimizer.reset_probability),
        ("--average", optimizer.average),
        ("--input-dropout", regularizer.input_dropout),
        ("--weight-drop", regularizer.weight_drop),
        ("--recurrent-dropout", regularizer.recurrent_dropout),
        ("--zoneout-hidden", regularizer.zoneout_hidden),
        ("--zoneout-cell", regularizer.zoneout_cell),
        ("--label-smoothing", regularizer.label_smoothing),
    ):
        expect(flag, value, "a number in [0, 1)", 0 <= value < 1)
    for flag, value in (
        ("--learning-rate", optimizer.learning_rate),
        ("--training-temperature", regularizer.training_temperature),
        ("--max-seconds", 1.0 if run.max_seconds is None else run.max_seconds),
        ("--checkpoint-seconds", run.checkpoint_seconds),
    ):
        expect(flag, value, "a positive number", 0 < value < math.inf)
    for flag, value in (
        ("--clip-norm", optimizer.clip_norm),
        ("--weight-decay", optimizer.weight_decay),
        ("--min-improvement", run.min_improvement),
        ("--l1", regularizer.l1),
        ("--l2", regularizer.l2),
        ("--activation-penalty", regularizer.activation_penalty),
        ("--temporal-penalty", regularizer.temporal_penalty),
    ):
        expect(flag, value, "a number of at least 0", 0 <= value < math.inf)
    for flag, value in (
        ("--warmup", optimizer.warmup),
        ("--final-rate", optimizer.final_rate),
    ):
        expect(flag, value, "a number in [0, 1]", 0 <= value <= 1)
    expect("--evaluations", run.evaluations, "0 or more", 0 <= run.evaluations <= MOST)
    expect("--seed", run.seed, "0 or more", 0 <= run.seed < MAX_SEED)
    rounds = model.mogrifier
    expect("--mogrifier", rounds, "0 to 100 rounds", 0 <= rounds <= _MOST_ROUNDS)
    if regularizer.in_loop and model.engine not in ("auto", "scan"):
        raise InputError(
            "--engine: expected scan, the one that can have recurrent dropout and "
            f"zoneout, found {model.engine}"
        )
    if not model.plain:
        _check_own_loop(model, regularizer)
    validated = run.evaluations and config.text.validation_fraction
    if run.patience and not validated:
        raise InputError("--patience: expected --evaluations and a held-out text")
    if run.resume and run.overwrite:
        raise InputError("expected --resume or --overwrite, found both")
    _check_cluster(config.cluster, run.devices)


def _check_own_loop(model: ModelConfig, regularizer: RegularizerConfig) -> None:
    """Refuse what a Mogrifier or capped gates cannot be combined with."""
    whose = "--mogrifier" if model.mogrifier else "--capped-gate"
    for flag, given in (
        (f"--engine {model.engine}", model.engine != "auto"),
        ("--remat", model.remat),
        ("recurrent dropout or zoneout", regularizer.in_loop),
    ):
        if given:
            raise InputError(f"{whose}: expected no {flag} beside it, found both")


def _check_cluster(cluster: ClusterConfig, devices: Devices) -> None:
    """Refuse an address that is none, and numbers of processes that make no sense."""
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


def save_config(config: TrainConfig, path: Path) -> None:
    """Write `config.json`, whole or not at all."""
    record = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    write_json(path, {"format": FORMAT, **record}, indent=2)


def load_config(path: Path) -> TrainConfig:
    """Read `config.json`.

    A setting that the file lacks is newer than the file: it has its default, which is
    what was done before there was such a setting.

    Raises:
        InputError: the file is missing, damaged, of a newer format, or holds what no
            configuration has.
    """
    record = read_json(path, "a configuration")
    version = record.pop("format", FORMAT)
    if version != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT}, found {version!r:.60}")
    run = record.get("run")
    if isinstance(run, dict) and "preset" in run:  # where it was kept at first
        record["preset"] = run.pop("preset")
    config = read_section(TrainConfig, record, str(path))
    try:
        check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config
