"""Units that follow a pattern of the text: correlations, computed and checked.

A pattern gives every symbol of a text a number: whether it stands inside quotation
marks, for example, or how far into its line. The units whose activation correlates
most with it are chosen on one half of the text, and how they do on the other half is
told beside it: of hundreds of units the best is always good by chance, but not twice.
"""

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from lstm_jax.storage.files import Fields

_BEST = 6  # units of a pattern
_RARE = 0.002  # the share of the text below which a pattern is not looked for
_SAME, _OPEN, _CLOSE = '"', "“«「『", "”»」』"


def _inside_quotes(symbols: Sequence[str]) -> list[float]:
    """From after an opening mark to before a closing one; a blank line ends it."""
    found, inside, before = [], False, ""
    for symbol in symbols:
        closes = symbol in _CLOSE or (symbol == _SAME and inside)
        if closes or (symbol == before == "\n"):
            inside = False
        found.append(float(inside))
        if symbol in _OPEN or (symbol == _SAME and not closes):
            inside = True
        before = symbol
    return found


def _inside_brackets(symbols: Sequence[str]) -> list[float]:
    """How deep, up to five."""
    found, depth = [], 0
    for symbol in symbols:
        depth = max(0, depth - (symbol in ")]}"))
        found.append(float(min(depth, 5)))
        depth += symbol in "([{"
    return found


def _since(ends: Callable[[str], bool]) -> Callable[[Sequence[str]], list[float]]:
    """How many symbols ago the last one was that ends something."""

    def count(symbols: Sequence[str]) -> list[float]:
        found, since = [], 0
        for symbol in symbols:
            found.append(float(since))
            since = 0 if ends(symbol) else since + 1
        return found

    return count


def _after(is_such: Callable[[str], bool]) -> Callable[[Sequence[str]], list[float]]:
    def mark(symbols: Sequence[str]) -> list[float]:
        return [0.0, *(float(is_such(symbol)) for symbol in symbols[:-1])]

    return mark


def _that(is_such: Callable[[str], bool]) -> Callable[[Sequence[str]], list[float]]:
    return lambda symbols: [float(is_such(symbol)) for symbol in symbols]


def _indentation(symbols: Sequence[str]) -> list[float]:
    """Of the line so far."""
    found, width, leading = [], 0, True
    for symbol in symbols:
        if leading and symbol in " \t":
            width += 1
        else:
            leading = False
        found.append(float(width))
        if symbol == "\n":
            width, leading = 0, True
    return found


def _is_newline(symbol: str) -> bool:
    return symbol.endswith("\n")


def _is_punctuation(symbol: str) -> bool:
    return bool(symbol) and unicodedata.category(symbol[0]).startswith("P")


PATTERNS: dict[str, Callable[[Sequence[str]], list[float]]] = {
    "inside quotation marks": _inside_quotes,
    "depth of brackets": _inside_brackets,
    "position in the line": _since(_is_newline),
    "first symbol after a newline": _after(_is_newline),
    "newline": _that(_is_newline),
    "indentation of the line": _indentation,
    "position in the word": _since(lambda symbol: not symbol[-1:].isalnum()),
    "first symbol after a space": _after(lambda symbol: symbol == " "),
    "space": _that(lambda symbol: symbol == " "),
    "capital letter": _that(lambda symbol: symbol[:1].isupper()),
    "digit": _that(lambda symbol: symbol[:1].isdigit()),
    "punctuation": _that(_is_punctuation),
}


def correlations(pattern: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Pearson's correlation of a pattern [N] with every unit [N, H]; 0 if one rests."""
    values = np.asarray(activations, np.float64)
    values = values - values.mean(axis=0)
    pattern = pattern - pattern.mean()
    spread = np.sqrt((values**2).sum(axis=0) * (pattern**2).sum())
    return (pattern @ values) / np.where(spread > 1e-9, spread, np.inf)


def find_units(
    symbols: Sequence[str],
    half: np.ndarray,
    use: np.ndarray,
    activations: Sequence[np.ndarray],
) -> list[Fields]:
    """Find the units that follow each pattern that the text has.

    Args:
        symbols: the text, N of them.
        half: whether a symbol is in the half [N] that units are checked on; they are
            chosen on the other one.
        use: whether the network had read enough when it came to it, [N].
        activations: of several layers, [N, H] each.

    Returns:
        For every pattern its name, a note, and the best units: the number of their
        `layer` among the activations, `unit`, `r` and `check`.
    """
    found = []
    for name, measure in PATTERNS.items():
        values = np.array(measure(symbols))
        chosen, checked = use & ~half, use & half
        if min(np.count_nonzero(values[part]) for part in (chosen, checked)) < (
            _RARE * len(symbols)
        ):
            continue
        r = [correlations(values[chosen], layer[chosen]) for layer in activations]
        check = [correlations(values[checked], layer[checked]) for layer in activations]
        ranked = sorted(
            ((k, unit) for k, layer in enumerate(r) for unit in range(len(layer))),
            key=lambda place: -abs(r[place[0]][place[1]]),
        )
        units = [
            {
                "layer": k,
                "unit": unit,
                "r": round(float(r[k][unit]), 3),
                "check": round(float(check[k][unit]), 3),
            }
            for k, unit in ranked[:_BEST]
        ]
        share = np.count_nonzero(values[use]) / max(1, np.count_nonzero(use))
        note = f"Not zero at {share:.1%} of {np.count_nonzero(use):,} symbols."
        found.append({"name": name, "note": note, "units": units})
    return found
