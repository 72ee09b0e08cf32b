"""How fast this machine trains: what the size of a network is chosen by."""

import dataclasses

import jax
import numpy as np

from lstm_jax.config import Devices, RegularizerConfig, RunConfig
from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.characters import CharTokenizer
from lstm_jax.distributed.bounded import run_once
from lstm_jax.distributed.host import (
    enable_compilation_cache,
    keep_freed_memory,
    set_cpu_device_count,
    usable_cores,
)
from lstm_jax.engines.native.build import why_not_built
from lstm_jax.lm.config import OptimizerConfig, TrainConfig
from lstm_jax.lm.recipe import NOTHING, Given, Machine, network_of
from lstm_jax.lm.sizing import step_operations
from lstm_jax.lm.task import set_up
from lstm_jax.training.compiled import CompiledSteps
from lstm_jax.training.loop import Timer, fit

_UNITS = 256  # wide enough that its products take the time
_PROBE = TrainConfig(
    optimizer=OptimizerConfig(length=64, ema=0.999),
    regularizer=RegularizerConfig(variational=True),
    run=RunConfig(max_seconds=60.0, steps_per_call=4),
)
_VOCAB = CharTokenizer("char", "".join(map(chr, range(32, 97))))
_MEASURED = 0.7  # seconds of steps, after the first call
_ROWS_PER_CORE, _FEWEST_ROWS, _MOST_ROWS = 8, 16, 64
_ACCELERATOR_ROWS, _MOST_ACCELERATOR_ROWS = 32, 1024


def prepare_machine(devices: Devices) -> None:
    """Do what is done once before anything is measured, and once on a machine.

    Args:
        devices: see `RunConfig`.
    """
    set_cpu_device_count(devices)
    keep_freed_memory()
    enable_compilation_cache()
    if jax.default_backend() == "cpu":
        why_not_built()  # compiles the engine native


def measured_machine(given: Given, devices: Devices) -> Machine:
    """Measure how fast this machine trains, with as many rows as suit it.

    Args:
        given: perhaps the rows, the cell, the engine and the precision.
        devices: see `RunConfig`.
    """
    rows = given.batch or _rows(usable_cores(), devices)
    on_cpu = jax.default_backend() == "cpu"
    if given.batch is None and not on_cpu:
        rows = _ACCELERATOR_ROWS * (devices if isinstance(devices, int) else 1)
    # More rows than keep a machine busy would only take longer to measure.
    enough = _MOST_ROWS if on_cpu else _MOST_ACCELERATOR_ROWS
    measured = rows if rows <= enough else _even(enough, devices)
    speed = operations_per_second(measured, given, devices)
    count = jax.device_count() if devices == "all" else devices or 1
    return Machine(rows, speed, count)


def _rows(cores: int, devices: Devices) -> int:
    """So many rows that every core has some, and every device as many."""
    return _even(min(max(_ROWS_PER_CORE * cores, _FEWEST_ROWS), _MOST_ROWS), devices)


def _even(rows: int, devices: Devices) -> int:
    """So many rows, or the next number of which every device has as many."""
    count = usable_cores() if devices == "all" else devices or 1
    return -(-rows // count) * count


def operations_per_second(
    rows: int, given: Given = NOTHING, devices: Devices = None
) -> float:
    """Measure how many floating-point operations a second a training step makes here.

    A layer of the kind that is chosen learns noise for about a second, once its step is
    compiled. The fastest call counts: others may have waited for something else on the
    machine.
    """
    optimizer = dataclasses.replace(_PROBE.optimizer, batch=rows)
    model = dataclasses.replace(network_of(given), layers=1, hidden=_UNITS, dropout=0.1)
    config = dataclasses.replace(_PROBE, model=model, optimizer=optimizer)
    ids = np.random.default_rng(0).integers(0, len(_VOCAB), 200 * rows, dtype=np.uint8)
    setup = set_up(config, Corpus(ids, len(ids)), _VOCAB)
    state = run_once(setup.first_state)()
    timer, rates = Timer(), [0.0]
    lines = fit(
        *(setup.task, setup.optimizer, state, setup.schedule, timer),
        steps_per_call=config.run.steps_per_call,
        evaluations=0,
        devices=devices,
        compiled=CompiledSteps(setup.task.loss, setup.optimizer),
    )
    next(lines)  # the first call finds memory and threads, and takes many times as long
    started = timer.seconds()
    for _, line in lines:
        rates.append(line.items_per_second)
        if timer.seconds() - started > _MEASURED:
            break
    return max(rates) * step_operations(config) / setup.task.items_per_step
