"""Settings that follow from the length of the text and of the run. Pure functions.

How wide a network learns most in a given time is a matter of the multiplications that
the time has room for: of C of them, about as large a share goes into more units as into
reading more text (Hoffmann et al. 2022), so the width grows with the fourth root of C.
A short text limits it, and how often the text is read decides about dropout. The one
case that was measured is three minutes of tiny shakespeare on 2 CPU cores, see
`docs/results.md`; the rest is carried over from there. Faster devices have room for
more, which --hidden can say.
"""

import dataclasses
import math

from lstm_jax.config import RunConfig
from lstm_jax.lm.config import ModelConfig, TrainConfig

DEFAULT_EPOCHS = 10  # of a long text
_LONG_TEXT = 1e6  # symbols: shorter texts bear more passes, and weights for each
_SHORTER = 0.3  # as this power of how much shorter they are
_FEWEST_STEPS = 1000  # of a run whose length nobody gave
_HIDDEN, _SECONDS = 256, 180.0  # units of two layers, and the time they are best for
_MATRICES = 12  # of H x H weights, in those two layers
_READ = 6e6  # symbols that are read in this time
_WEIGHTS_PER_SYMBOL = 3  # at most, of the text
_STEP, _MOST_HIDDEN, _MOST_DROPOUT = 32, 1024, 0.5
_DROPOUT_PER_DOUBLING, _FREE_PASSES = 0.15, 4  # so often a text can be read without any
_OPERATIONS_MEANWHILE = 2e6


def fit_to(config: TrainConfig, transitions: int) -> TrainConfig:
    """The settings with those that were left open, and a batch the text can fill.

    Args:
        config: the settings.
        transitions: pairs of a symbol and its successor in the training text.
    """
    length = min(config.optimizer.length, transitions)
    batch = max(1, min(config.optimizer.batch, transitions // length))
    devices = config.run.devices
    if isinstance(devices, int) and batch < config.optimizer.batch:
        batch = max(devices, batch // devices * devices)
    optimizer = dataclasses.replace(config.optimizer, batch=batch, length=length)
    model, run = config.model, config.run
    if run.epochs is None and run.max_seconds is None:
        epochs = default_epochs(transitions, optimizer.batch * optimizer.length)
        run = dataclasses.replace(run, epochs=epochs)
    hidden, dropout = model.hidden, model.dropout
    matrices = square_matrices(model)
    if hidden is None:
        hidden = fitting_hidden(transitions, run.max_seconds, matrices)
    if dropout is None:
        dropout = fitting_dropout(passes(run, transitions, hidden, matrices))
    model = dataclasses.replace(model, hidden=hidden, dropout=dropout)
    return dataclasses.replace(config, model=model, optimizer=optimizer, run=run)


def default_epochs(symbols: int, symbols_of_step: int) -> int:
    """How often a text is read: a short one more often, until steps are enough."""
    steps = math.ceil(symbols / symbols_of_step)  # of a pass
    helpful = round(DEFAULT_EPOCHS * bearing(symbols))
    return max(helpful, math.ceil(_FEWEST_STEPS / steps))


def bearing(symbols: int) -> float:
    """How many times as much of each symbol a short text bears as a long one."""
    return max(1.0, (_LONG_TEXT / symbols) ** _SHORTER)


def square_matrices(model: ModelConfig) -> int:
    """How many matrices of H x H weights a network has, each multiplied once a symbol.

    Four blocks, of a GRU three, read what comes from below and what was before; a table
    serves the first layer's inputs. A Mogrifier has no table, nor has a tied embedding,
    and a Mogrifier has a matrix more for each round.
    """
    blocks = 3 if model.cell in ("gru", "coupled") else 4
    rounds = model.mogrifier or (5 if model.cell == "mogrifier" else 0)
    table = not (rounds or model.capped_gate or model.tie_embedding)
    return model.layers * (2 * blocks + rounds) - (blocks if table else 0)


def fitting_hidden(symbols: int, seconds: float | None, matrices: int) -> int:
    """Units of each layer, for a text of so many symbols and a run of so long."""
    by_time = (1.0 if seconds is None else seconds / _SECONDS) ** 0.25
    wanted = _HIDDEN * by_time * (_MATRICES / matrices) ** 0.5
    by_text = (_WEIGHTS_PER_SYMBOL * symbols / matrices) ** 0.5
    steps = round(min(wanted, by_text, _MOST_HIDDEN) / _STEP)
    return max(1, steps) * _STEP


def passes(run: RunConfig, symbols: int, hidden: int, matrices: int) -> float:
    """How often a run will about have read a text."""
    if run.max_seconds is None:
        return run.epochs or DEFAULT_EPOCHS
    work = matrices * hidden**2 / (_MATRICES * _HIDDEN**2)
    in_time = _READ * run.max_seconds / _SECONDS / work / symbols
    return min(in_time, run.epochs or in_time)


def fitting_dropout(times: float) -> float:
    """None for a text that is read a few times, more with every doubling."""
    doublings = math.log2(max(times, 1) / _FREE_PASSES)
    return round(min(max(0.0, _DROPOUT_PER_DOUBLING * doublings), _MOST_DROPOUT), 2)


def waits_for_kernels(config: TrainConfig) -> bool:
    """Whether a GPU would take longer to start a step's kernels than a CPU to multiply.

    Forward and back, a time step of a layer takes a GPU about 20 microseconds however
    small it is; in these a few CPU cores make about as many operations as said here.
    """
    per_layer = step_operations(config) / config.optimizer.length / config.model.layers
    return per_layer < _OPERATIONS_MEANWHILE


def step_operations(config: TrainConfig) -> float:
    """About how many floating-point operations a training step takes."""
    model, optimizer = config.model, config.optimizer
    assert model.hidden is not None, "fit_to has been called"
    matrices = square_matrices(model)
    per_symbol = 6 * matrices * model.hidden**2
    return per_symbol * optimizer.batch * optimizer.length
