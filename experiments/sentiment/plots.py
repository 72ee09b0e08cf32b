"""Texts whose words have the colors of the classes that they speak for."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from lstm_jax.report import drawable, new_figure, save_figure

SHOWN, WORDS = 8, 60  # texts, and words of each
_COLORS = "#d55e00", "#0072b2"  # Okabe and Ito, for every eye
_FEWEST, _COLUMNS = 56, 88  # letters in a line
_FONT, _LETTER, _LINE = 11, 0.602, 1.9  # points; width and height of a letter in them
_FULL = 1.0  # nats, from which on a color is as strong as it gets
_WEAK = 0.04  # of a color, below which there is none


class Reading(NamedTuple):
    """A text: what it was found to be, its words, and the weights of the first ones.

    A weight speaks for the second of two classes, or against it if it is negative.
    """

    title: str
    words: Sequence[str]
    weights: np.ndarray


def draw_readings(
    path: Path, readings: Sequence[Reading], names: Sequence[str]
) -> None:
    """Write texts, a color behind each word that matters.

    Args:
        path: of the picture.
        readings: the texts.
        names: what negative and positive weights say.
    """
    shown = [_laid_out(reading) for reading in readings]
    ends = [column + len(word) for places in shown for _, column, word, _ in places]
    columns = max(_FEWEST, *ends)
    lines = 1 + sum(1.3 + places[-1][0] + 1 for places in shown)
    figure = new_figure(
        (columns + 2) * _LETTER * _FONT / 72, lines * _LINE * _FONT / 72
    )
    axes = figure.subplots()
    axes.set(xlim=(-1, columns + 1), ylim=(lines, 0))
    axes.set_axis_off()
    top = 0.6
    for column, name, color in zip((0, 30), names, _COLORS, strict=True):
        _write(
            axes,
            column,
            top,
            f"speaks for {name}" if " " not in name else name,
            color,
            0.6,
        )
    for reading, places in zip(readings, shown, strict=True):
        top += 1.3
        axes.text(
            0, top, drawable(reading.title), fontsize=_FONT, weight="bold", va="center"
        )
        for line, column, word, weight in places:
            strength = min(abs(weight) / _FULL, 1.0) * 0.8
            _write(axes, column, top + 1 + line, word, _COLORS[weight > 0], strength)
        top += places[-1][0] + 1
    shows = "Texts; the color of a word is the class that it speaks for."
    save_figure(figure, path, 110, shows)


def _laid_out(reading: Reading) -> list[tuple[int, int, str, float]]:
    """Line, column, word and weight of each word, in lines that are not too long."""
    places, line, column = [], 0, 0
    words = [
        drawable(word)[:_COLUMNS] for word in reading.words[: len(reading.weights)]
    ]
    weights = [*reading.weights.tolist()]
    if len(reading.words) > len(words):
        words, weights = [*words, "…"], [*weights, 0.0]
    for word, weight in zip(words, weights, strict=True):
        if column and column + len(word) > _COLUMNS:
            line, column = line + 1, 0
        places.append((line, column, word, weight))
        column += len(word) + 1
    return places


def _write(
    axes: Axes, column: float, line: float, word: str, color: str, strength: float
) -> None:
    box = {"facecolor": color, "alpha": strength, "edgecolor": "none", "pad": 1.5}
    axes.text(
        column,
        line,
        word,
        family="monospace",
        fontsize=_FONT,
        va="center",
        bbox=box if strength > _WEAK else None,
    )
