"""The settings of a run that nobody gave: chosen once its text is known.

JAX is imported only where the machine is measured.
"""

import dataclasses
import time

from lstm_jax.lm.config import TrainConfig
from lstm_jax.lm.recipe import NOTHING, Given, Recipe, choose
from lstm_jax.report.activities import activity


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen for a run that no flag gave.

    Attributes:
        reasons: what and why, in lines for people; none if nothing was.
        seconds: that it took, measuring the machine.
    """

    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


NO_CHOICE = Choice()
_SHORTEST = 15.0  # seconds of a run: of a shorter one, measuring would be the most


def leaves_open(config: TrainConfig) -> bool:
    """Whether a run of these settings is to have the rest chosen.

    It is if its time is given, and enough to measure the machine, but no number of
    epochs, no preset, no model to begin with and no processes that have to agree.
    """
    seconds = config.run.max_seconds
    return (
        seconds is not None
        and seconds >= _SHORTEST
        and config.run.epochs is None
        and config.preset is None
        and config.from_run is None
        and config.cluster.coordinator is None
    )


def choose_here(
    config: TrainConfig, symbols: int, vocab_size: int, given: Given = NOTHING
) -> tuple[Recipe, float]:
    """Choose for this machine, whose speed is measured.

    Args:
        config: has the time, and the devices to be used.
        symbols: of the training text.
        vocab_size: V, the number of distinct ones.
        given: what is not to be chosen of the network.

    Returns:
        What was chosen, and the seconds that measuring took of the time: half of it at
        most, or a busy machine would have none left to train in.
    """
    from lstm_jax.lm.probe import measured_machine, prepare_machine

    budget = config.run.max_seconds
    assert budget is not None
    prepare_machine(config.run.devices)  # no part of the time
    started = time.perf_counter()
    with activity("measuring this machine"):
        machine = measured_machine(given, config.run.devices)
    seconds = min(time.perf_counter() - started, budget / 2)
    found = choose(symbols, vocab_size, budget - seconds, machine, given)
    of_run = found.config.run
    run = dataclasses.replace(
        config.run, evaluations=of_run.evaluations, epochs=of_run.epochs
    )
    chosen = dataclasses.replace(found.config, text=config.text, run=run)
    return dataclasses.replace(found, config=chosen), seconds
