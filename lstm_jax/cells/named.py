"""The cells by the names that flags and configurations have for them."""

from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTM_CELL
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.peephole import PeepholeCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        *(LSTM_CELL, GRUCell(), PeepholeCell()),
        *(MogrifierCell(), CoupledCell()),
    )
}


def as_cell(cell: Cell | str) -> Cell:
    """Give the cell of a name; a cell is itself.

    Raises:
        ValueError: there is none of this name.
    """
    if not isinstance(cell, str):
        return cell
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(CELLS)}, found {cell!r}")
    return CELLS[cell]
