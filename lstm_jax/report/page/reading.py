"""A text as a network reads it, for the page: guesses, surprise, and every unit."""

import base64
import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.models.language import LanguageModel, States
from lstm_jax.report.inspection import GATE_NAMES, Layer, symbols_in_time
from lstm_jax.report.page.confusions import Example, describe_confusion
from lstm_jax.report.page.patterns import find_units
from lstm_jax.storage.files import Fields
from lstm_jax.typing import Ids

_GUESSES = 5
_STEPS, _SYMBOLS = 1200, 6000  # shown at most, and read
_FEWEST = 300  # symbols shown; of a wide network rather not every unit
_CELLS = 2_400_000  # activations that are kept, at half a byte before compression
_LEVELS = 15  # an odd number, so that there is one for 0
_WARM = 16  # symbols after the zero state before a unit's activation counts


class Seen(NamedTuple):
    """What was seen while a model read ids [T, B].

    `guesses` and `chances` [T, B, 5] are the likeliest next symbols; `expected` [T, B]
    is the log-probability of the symbol that came next, of the last one of any.
    """

    layers: list[Layer]
    memories: list[Array | None]
    guesses: Array
    chances: Array
    expected: Array


@bounded_jit
def _read(model: LanguageModel, ids: Ids) -> tuple[States, States, Array, Array, Array]:
    """The states before and after each symbol, and what was expected after it."""
    count = min(_GUESSES, model.b_out.shape[0])
    upcoming = jnp.roll(ids, -1, axis=0)

    def step(
        before: States, symbols: tuple[Array, Array]
    ) -> tuple[States, tuple[States, States, Array, Array, Array]]:
        read, following = symbols
        after = model.step(read, before)
        logits = model.next_logits(after).astype(jnp.float32)
        chances, guesses = jax.lax.top_k(jax.nn.log_softmax(logits), count)
        expected = jnp.take_along_axis(
            jax.nn.log_softmax(logits), following[:, None], axis=-1
        )[:, 0]
        return after, (before, after, guesses, jnp.exp(chances), expected)

    blank = model.initial_state(ids.shape[1])
    _, seen = jax.lax.scan(step, blank, (ids, upcoming))
    return seen


@bounded_jit
def _preactivations(
    model: LanguageModel, ids: Ids, before: States, after: States
) -> list[Array]:
    below = [ids, *(state.h for state in after[:-1])]
    return [
        model.preactivations(depth, below[depth], before[depth])
        for depth in range(len(before))
    ]


def see(model: LanguageModel, ids: Ids) -> Seen:
    """Let a model read ids [T, B], every row from the zero state."""
    before, after, guesses, chances, expected = _read(model, ids)
    zs = _preactivations(model, ids, before, after)
    layers = [Layer(z, state.h, model.cell) for z, state in zip(zs, after, strict=True)]
    memories = [getattr(state, "c", None) for state in after]
    return Seen(layers, memories, guesses, chances, expected)


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
    if rows == 1 and len(text) < 2 * steps:
        return Excerpt(np.asarray(text[:steps])[:, None])
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
    units = model.layers[0].w_h.shape[0] * len(model.layers)
    quantities = 2 + len(model.cell.blocks) - 1

    def written(k: int) -> str:
        """A symbol as it is written, or its name if it is no character alone."""
        symbol = decode([k])
        return names[k] if not symbol or "\ufffd" in symbol else symbol

    most = min(_SYMBOLS, symbols_in_time(model, passes=1))
    excerpt = choose_excerpt(text, units, quantities, most)
    ids = excerpt.ids
    seen = jax.device_get(see(model, jnp.asarray(ids, jnp.int32)))
    alphabet = {int(k): written(int(k)) for k in np.unique(ids)}
    shown = ids[:, 0]
    kept = _kept_quantities(seen)
    budget = max(1, _CELLS // (len(shown) * len(kept)))
    patterns, ranks = _patterns(excerpt, alphabet, kept)
    packed = [_pack(each, budget, ranks) for each in kept]
    for pattern in patterns:
        pattern["units"] = [
            found
            for found in pattern["units"]
            if found["unit"] in packed[found["quantity"]]["units"]
        ]
    symbols, place = _symbols(shown, seen.guesses[:, 0], written)
    fields: Fields = {
        "note": f"The first {len(shown):,} symbols of {source}, read from the zero "
        "state.",
        "search": "Computed: the correlation of each unit's activation with the "
        f"pattern, on {ids.size:,} symbols. Units are chosen on one half; what they "
        "reach on the other one stands in brackets.",
        "levels": _LEVELS,
        "symbols": symbols,
        "ids": [place[int(k)] for k in shown],
        "surprise": [None, *_bits(seen.expected[:-1, 0])],
        "guesses": _guesses(seen, place),
        "quantities": packed,
        "patterns": patterns,
    }
    return {
        "reading": fields,
        "confusion": [_confusion(ids, seen.guesses[..., 0], alphabet, names)],
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


def _symbols(
    shown: np.ndarray, guesses: np.ndarray, written: Callable[[int], str]
) -> tuple[list[str], dict[int, int]]:
    """The symbols that occur on the page, and the place of each id among them."""
    used = np.unique(np.concatenate([shown, guesses.reshape(-1)])).tolist()
    return [written(k) for k in used], {k: place for place, k in enumerate(used)}


def _bits(expected: np.ndarray) -> list[float]:
    return np.round(-expected.astype(np.float64) / np.log(2), 3).tolist()


def _guesses(seen: Seen, place: dict[int, int]) -> list[list[float]]:
    """What is likely after each symbol: ids and probabilities by turns."""
    return [
        [x for k, chance in zip(ids, chances, strict=True) for x in (place[k], chance)]
        for ids, chances in zip(
            seen.guesses[:, 0].tolist(),
            np.round(seen.chances[:, 0].astype(np.float64), 4).tolist(),
            strict=True,
        )
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
