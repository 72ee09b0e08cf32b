"""Settings chosen for a text, a time and a machine: the defaults of `--max-seconds`.

Two numbers decide. The work that the time has room for, in floating-point operations,
says how wide a network learns most in it; how often the text is then read, its passes,
says how much has to be done against learning it by heart. After so many passes nothing
helps any more, and the run ends before its time. The rules are lines through what was
best in trials on two texts, see `docs/results.md`. Pure functions.
"""

import dataclasses
import math

from lstm_jax.config import (
    CellName,
    EngineName,
    Precision,
    RegularizerConfig,
    RunConfig,
)
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig, layers_of
from lstm_jax.lm.sizing import bearing, square_matrices

_GETTING_READY = 6.0  # seconds of a run without steps: compilation and validation
_ROUNDS = 2  # of a Mogrifier
_WITHOUT_ROUNDS = ("cudnn", "pallas_gpu", "pallas_tpu")  # engines for the LSTM alone
_HIDDEN, _WORK, _GROWTH = 256, 4.0e13, 0.35  # units that are best for so much work
_STEP, _LEAST, _MOST = 32, 32, 1024
_WEIGHTS_PER_SYMBOL, _MOST_PASSES = 10, 20  # of a long text, at most
_SOON = 0.75  # of these passes: as few are foreseen of a machine that is busy for now
_LEAST_STEPS = 1024  # of all passes: of a short text, fewer rows are read at once
_WIDTH_COST = 1.6  # time grows as this power of the units: small products are slow
_NO_CHEAPER = 64  # units: what a step takes besides products is as much for fewer
_FREE_PASSES = 2.0  # so often a text can be read before it is learned by heart
_SHORT_WORK, _LONG_WORK = 1.4e13, 3.4e14  # below and above: steps of 32 and 128 symbols
_RATE = 8e-3
_AVERAGED = 0.2  # of the run, by the running average of the weights
# Fields of the settings that are chosen; those not among them keep their defaults.
CHOSEN = frozenset(
    {
        *("layers", "hidden", "dropout", "precision", "mogrifier", "capped_gate"),
        *("batch", "length", "learning_rate", "final_rate", "weight_decay", "ema"),
        *("reset_probability", "variational", "weight_drop", "training_temperature"),
        *("evaluations", "epochs"),
    }
)


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user has said that others depend on; None is to be chosen."""

    layers: int | None = None
    hidden: int | None = None
    cell: CellName | None = None
    mogrifier: int | None = None
    precision: Precision | None = None
    engine: EngineName | None = None
    batch: int | None = None
    length: int | None = None


NOTHING = Given()


@dataclasses.dataclass(frozen=True)
class Machine:
    """What was measured of a machine.

    Attributes:
        rows: of a step, so many that all of it has work.
        operations_per_second: floating-point operations of training steps.
        devices: that a step's rows are spread over, each as many.
    """

    rows: int
    operations_per_second: float
    devices: int = 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings, and what they were chosen by.

    Attributes:
        config: the settings.
        work: floating-point operations that the time has room for.
        passes: how often the text is read.
        symbols: of the training text.
        soon: whether the passes that help may be made before the time is over.
    """

    config: TrainConfig
    work: float
    passes: float
    symbols: int
    soon: bool

    def reasons(self, config: TrainConfig) -> tuple[str, ...]:
        """Say what was chosen, and why, in lines for people.

        Args:
            config: the settings that came of it, with those that were given.
        """
        model, optimizer = config.model, config.optimizer
        regularizer = config.regularizer
        return (
            f"chosen for {self.symbols:,} symbols and {self.work:.1e} operations, what "
            "this machine does in the time; any flag is kept instead:",
            f"  {layers_of(model)}, {_kind(model)}, {model.precision} precision: as "
            "wide as the time and the text allow",
            f"  dropout {model.dropout}, weight drop {regularizer.weight_drop}, weight "
            f"decay {optimizer.weight_decay}, training temperature "
            f"{regularizer.training_temperature}: for about {self.passes:.1f} passes",
            f"  {optimizer.batch} rows of {optimizer.length} symbols a step, learning "
            f"rate {optimizer.learning_rate}, {_averaged(optimizer.ema)}",
            *([_ending(config)] if self.soon else []),
        )


def choose(
    symbols: int,
    vocab_size: int,
    seconds: float,
    machine: Machine,
    given: Given = NOTHING,
) -> Recipe:
    """Choose the settings of a run.

    Args:
        symbols: of the training text.
        vocab_size: V, the number of distinct ones.
        seconds: the time budget.
        machine: what is to train.
        given: what is not to be chosen.
    """
    steady = max(seconds - _GETTING_READY, seconds / 2)
    work = steady * machine.operations_per_second
    model = network_of(given)
    if model.hidden is None:
        model = dataclasses.replace(model, hidden=_hidden(symbols, work, model))
    per_pass = _operations(model, vocab_size) * symbols
    most = _most_passes(symbols, model)
    passes = min(work / per_pass, most)
    reading = _Reading(passes * per_pass, passes * symbols, most * symbols)
    soon = passes > _SOON * most
    config = TrainConfig(
        model=dataclasses.replace(model, dropout=_dropout(passes)),
        optimizer=_optimizer(model, reading, machine, given),
        regularizer=_regularizer(passes),
        run=RunConfig(
            epochs=most, max_seconds=seconds, evaluations=_evaluations(seconds, soon)
        ),
    )
    return Recipe(config, work, passes, symbols, soon)


