"""Pictures of lines of digits, each stroke in the colour of what was read in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from experiments.digits import NAMES
from experiments.handwriting.strokes import (
    Points,
    arc_lengths,
    line_features,
    resampled_to,
    scaled,
)
from lstm_jax.decoding import align_transcript
from lstm_jax.report import new_figure, save_figure

# The ten of Paul Tol that colour-blind people tell apart too, the palest one darkened.
_COLOURS = (
    *("#332288", "#cc6677", "#117733", "#b8860b", "#882255"),
    *("#3b9ab2", "#aa4499", "#44aa99", "#777711", "#555555"),
)


class Reading(NamedTuple):
    """A line, its CTC logits [T, 11], the symbols read in it, and what to write of it.

    The strokes are those that the logits were made of.
    """

    strokes: Sequence[Points]
    logits: np.ndarray
    symbols: Sequence[int]
    title: str


def draw_readings(path: Path, readings: Sequence[Reading]) -> None:
    """Lines in two columns, what was read above each digit, in its colour.

    Args:
        path: of the picture.
        readings: one or more.
    """
    columns = min(2, len(readings))
    rows = -(-len(readings) // columns)
    lines = [scaled(reading.strokes) for reading in readings]
    widest = max(3.0, *(np.concatenate(line)[:, 0].max() for line in lines))
    # An inch for the height of a digit, less if that gets wider than two pages.
    inches = min(1.0, 18 / (columns * widest))
    width = columns * max(inches * (widest + 0.5), 4.5)
    figure = new_figure(width, rows * (1.7 * inches + 0.35))
    everything = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in everything:
        axes.set(xlim=(-0.1, widest + 0.1), ylim=(-0.6, 1.0), aspect="equal")
        axes.set_anchor("W")
        axes.axis("off")
    for axes, line, reading in zip(everything, lines, readings, strict=False):
        _draw(axes, line, reading)
        axes.set_title(reading.title, loc="left", fontsize=10)
    shows = "Handwritten lines, and above each digit what was read, in its colour."
    save_figure(figure, path, 120, shows)


def _draw(axes: Axes, line: Sequence[Points], reading: Reading) -> None:
    """One line: curves, a dot where each of them begins, and labels."""
    parts = split(line, owners(reading))
    for stroke in line:
        axes.plot(*stroke.T, color="#bbbbbb", linewidth=1)
    for place, symbol in enumerate(reading.symbols):
        mine = [curve for curve, owner in parts if owner == place]
        colour = _COLOURS[symbol - 1]
        for curve in mine:
            axes.plot(*curve.T, color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(*curve[0], "o", color=colour, markersize=4)
        if mine:
            points = np.concatenate(mine)
            middle = (points[:, 0].min() + points[:, 0].max()) / 2
            label = {"color": colour, "fontsize": 15, "fontweight": "bold"}
            axes.text(middle, 0.6, NAMES[symbol - 1], ha="center", **label)


def owners(reading: Reading) -> np.ndarray:
    """Which symbol of the transcript each point [T] of a line's features belongs to.

    CTC tells of a symbol at one point or a few. What is between two of them is divided
    at the widest gap where the pen was lifted, or in the middle if it was not.
    """
    found = align_transcript(reading.logits, reading.symbols)
    frames = line_features(reading.strokes)
    owner = np.zeros(len(found), int)
    for place in range(1, len(reading.symbols)):
        last = int(np.flatnonzero(found == place - 1)[-1])
        first = int(np.flatnonzero(found == place)[0])
        between = np.arange(last + 1, first + 1)
        lifted = between[frames[between, -1] > 0]
        steps = frames[lifted, 1]  # to the right
        border = lifted[steps.argmax()] if len(lifted) else between[len(between) // 2]
        owner[border:] = place
    return owner


def split(line: Sequence[Points], owner: np.ndarray) -> list[tuple[Points, int]]:
    """The strokes of a scaled line, cut where another symbol begins: curve and owner.

    Args:
        line: strokes [N, 2].
        owner: [T], of the points that the strokes were resampled to.
    """
    parts, start = [], 0
    for stroke in line:
        count = resampled_to(stroke)
        lengths = arc_lengths(stroke)
        share = lengths / max(lengths[-1], 1e-12)
        mine = owner[start + np.round(share * (count - 1)).astype(int)]
        start += count
        edges = np.flatnonzero(np.diff(mine)) + 1
        for low, high in zip([0, *edges], [*edges, len(stroke)], strict=True):
            parts.append((stroke[low : high + 1], int(mine[low])))
    return parts
