"""All settings of a run of the text generator: the flags and `config.json`.

Free of JAX, so that `--help` answers at once. Every class is frozen; the text under a
field is its help.
"""

import dataclasses
import json
from collections.abc import Sequence
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

_CHOSEN = "chosen"  # in config.json, beside the settings
FORMAT = 1  # of config.json; a new setting with a default needs no new one
PresetName = Literal[
    "shakespeare-3min",
    "shakespeare-10min",
    "shakespeare-60min",
    "shakespeare-gpu-3min",
]


@dataclasses.dataclass(frozen=True)
class DataConfig(Configuration):
    """Text and vocabulary."""

    data: tuple[Path, ...] = ()
    """Text files to train on, concatenated; `.gz` and `.xz` are decompressed. Without
    any, the built-in text "hello world"."""
    vocab: str = "char"
    """Unit of the vocabulary: char (Unicode characters), byte, word, bpe (subwords
    learned by byte-pair encoding), or the path of a Hugging Face tokenizer.json."""
    vocab_size: Count | None = None
    """Vocabulary size for --vocab word or bpe. Default: 4000 plus the characters."""
    validation_fraction: Share = 0.1
    """Fraction of the text, taken from its end, that is held out for validation."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Configuration):
    """Network."""

    layers: Annotated[int, Range(1, 1000)] = 2  # more is a damaged file
    """Number of recurrent layers."""
    cell: CellName = "lstm"
    """Type of recurrent cell: the textbook LSTM, a GRU, an LSTM with peepholes, a
    Mogrifier LSTM with 5 rounds, or an LSTM with coupled gates (i = 1 - f)."""
    hidden: Annotated[int, Range(1, 2**20)] | None = None
    """Hidden units per layer. Default: derived from the size of the text."""
    dropout: Share | None = None
    """Dropout rate between layers and before the softmax. Default: derived from the
    number of epochs."""
    precision: Precision = "float32"
    """Floating-point precision. bfloat16 keeps parameters and the cell state in
    float32; mixed uses bfloat16 only for the factors of matrix products during
    training, and only on hardware that multiplies them faster."""
    engine: EngineName = "auto"
    """Implementation of the recurrence; the results are the same."""
    remat: bool = False
    """Recompute activations in the backward pass (gradient checkpointing): far less
    memory at the cost of one more forward pass per step."""
    mogrifier: Annotated[int, Range(0, 100, "0 to 100 rounds")] = 0  # each is code
    """Number of Mogrifier rounds, in which input and state gate each other before each
    LSTM step; 0 disables them. Uses an embedding for the first layer."""
    top_only: bool = False
    """Feed the softmax from the last layer only, instead of from every layer."""
    tie_embedding: bool = False
    """Share one embedding matrix between the input and the softmax, in place of the
    first layer's table and the softmax's weights; the softmax then reads the last
    layer only."""
    capped_gate: bool = False
    """Cap the input gate of an LSTM at 1 - f, f being the forget gate. Uses an
    embedding for the first layer."""

    @property
    def dtype(self) -> str:
        """Type of the activations."""
        return "bfloat16" if self.precision == "bfloat16" else "float32"


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Configuration):
    """Optimization: Adam with truncated backpropagation through time."""

    batch: Count = 32
    """Batch size: sequences processed in parallel."""
    length: Count = 32
    """Sequence length of truncated backpropagation; the state is carried over to the
    next step."""
    learning_rate: Positive = 4e-3
    """Peak learning rate, reached after a linear warm-up and followed by a linear
    decay."""
    warmup: Fraction = 0.02
    """Fraction of the run spent on the learning-rate warm-up."""
    final_rate: Fraction = 0.0
    """Learning rate at the end of the run, as a fraction of its peak."""
    beta2: Share = 0.99
    """Adam's decay rate for the second moment."""
    weight_decay: Amount = 0.01
    """Decoupled weight decay (AdamW), applied to matrices only."""
    clip_norm: Amount = 1.0
    """Clip gradients to this global norm; 0 disables clipping."""
    reset_probability: Share = 0.02
    """Probability with which a sequence restarts from the zero state at each step."""
    ema: Share = 0.0
    """Decay of the exponential moving average (EMA) of the weights, e.g. 0.999, which
    is validated and saved instead of the raw weights; 0 disables it."""


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
    """Start from settings tuned for tiny shakespeare, a time budget and 2 CPU cores
    or, gpu-3min, one GPU, instead of the defaults; other flags override them."""
    from_run: Path | None = None
    """Fine-tune the model of this run: reuse its network, vocabulary and weights with
    a fresh optimizer. Characters missing from its vocabulary are added."""
    sample_every: ZeroOrMore = 0
    """Print a generated sample after every N validations; 0 disables samples."""


HELLO_WORLD_TEXT = "hello world"
# The chapter's program: one layer of 50 units, windows of 3 characters, plain Adam.
HELLO_WORLD = TrainConfig(
    text=DataConfig(validation_fraction=0.0),
    # Compiling the engine native for it would take longer than all else together.
    model=ModelConfig(layers=1, hidden=50, dropout=0.0, engine="fused"),
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


def save_config(config: TrainConfig, path: Path, chosen: Sequence[str] = ()) -> None:
    """Write `config.json`, whole or not at all.

    Args:
        config: the settings.
        path: of the file.
        chosen: what was chosen of them and why, for people to read.
    """
    record = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    if chosen:
        record[_CHOSEN] = list(chosen)
    write_json(path, {"format": FORMAT, **record}, indent=2)


def load_chosen(path: Path) -> list[str]:
    """Read from `config.json` what was chosen, and why; nothing if nothing was.

    Raises:
        InputError: the file is missing or damaged.
    """
    lines = read_json(path, "a configuration").get(_CHOSEN, [])
    if not isinstance(lines, list) or not all(isinstance(x, str) for x in lines):
        raise InputError(f"{path}: {_CHOSEN}: expected lines, found {lines!r:.60}")
    return lines


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
    record.pop(_CHOSEN, None)
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
