"""One time step, as equations. No loop, no device."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.cells.conv_lstm import ConvLSTMCell as ConvLSTMCell
    from lstm_jax.cells.conv_lstm import ConvLSTMParams as ConvLSTMParams
    from lstm_jax.cells.decay import DecayCell as DecayCell
    from lstm_jax.cells.decay import DecayParams as DecayParams
    from lstm_jax.cells.gru import GRUCell as GRUCell
    from lstm_jax.cells.gru import GRUParams as GRUParams
    from lstm_jax.cells.gru import GRUState as GRUState
    from lstm_jax.cells.lstm import LSTMCell as LSTMCell
    from lstm_jax.cells.lstm import LSTMParams as LSTMParams
    from lstm_jax.cells.lstm import LSTMState as LSTMState
    from lstm_jax.cells.lstm import init_lstm as init_lstm
    from lstm_jax.cells.lstm import lstm_step as lstm_step
    from lstm_jax.cells.mogrifier import MogrifierCell as MogrifierCell
    from lstm_jax.cells.mogrifier import MogrifierParams as MogrifierParams
    from lstm_jax.cells.noise import LoopMasks as LoopMasks
    from lstm_jax.cells.peephole import PeepholeCell as PeepholeCell
    from lstm_jax.cells.peephole import PeepholeParams as PeepholeParams
    from lstm_jax.cells.protocol import Cell as Cell
    from lstm_jax.cells.variant import CoupledCell as CoupledCell
    from lstm_jax.cells.variant import VariantCell as VariantCell
    from lstm_jax.cells.variant import VariantParams as VariantParams
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
