"""Settings by name, each made for a text and a budget: what --preset starts from.

They were chosen by the validation loss of tiny shakespeare (1.1 million characters) on
2 CPU cores; docs/results.md has what they reach. The one for a GPU follows from them.
A flag beside --preset still counts.
"""

from lstm_jax.config import RegularizerConfig, RunConfig
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig

# Four passes over the text: what a Mogrifier learns from each is worth its time. The
# temperature takes a sureness away that other plays would not bear out; the running
# average, the noise of validations on the way.
_MINUTES_3 = TrainConfig(
    model=ModelConfig(
        layers=2, hidden=256, dropout=0.1, precision="mixed", mogrifier=2
    ),
    optimizer=OptimizerConfig(
        batch=32, length=32, learning_rate=4e-3, final_rate=0.1, ema=0.999
    ),
    regularizer=RegularizerConfig(variational=True, training_temperature=0.87),
    run=RunConfig(max_seconds=180.0, evaluations=4),
)
# Seven passes: enough to learn by heart, so two fifths of what is shown are dropped.
# Gradients reach 64 characters back, to the names of those who speak; as held-out plays
# have new ones, the model is to be less sure than its training text would have it.
_MINUTES_10 = TrainConfig(
    model=ModelConfig(
        layers=2, hidden=320, dropout=0.4, precision="mixed", mogrifier=2
    ),
    optimizer=OptimizerConfig(
        batch=16,
        length=64,
        learning_rate=3e-3,
        final_rate=0.1,
        weight_decay=0.1,
        ema=0.999,
    ),
    regularizer=RegularizerConfig(variational=True, training_temperature=0.85),
    run=RunConfig(max_seconds=600.0, evaluations=8),
)
# Thirty passes: recurrent weights are dropped, too, and gradients reach farther back. A
# fifth of a step's stretches begin from the zero state, to be good at that as well.
_MINUTES_60 = TrainConfig(
    model=ModelConfig(
        layers=2, hidden=384, dropout=0.5, precision="mixed", mogrifier=2
    ),
    optimizer=OptimizerConfig(
        batch=16,
        length=128,
        learning_rate=3e-3,
        final_rate=0.05,
        weight_decay=0.1,
        ema=0.999,
        reset_probability=0.2,
    ),
    regularizer=RegularizerConfig(
        variational=True, weight_drop=0.25, training_temperature=0.78
    ),
    run=RunConfig(max_seconds=3600.0, evaluations=24),
)
# A GPU's step takes as long for 32 rows of 512 units as for 16 of 384, for it waits for
# kernels to start. So three minutes have about as many steps as an hour on 2 CPU cores,
# of twice as many characters: up to sixty passes, for which more is dropped.
_GPU_MINUTES_3 = TrainConfig(
    model=ModelConfig(
        layers=2, hidden=512, dropout=0.55, precision="mixed", mogrifier=2
    ),
    optimizer=OptimizerConfig(
        batch=32,
        length=128,
        learning_rate=3e-3,
        final_rate=0.05,
        weight_decay=0.1,
        ema=0.999,
        reset_probability=0.2,
    ),
    regularizer=RegularizerConfig(
        variational=True, weight_drop=0.3, training_temperature=0.78
    ),
    run=RunConfig(max_seconds=180.0, evaluations=12),
)
_PRESETS = {
    "shakespeare-3min": _MINUTES_3,
    "shakespeare-10min": _MINUTES_10,
    "shakespeare-60min": _MINUTES_60,
    "shakespeare-gpu-3min": _GPU_MINUTES_3,
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
