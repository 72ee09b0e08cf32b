"""The cells by the names that flags and configurations have for them.

A cell with settings of its own is a record in a configuration: the name of its kind,
and the settings. Reading one executes nothing.
"""

import dataclasses
import typing
from typing import Any

from lstm_jax.cells.conv_lstm import ConvLSTMCell
from lstm_jax.cells.decay import DecayCell
from lstm_jax.cells.gru import GRUCell
from lstm_jax.cells.lstm import LSTM_CELL, LSTMCell
from lstm_jax.cells.mogrifier import MogrifierCell
from lstm_jax.cells.peephole import PeepholeCell
from lstm_jax.cells.protocol import Cell
from lstm_jax.cells.variant import CoupledCell, VariantCell

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        *(LSTM_CELL, GRUCell(), PeepholeCell()),
        *(MogrifierCell(), CoupledCell()),
    )
}
KINDS: dict[str, type] = {
    kind.name: kind
    for kind in (
        *(LSTMCell, GRUCell, PeepholeCell, MogrifierCell, CoupledCell),
        *(VariantCell, DecayCell, ConvLSTMCell),
    )
}
_LARGEST = 2**24  # more is a damaged file; of rounds and kernels each is code
_MOST = {"rounds": 1000, "kernel": 1000}


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


def check_kind(cell: Cell) -> None:
    """Refuse a cell that is none of ours, or was made of one: it may compute anything.

    Raises:
        ValueError: naming its class.
    """
    if KINDS.get(cell.name) is not type(cell):
        raise ValueError(
            f"cell: expected one of {', '.join(KINDS)}, found a {type(cell).__name__}"
        )


def cell_record(cell: Cell | str) -> str | dict[str, Any]:
    """Describe a cell in JSON: by its name, or by its kind and settings.

    Raises:
        ValueError: a kind of cell, or a setting, that a file can't bring back.
    """
    if isinstance(cell, str):
        return cell
    check_kind(cell)
    if CELLS.get(cell.name) == cell:
        return cell.name
    settings = {name: getattr(cell, name) for name in _settings_of(type(cell))}
    for name, value in settings.items():
        if not isinstance(value, int | float | str):
            raise ValueError(
                f"cell: expected {name} by its name to save, found a function"
            )
    return {"name": cell.name, **settings}


def read_cell(record: object) -> Cell | str:
    """Read what `cell_record` wrote.

    Raises:
        ValueError: it is no such record.
    """
    if isinstance(record, str):
        return record
    name = record.get("name") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"cell: expected one of {', '.join(KINDS)}, found {record!r}")
    kinds = _settings_of(KINDS[name])
    settings = {each: value for each, value in record.items() if each != "name"}
    for each, value in settings.items():
        kind = kinds.get(each)
        if kind is float and type(value) is int:
            settings[each] = float(value)
        elif kind is None or type(value) is not kind:
            expected = "no such setting" if kind is None else kind.__name__
            raise ValueError(f"cell: {each}: expected {expected}, found {value!r}")
        if kind is not str and abs(value) > (most := _MOST.get(each, _LARGEST)):
            raise ValueError(f"cell: {each}: expected at most {most:,}, found {value}")
    try:
        return KINDS[name](**settings)
    except TypeError as error:  # one is missing
        raise ValueError(f"cell: {error}") from None


def _settings_of(kind: type) -> dict[str, type]:
    """The settings of a kind of cell, and what each is in JSON."""
    assert dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    plain = (bool, int, float)
    return {
        field.name: hints[field.name] if hints[field.name] in plain else str
        for field in dataclasses.fields(kind)
    }
