"""What networks are built of: `lstm`, Flax layers, attention, regularizers.

Knows no task.
"""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.nn.attention import attend as attend
    from lstm_jax.nn.layers import LSTM as LSTM
    from lstm_jax.nn.layers import Bidirectional as Bidirectional
    from lstm_jax.nn.layers import StackedLSTM as StackedLSTM
    from lstm_jax.nn.recurrence import lstm as lstm
    from lstm_jax.nn.recurrence import unroll as unroll
    from lstm_jax.nn.regularizers import drop_connect as drop_connect
    from lstm_jax.nn.regularizers import dropout as dropout
    from lstm_jax.nn.regularizers import loop_masks as loop_masks
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
