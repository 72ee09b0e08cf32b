"""One time step, as equations. No loop, no Flax, no device."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.cells.lstm import LSTMParams as LSTMParams
    from lstm_jax.cells.lstm import LSTMState as LSTMState
    from lstm_jax.cells.lstm import init_lstm as init_lstm
    from lstm_jax.cells.lstm import lstm_step as lstm_step
    from lstm_jax.cells.mogrifier import MogrifierParams as MogrifierParams
    from lstm_jax.cells.mogrifier import mogrifier_step as mogrifier_step
    from lstm_jax.cells.noise import LoopMasks as LoopMasks
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
