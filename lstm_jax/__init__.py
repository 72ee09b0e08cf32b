"""Long short-term memory networks in JAX.

The public names, fetched when first asked for: importing the package costs nothing, so
`--help` answers without waiting for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstm_jax.cell import LSTMParams as LSTMParams
    from lstm_jax.cell import LSTMState as LSTMState
    from lstm_jax.cell import init_lstm as init_lstm
    from lstm_jax.cell import lstm_step as lstm_step
    from lstm_jax.layers import LSTM as LSTM
    from lstm_jax.layers import Bidirectional as Bidirectional
    from lstm_jax.layers import StackedLSTM as StackedLSTM
    from lstm_jax.recurrence import lstm as lstm

__version__ = "0.1.0"

_ROOMS = {
    "cell": ("LSTMParams", "LSTMState", "init_lstm", "lstm_step"),
    "recurrence": ("lstm",),
    "layers": ("LSTM", "Bidirectional", "StackedLSTM"),
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
