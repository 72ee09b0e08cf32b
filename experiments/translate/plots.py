"""Where a translator looked while it wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax.report import drawable, new_figure, save_figure

_INCHES = 0.42  # per symbol


def draw_attention(
    source: Sequence[str], target: Sequence[str], weights: np.ndarray, path: Path
) -> None:
    """Attention as a grid: a row for every symbol written, a column for every one read.

    Args:
        source: the S symbols that were read.
        target: the T symbols that were written.
        weights: [T, S]; every row adds up to 1.
        path: where to.
    """
    width, height = (_INCHES * len(part) for part in (source, target))
    figure = new_figure(max(width, 3.0) + 2.6, max(height, 2.0) + 1.6)
    axes = figure.subplots()
    picture = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(source)), _shown(source), rotation=60, ha="left")
    axes.set_yticks(range(len(target)), _shown(target))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for place in range(1, len(target)):
        axes.axhline(place - 0.5, color="#e4e4e4", linewidth=0.6)
    for place in range(1, len(source)):
        axes.axvline(place - 0.5, color="#e4e4e4", linewidth=0.6)
    axes.set_xlabel("read")
    axes.set_ylabel("written")
    figure.colorbar(picture, ax=axes, label="attention", shrink=0.8)
    shows = "Attention: a row for each symbol written, a column for each one read."
    save_figure(figure, path, 110, shows)


def _shown(symbols: Sequence[str]) -> list[str]:
    """Symbols with a hyphen where they go on with a word, and the end as a sign."""
    return [_with_hyphen(symbol) if symbol else "(end)" for symbol in symbols]


def _with_hyphen(symbol: str) -> str:
    inside = not symbol.startswith(" ") and symbol[0].isalnum()
    return drawable("-" + symbol if inside else symbol.strip())
