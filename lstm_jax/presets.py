"""Settings by name, each made for a text and a budget: what --preset starts from.

They were chosen by the validation loss of tiny shakespeare (1.1 million characters) on
2 CPU cores; docs/results.md has what they reach. A flag beside --preset still counts.
"""

from lstm_jax.config import ModelConfig, OptimizerConfig, RunConfig, TrainConfig
from lstm_jax.errors import InputError

# Four passes over the text: time is short, and dropout would cost more than it gains.
# Small batches make many steps of it, and the average takes their noise away.
_MINUTES_3 = TrainConfig(
    model=ModelConfig(layers=2, hidden=256, dropout=0.0),
    optimizer=OptimizerConfig(
        batch=16, length=32, learning_rate=3e-3, final_rate=0.1, average=0.999
    ),
    run=RunConfig(max_seconds=180.0, evaluations=4),
)
_PRESETS = {"shakespeare-3min": _MINUTES_3}


def preset(name: str) -> TrainConfig:
    """The settings of this name.

    Raises:
        InputError: there are none.
    """
    if name not in _PRESETS:
        known = ", ".join(_PRESETS)
        raise InputError(f"--preset: expected one of {known}, found {name}")
    return _PRESETS[name]
