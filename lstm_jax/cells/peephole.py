"""The peephole LSTM: gates that see the cell state itself, not only what it shows.

    i_t = σ(W_i · [h_{t-1}, x_t] + p_i * c_{t-1} + b_i)
    f_t = σ(W_f · [h_{t-1}, x_t] + p_f * c_{t-1} + b_f)
    g_t = tanh(W_g · [h_{t-1}, x_t] + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = σ(W_o · [h_{t-1}, x_t] + p_o * c_t + b_o)        which looks at the new c
    h_t = o_t * tanh(c_t)

(Gers & Schmidhuber 2000; the definition of ONNX' operator `LSTM`, whose input P holds
p_i, p_o, p_f in this order.) Such gates can count and time.
"""

import dataclasses
from typing import ClassVar

from lstm_jax.cells.variant import VariantCell, VariantParams

PeepholeParams = VariantParams


@dataclasses.dataclass(frozen=True)
class PeepholeCell(VariantCell):
    """The LSTM with peepholes, see `lstm_jax.cells.peephole` for its equations."""

    peepholes: bool = True

    name: ClassVar[str] = "peephole"