@dataclasses.dataclass(frozen=True)
class _Reading:
    """What a run reads: the operations of it, its symbols, and those of all passes."""

    work: float
    symbols: float
    most: float


def network_of(given: Given) -> ModelConfig:
    """The kind of network: a Mogrifier with capped gates, unless another is given.

    An engine that has no loop for it is a way to ask for an LSTM.
    """
    model = ModelConfig(
        layers=given.layers or 2,
        hidden=given.hidden,
        precision=given.precision or "mixed",
        engine=given.engine or "auto",
    )
    if given.cell not in (None, "lstm"):
        return dataclasses.replace(model, cell=given.cell)
    usual = 0 if given.engine in _WITHOUT_ROUNDS else _ROUNDS
    rounds = usual if given.mogrifier is None else given.mogrifier
    return dataclasses.replace(model, mogrifier=rounds, capped_gate=rounds > 0)


def _averaged(ema: float) -> str:
    return f"weights averaged with {ema}" if ema else "no average of weights"


def _ending(config: TrainConfig) -> str:
    epochs = config.run.epochs
    return f"  no more than {epochs} passes: more would teach it the text by heart"


def _kind(model: ModelConfig) -> str:
    if model.mogrifier:
        capped = " with capped gates" if model.capped_gate else ""
        return f"Mogrifiers of {model.mogrifier} rounds{capped}"
    return f"cell {model.cell}"


def _hidden(symbols: int, work: float, model: ModelConfig) -> int:
    """Units of each layer: as many as the work can teach, and the text."""
    matrices = square_matrices(model)
    by_work = _HIDDEN * (work / _WORK) ** _GROWTH * (_MATRICES / matrices) ** 0.5
    weights = _WEIGHTS_PER_SYMBOL * bearing(symbols) * symbols
    by_text = (weights / matrices) ** 0.5
    return max(_LEAST, round(min(by_work, by_text, _MOST) / _STEP) * _STEP)


_MATRICES = square_matrices(network_of(NOTHING))


def _most_passes(symbols: int, model: ModelConfig) -> int:
    """How many passes help; a network that is small for the text bears more of them."""
    assert model.hidden is not None
    weights = square_matrices(model) * model.hidden**2
    small = max(1.0, _WEIGHTS_PER_SYMBOL * symbols / weights)
    return round(_MOST_PASSES * bearing(symbols) * small)


def _operations(model: ModelConfig, vocab_size: int) -> float:
    """Operations that could be made in the time that a symbol takes.

    They are more than are made where small products keep a processor from its speed.
    """
    assert model.hidden is not None
    units = max(model.hidden, _NO_CHEAPER)
    width = (units / _HIDDEN) ** _WIDTH_COST * _HIDDEN**2
    scores = model.layers * model.hidden * vocab_size
    return 6 * (square_matrices(model) * width + scores)


def _doublings(passes: float) -> float:
    """How often the passes have doubled since the first that matter.

    In quarters: a machine is never measured twice alike, and settings that hardly
    differ would be programs to compile anew.
    """
    return max(0.0, round(4 * math.log2(max(passes, 1e-9) / _FREE_PASSES)) / 4)


def _dropout(passes: float) -> float:
    return round(min(0.17 * _doublings(passes), 0.5), 2)


def _regularizer(passes: float) -> RegularizerConfig:
    """Against learning by heart, and against the sureness that comes of it.

    A temperature below 1 was worth as much at one pass over a text as at five: what is
    held out differs from what was read before anything is learned by heart.
    """
    doublings = _doublings(passes)
    return RegularizerConfig(
        variational=True,
        weight_drop=round(min(max(0.0, 0.15 * (doublings - 2.5)), 0.25), 2),
        training_temperature=round(max(0.87 - 0.03 * doublings, 0.78), 2),
    )


def _optimizer(
    model: ModelConfig, reading: _Reading, machine: Machine, given: Given
) -> OptimizerConfig:
    """Longer gradients, slower averages and lower rates for longer runs.

    Args:
        model: the network.
        reading: of the run.
        machine: what is to train.
        given: perhaps batch and length.
    """
    assert model.hidden is not None
    short, long = reading.work < _SHORT_WORK, reading.work > _LONG_WORK
    length = given.length or (32 if short else 128 if long else 64)
    rows = 2 * machine.rows if short else machine.rows
    rows = min(rows, _most_rows(reading.most / length))
    batch = given.batch or max(1, rows // machine.devices) * machine.devices
    averaged = min(max(_AVERAGED * reading.symbols / (batch * length), 10.0), 1000.0)
    averaged = 2.0 ** round(math.log2(averaged))  # as coarse as `_doublings`
    return OptimizerConfig(
        batch=batch,
        length=length,
        learning_rate=round(_RATE * min(1.0, (_HIDDEN / model.hidden) ** 0.5), 4),
        final_rate=0.1,
        weight_decay=0.1,
        ema=round(1 - 1 / averaged, 4),
        reset_probability=0.2 if length >= 128 else 0.02,
    )


def _most_rows(segments: float) -> int:
    """Rows of a step, a power of two, that make enough steps of so many segments."""
    return 2 ** max(0, math.floor(math.log2(max(segments / _LEAST_STEPS, 1.0))))


def _evaluations(seconds: float, soon: bool) -> int:
    """Validations: each takes about a second, and finds a network at its best.

    Args:
        seconds: of the run.
        soon: whether it may have passes enough to be at its best before it ends.
    """
    return max(12 if soon else 2, min(24, round(seconds / 40)))
