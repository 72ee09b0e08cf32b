"""Long short-term memory networks in JAX.

The public names, fetched when first asked for: importing the package costs nothing, so
`--help` answers without waiting for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstm_jax.beam import Beams as Beams
    from lstm_jax.beam import beam_search as beam_search
    from lstm_jax.cell import LSTMParams as LSTMParams
    from lstm_jax.cell import LSTMState as LSTMState
    from lstm_jax.cell import init_lstm as init_lstm
    from lstm_jax.cell import lstm_step as lstm_step
    from lstm_jax.config import DataConfig as DataConfig
    from lstm_jax.config import ModelConfig as ModelConfig
    from lstm_jax.config import OptimizerConfig as OptimizerConfig
    from lstm_jax.config import RegularizerConfig as RegularizerConfig
    from lstm_jax.config import RunConfig as RunConfig
    from lstm_jax.config import TrainConfig as TrainConfig
    from lstm_jax.data import lane_batch as lane_batch
    from lstm_jax.decode import Sampling as Sampling
    from lstm_jax.decode import generate_ids as generate_ids
    from lstm_jax.devices import replicate as replicate
    from lstm_jax.devices import row_mesh as row_mesh
    from lstm_jax.devices import show_cores as show_cores
    from lstm_jax.devices import spread as spread
    from lstm_jax.devices import spread_batch as spread_batch
    from lstm_jax.dispatch import EngineChoice as EngineChoice
    from lstm_jax.dispatch import explain_engine as explain_engine
    from lstm_jax.layers import LSTM as LSTM
    from lstm_jax.layers import Bidirectional as Bidirectional
    from lstm_jax.layers import StackedLSTM as StackedLSTM
    from lstm_jax.models.language import LanguageModel as LanguageModel
    from lstm_jax.models.language import language_loss as language_loss
    from lstm_jax.recurrence import lstm as lstm
    from lstm_jax.regularize import LoopMasks as LoopMasks
    from lstm_jax.regularize import drop_connect as drop_connect
    from lstm_jax.regularize import dropout as dropout
    from lstm_jax.regularize import loop_masks as loop_masks
    from lstm_jax.step import TrainState as TrainState
    from lstm_jax.step import init_state as init_state
    from lstm_jax.step import make_optimizer as make_optimizer
    from lstm_jax.step import train_step as train_step
    from lstm_jax.step import train_steps as train_steps
    from lstm_jax.text import TextModel as TextModel
    from lstm_jax.text import evaluate_text as evaluate_text
    from lstm_jax.text import fit_text as fit_text
    from lstm_jax.text import generate_text as generate_text
    from lstm_jax.text import load as load
    from lstm_jax.text import save as save

__version__ = "0.1.0"

_ROOMS = {
    "cell": ("LSTMParams", "LSTMState", "init_lstm", "lstm_step"),
    "regularize": ("LoopMasks", "drop_connect", "dropout", "loop_masks"),
    "data": ("lane_batch",),
    "dispatch": ("EngineChoice", "explain_engine"),
    "recurrence": ("lstm",),
    "layers": ("LSTM", "Bidirectional", "StackedLSTM"),
    "models.language": ("LanguageModel", "language_loss"),
    "step": ("TrainState", "init_state", "make_optimizer", "train_step", "train_steps"),
    "devices": ("replicate", "row_mesh", "show_cores", "spread", "spread_batch"),
    "beam": ("Beams", "beam_search"),
    "decode": ("Sampling", "generate_ids"),
    "config": (
        "DataConfig",
        "ModelConfig",
        "OptimizerConfig",
        "RegularizerConfig",
        "RunConfig",
        "TrainConfig",
    ),
    "text": (
        "TextModel",
        "evaluate_text",
        "fit_text",
        "generate_text",
        "load",
        "save",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    """Import the room a public name lives in, the first time it is asked for."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")
    value = getattr(import_module(f"lstm_jax.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_ROOM_OF]
