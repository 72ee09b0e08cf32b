"""All settings of a run of the text generator: the flags and `config.json`.

Free of JAX, so that `--help` answers at once. Every class is frozen; the text under a
field is its help.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

from lstm_jax.config import (
    Amount,
    CellName,
    ClusterConfig,
    Configuration,
    Count,
    EngineName,
    Fraction,
    Positive,
    Precision,
    Range,
    RegularizerConfig,
    RunConfig,
    Share,
    ZeroOrMore,
    check_bounds,
    check_cluster,
    check_run,
    read_section,
)
from lstm_jax.data.tokenizers.vocabulary import check_level
from lstm_jax.errors import InputError
from lstm_jax.storage.files import read_json, write_json

FORMAT = 1  # of config.json; a new setting with a default needs no new one
PresetName = Literal["shakespeare-3min", "shakespeare-10min", "shakespeare-60min"]


@dataclasses.dataclass(frozen=True)
class DataConfig(Configuration):
    """What to learn from."""

    data: tuple[Path, ...] = ()
    """Text files to train on, read one after the other; `.gz` is unpacked. Without
    any, the built-in corpus "hello world"."""
    vocab: str = "char"
    """What a symbol is: char (a Unicode character), byte, word, bpe (subwords learned
    from the text by byte-pair encoding), or a Hugging Face tokenizer.json by its
    path."""
    vocab_size: Count | None = None
    """Number of symbols of --vocab word or bpe. Default: 4000 beside the characters."""
    validation_fraction: Share = 0.1
    """Share of the text held out from its end to measure generalization."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Configuration):
    """The network."""

    layers: Annotated[int, Range(1, 1000)] = 2  # more is a damaged file
    """Recurrent layers."""
    cell: CellName = "lstm"
    """What a layer repeats: the textbook LSTM, a GRU, an LSTM with peepholes, or a
    Mogrifier LSTM of 5 rounds."""
    hidden: Annotated[int, Range(1, 2**20)] | None = None
    """Units of each layer. Default: by the size of the text and --max-seconds."""
    dropout: Share | None = None
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
    mogrifier: Annotated[int, Range(0, 100, "0 to 100 rounds")] = 0  # each is code
    """Rounds in which input and state scale each other before every step of an LSTM
    (Mogrifier); with an embedding in the place of the first layer's table."""
    top_only: bool = False
    """Show the softmax the last layer alone, not the outputs of every layer."""
    capped_gate: bool = False
    """Let input gates of an LSTM be at most 1 - f; with an embedding, as above."""

    @property
    def dtype(self) -> str:
        """Type of the activations."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Configuration):
    """How it learns: Adam on truncated back-propagation through time."""

    batch: Count = 32
    """Stretches of text read side by side."""
    length: Count = 32
    """Symbols per step through which gradients flow; the state is carried on."""
    learning_rate: Positive = 4e-3
    """Peak of the schedule: a linear warm-up, then a linear decay."""
    warmup: Fraction = 0.02
    """Share of the run in which the learning rate rises."""
    final_rate: Fraction = 0.0
    """The learning rate at the end of the run, as a share of its peak."""
    beta2: Share = 0.99
    """Adam's memory of squared gradients."""
    weight_decay: Amount = 0.01
    """Decoupled weight decay (AdamW), on matrices only."""
    clip_norm: Amount = 1.0
    """Largest gradient norm; longer gradients are scaled down to it. 0 is any."""
    reset_probability: Share = 0.02
    """Chance of a stretch to begin a step from the zero state."""
    ema: Share = 0.0
    """Decay of an exponential moving average (EMA) of the weights, 0.999 for example;
    the average is what is validated and kept. 0 is none."""


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
    from_run: Path | None = None
    """Fine-tune the model of this run: its network, vocabulary and weights, with an
    optimizer that begins anew. Characters that it does not know are added."""
    sample_every: ZeroOrMore = 0
    """Print a sample of text after every so many validations; 0 prints none."""


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


def layers_of(model: ModelConfig) -> str:
    """The layers in words: 2 layers of 256 units."""
    layers = "1 layer" if model.layers == 1 else f"{model.layers} layers"
    return f"{layers} of {model.hidden} units"


def check(config: TrainConfig) -> None:
    """Refuse what makes no sense.

    Raises:
        InputError: naming the flag, what it expects and what it found.
    """
    check_bounds(config)
    check_level(config.text.vocab, config.text.vocab_size)
    _check_cell(config.model, config.regularizer)
    validated = config.run.evaluations and config.text.validation_fraction
    if config.run.patience and not validated:
        raise InputError("--patience: expected --evaluations and a held-out text")
    check_run(config.run)
    check_cluster(config.cluster, config.run.devices)


def _check_cell(model: ModelConfig, regularizer: RegularizerConfig) -> None:
    """Refuse settings of the recurrence that do not go together."""
    if regularizer.in_loop and model.engine not in ("auto", "scan"):
        raise InputError(
            "--engine: expected scan, the one that can have recurrent dropout and "
            f"zoneout, found {model.engine}"
        )
    if regularizer.zoneout_cell and model.cell == "gru":
        raise InputError("--zoneout-cell: expected a cell with a cell state, found gru")
    if model.cell != "lstm" and (model.mogrifier or model.capped_gate):
        whose = "--mogrifier" if model.mogrifier else "--capped-gate"
        raise InputError(
            f"{whose}: expected --cell lstm, whose variant it is, found {model.cell}"
        )


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
    # Where the preset was kept at first, and what the average was called.
    run, optimizer = record.get("run"), record.get("optimizer")
    if isinstance(run, dict) and "preset" in run:
        record["preset"] = run.pop("preset")
    if isinstance(optimizer, dict) and "average" in optimizer:
        optimizer["ema"] = optimizer.pop("average")
    config = read_section(TrainConfig, record, str(path))
    try:
        check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config
