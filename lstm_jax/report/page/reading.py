"""A text as a network reads it, for the page: guesses, surprise, and every unit."""

import base64
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.models.language import LanguageModel
from lstm_jax.report.inspection import GATE_NAMES, symbols_in_time
from lstm_jax.report.page.confusions import Example, describe_confusion
from lstm_jax.report.page.patterns import find_units
from lstm_jax.report.page.seeing import Seen, see
from lstm_jax.storage.files import Fields

_STEPS, _SYMBOLS = 1200, 6000  # shown at most, and read
_FEWEST = 300  # symbols shown; of a wide network rather not every unit
_CELLS = 2_400_000  # activations that are kept, at half a byte before compression
_LEVELS = 15  # an odd number, so that there is one for 0
_WARM = 16  # symbols after the zero state before a unit's activation counts


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Consecutive pieces of a text side by side, ids [T, B]; the first one is shown."""

    ids: np.ndarray

    @property
    def in_order(self) -> np.ndarray:
        """The ids as they come in the text."""
        return self.ids.T.reshape(-1)


def choose_excerpt(
    text: np.ndarray, units: int, quantities: int, most: int = _SYMBOLS
) -> Excerpt:
    """Choose how much of a text is read, so that a page stays small.

    Args:
        text: ids, at least one.
        units: of all layers together.
        quantities: that are kept of each unit.
        most: symbols that are read, unless the shown ones are more.
    """
    steps = int(np.clip(_CELLS // (units * quantities), _FEWEST, _STEPS))
    steps = min(steps, len(text))
    rows = max(1, min(most, len(text)) // steps)
    return Excerpt(np.asarray(text[: steps * rows]).reshape(rows, steps).T)


def describe_reading(
    model: LanguageModel,
    text: np.ndarray,
    decode: Callable[[Sequence[int]], str],
    names: Sequence[str],
    source: str,
) -> Fields:
    """Describe how a model reads the beginning of a text: two panels of the page.

    Args:
        model: that reads.
        text: ids, at least one.
        decode: from ids to the characters they stand for.
        names: of all symbols, to tell them apart.
        source: where the text is from, in words.

    Returns:
        `reading`, and `confusion`: what was taken for what.
    """

    def written(k: int) -> str:
        """A symbol as it is written, or its name if it is no character alone."""
        symbol = decode([k])
        return names[k] if not symbol or "\ufffd" in symbol else symbol

    units = model.layers[0].w_h.shape[0] * len(model.layers)
    quantities = 1 + len(model.cell.blocks)
    most = min(_SYMBOLS, symbols_in_time(model, passes=1))
    excerpt = choose_excerpt(text, units, quantities, most)
    ids = excerpt.ids
    seen = jax.device_get(see(model, jnp.asarray(ids, jnp.int32)))
    alphabet = {int(k): written(int(k)) for k in np.unique(ids)}
    note = f"The first {len(ids):,} symbols of {source}, read from the zero state."
    return {
        "reading": {
            "note": note,
            **_shown(ids[:, 0], seen, written),
            **_units(excerpt, seen, alphabet),
        },
        "confusion": [_confusion(ids, seen.guesses[..., 0], alphabet, names)],
    }


def _shown(ids: np.ndarray, seen: Seen, written: Callable[[int], str]) -> Fields:
    """The symbols that are shown, ids [T], and what was expected after each."""
    guesses = np.asarray(seen.guesses)[:, 0]
    used = np.unique(np.concatenate([ids, guesses.reshape(-1)])).tolist()
    place = {k: number for number, k in enumerate(used)}
    return {
        "symbols": [written(k) for k in used],
        "ids": [place[int(k)] for k in ids],
        "surprise": [None, *_bits(np.asarray(seen.expected)[:-1, 0])],
        "guesses": _guesses(guesses, np.asarray(seen.chances)[:, 0], place),
    }


def _units(excerpt: Excerpt, seen: Seen, alphabet: dict[int, str]) -> Fields:
    """What the units did, of as many as there is room for, and what they follow."""
    kept = _kept_quantities(seen)
    patterns, needed = _patterns(excerpt, alphabet, kept)
    room = max(1, _CELLS // (len(excerpt.ids) * len(kept)))
    packed = [_pack(each, room, needed) for each in kept]
    for pattern in patterns:
        pattern["units"] = [
            found
            for found in pattern["units"]
            if found["unit"] in packed[found["quantity"]]["units"]
        ]
    search = (
        "Computed: the correlation of each unit's activation with the pattern, on "
        f"{excerpt.ids.size:,} symbols. Units are chosen on one half; what they reach "
        "on the other one stands in brackets."
    )
    return {
        "search": search,
        "levels": _LEVELS,
        "quantities": packed,
        "patterns": patterns,
    }


class _Quantity(NamedTuple):
    """A number of every unit of a layer at every symbol: values [T, B, H]."""

    layer: int
    label: str
    low: float
    values: np.ndarray
    searched: bool


def _kept_quantities(seen: Seen) -> list[_Quantity]:
    kept = []
    for depth, (layer, memory) in enumerate(
        zip(seen.layers, seen.memories, strict=True)
    ):
        if memory is not None:
            kept.append(_Quantity(depth, "memory, tanh c", -1.0, np.tanh(memory), True))
        h = np.asarray(layer.h, np.float32)
        kept.append(_Quantity(depth, "output h", -1.0, h, True))
        for gate in layer.gates:
            label = f"{GATE_NAMES.get(gate, gate)} gate"
            kept.append(
                _Quantity(depth, label, 0.0, np.asarray(layer.gate(gate)), False)
            )
    return kept


def _patterns(
    excerpt: Excerpt, alphabet: dict[int, str], kept: Sequence[_Quantity]
) -> tuple[list[Fields], dict[int, list[int]]]:
    """The patterns with their units, and the units of each layer that they need."""
    ids = excerpt.ids
    steps, rows = ids.shape
    symbols = [alphabet[int(k)] for k in excerpt.in_order]
    row, step = np.divmod(np.arange(ids.size), steps)
    half = row % 2 == 1 if rows > 1 else step >= steps // 2
    searched = [k for k, each in enumerate(kept) if each.searched]
    activations = [
        np.swapaxes(kept[k].values, 0, 1).reshape(ids.size, -1) for k in searched
    ]
    patterns = find_units(symbols, half, step >= min(_WARM, steps // 4), activations)
    needed: dict[int, list[int]] = {}
    for pattern in patterns:
        for unit in pattern["units"]:
            unit["quantity"] = searched[unit.pop("layer")]
            needed.setdefault(kept[unit["quantity"]].layer, []).append(unit["unit"])
    return patterns, needed


def _pack(quantity: _Quantity, budget: int, needed: dict[int, list[int]]) -> Fields:
    """Of every unit, or of as many as there is room for, its values at each symbol."""
    values = quantity.values[:, 0].T  # [H, T]
    count = len(values)
    first = dict.fromkeys(needed.get(quantity.layer, []))
    units = sorted([*first, *(k for k in range(count) if k not in first)][:budget])
    span = 1 - quantity.low
    levels = np.rint((values[units] - quantity.low) / span * (_LEVELS - 1))
    cells = np.clip(np.nan_to_num(levels), 0, _LEVELS - 1).astype(np.uint8)
    packer = zlib.compressobj(6, zlib.DEFLATED, strategy=zlib.Z_RLE)
    packed = packer.compress(cells.tobytes()) + packer.flush()
    left = "" if len(units) == count else f", {len(units)} of {count} units"
    return {
        "layer": quantity.layer,
        "label": quantity.label + left,
        "low": quantity.low,
        "high": 1.0,
        "searched": quantity.searched,
        "units": units,
        "cells": base64.b64encode(packed).decode(),
    }


def _bits(expected: np.ndarray) -> list[float]:
    return np.round(-expected.astype(np.float64) / np.log(2), 3).tolist()


def _guesses(
    guesses: np.ndarray, chances: np.ndarray, place: dict[int, int]
) -> list[list[float]]:
    """What is likely after each symbol: places and probabilities by turns."""
    shares = np.round(chances.astype(np.float64), 4).tolist()
    return [
        [x for k, share in zip(ids, row, strict=True) for x in (place[k], share)]
        for ids, row in zip(guesses.tolist(), shares, strict=True)
    ]


def _confusion(
    ids: np.ndarray, best: np.ndarray, alphabet: dict[int, str], names: Sequence[str]
) -> Fields:
    """What the network took each symbol for, its likeliest guess, and where."""
    targets, predicted = ids[1:].T.reshape(-1), best[:-1].T.reshape(-1)
    used = np.unique(np.concatenate([targets, predicted]))
    matrix = np.zeros((len(used), len(used)), np.int64)
    pairs = np.searchsorted(used, targets), np.searchsorted(used, predicted)
    np.add.at(matrix, pairs, 1)
    examples: list[Example] = []
    rows, steps = np.divmod(np.arange(targets.size), len(ids) - 1)
    for row, step, target, taken in zip(rows, steps, *pairs, strict=True):
        context = ids[max(0, step - 30) : step + 1, row]
        before = "".join(alphabet[int(k)] for k in context)
        examples.append((int(target), int(taken), f"…{before}[{names[used[target]]}]"))
    title = f"Likeliest next symbol, on {targets.size:,} symbols"
    return describe_confusion(matrix, [names[k] for k in used], title, examples)
