"""Settings by name, each made for a text and a budget: what --preset starts from.

They were chosen by the validation loss of tiny shakespeare (1.1 million characters) on
2 CPU cores; docs/results.md has what they reach. A flag beside --preset still counts.
"""

from lstm_jax.config import (
    ModelConfig,
    OptimizerConfig,
    RegularizerConfig,
    RunConfig,
    TrainConfig,
)
from lstm_jax.errors import InputError

# Few passes over the text: nothing is learned by heart, so nothing is dropped.
_MINUTES_3 = TrainConfig(
    model=ModelConfig(layers=2, hidden=256, dropout=0.0),
    run=RunConfig(max_seconds=180.0),
)
# Enough passes to learn by heart: noise on the recurrent weights.
_MINUTES_10 = TrainConfig(
    model=ModelConfig(layers=2, hidden=384, dropout=0.25),
    optimizer=OptimizerConfig(average=0.999),
    regularizer=RegularizerConfig(weight_drop=0.2),
    run=RunConfig(max_seconds=600.0),
)
# So many that the noise decides.
_MINUTES_60 = TrainConfig(
    model=ModelConfig(layers=2, hidden=512, dropout=0.4),
    optimizer=OptimizerConfig(average=0.999),
    regularizer=RegularizerConfig(weight_drop=0.4),
    run=RunConfig(max_seconds=3600.0),
)

_PRESETS: dict[str, TrainConfig] = {
    "shakespeare-3min": _MINUTES_3,
    "shakespeare-10min": _MINUTES_10,
    "shakespeare-60min": _MINUTES_60,
}


def preset(name: str) -> TrainConfig:
    """The settings of this name.

    Raises:
        InputError: there are none.
    """
    if name not in _PRESETS:
        known = ", ".join(_PRESETS)
        raise InputError(f"--preset: expected one of {known}, found {name}")
    return _PRESETS[name]
