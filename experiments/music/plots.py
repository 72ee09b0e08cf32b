"""Piano rolls: what was given, and what a network went on with."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.music.data import Piece
from lstm_jax.report import TRAINING, VALIDATION, drawable, new_figure, save_figure

_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
_WHITE = (0, 2, 4, 5, 7, 9, 11)  # of an octave, the keys that have no sharp
_BAR = 4  # quarter notes, to draw a line at
_ROOM = 3  # semitones above and below


def pitch_name(pitch: int) -> str:
    """The name of a MIDI pitch: 60 is C4."""
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"


def draw_rolls(path: Path, rows: dict[str, tuple[Piece, Piece]], title: str) -> None:
    """Piano rolls below each other, on the same axes of pitches and of time.

    Args:
        path: of the picture.
        rows: by a name of each: what was given, and what was made after it.
        title: what to write above all.
    """
    pieces = [given + made for given, made in rows.values()]
    pitches = [pitch for piece in pieces for chord in piece for pitch in chord] or [60]
    lowest, highest = min(pitches) - _ROOM, max(pitches) + _ROOM
    steps = max(map(len, pieces))
    figure = new_figure(12, 0.9 + 2.7 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, (given, made)) in zip(panels, rows.items(), strict=True):
        _draw_keys(axes, lowest, highest)
        _draw_notes(axes, given, 0, TRAINING, "given")
        _draw_notes(axes, made, len(given), VALIDATION, "made by the network")
        if given and made:
            axes.axvline(len(given), color="#303030", linewidth=1, linestyle="--")
        axes.set(xlim=(0, steps), ylim=(lowest - 0.5, highest + 0.5), ylabel="pitch")
        axes.set_title(drawable(name), fontsize="small", loc="left")
    panels[-1].set_xlabel("quarter notes from the beginning")
    panels[-1].set_xticks(range(0, steps + 1, _BAR * max(1, steps // (_BAR * 16))))
    figure.suptitle(drawable(title), x=0.01, ha="left", fontsize="medium")
    shown = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(shown.values()),
        list(shown),
        frameon=False,
        ncols=2,
        loc="outside upper right",
    )
    shows = "Piano rolls: pitches over time, the given piece and what the network made."
    save_figure(figure, path, 110, shows)


def _draw_keys(axes: Axes, lowest: int, highest: int) -> None:
    """A keyboard behind the notes: rows of black keys are grey; Cs and Gs are named."""
    named = [p for p in range(lowest, highest + 1) if p % 12 in (0, 4, 7)]
    axes.set_yticks(named, [pitch_name(pitch) for pitch in named], fontsize="small")
    for pitch in range(lowest, highest + 1):
        if pitch % 12 not in _WHITE:
            axes.axhspan(pitch - 0.5, pitch + 0.5, color="#f0f0f0", linewidth=0)
        if pitch % 12 == 0:
            axes.axhline(pitch - 0.5, color="#b0b0b0", linewidth=0.6)
    axes.grid(axis="x", color="#d8d8d8", linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_notes(axes: Axes, piece: Piece, start: int, color: str, label: str) -> None:
    """A bar for every note, as long as the pitch sounds on end."""
    notes = [note for pitch in _pitches(piece) for note in _held(piece, pitch)]
    if notes:
        begins, lengths, pitches = np.array(notes).T
        axes.barh(
            pitches,
            lengths - 0.12,
            left=begins + start + 0.06,
            height=0.8,
            color=color,
            label=label,
        )


def _pitches(piece: Piece) -> list[int]:
    return sorted({pitch for chord in piece for pitch in chord})


def _held(piece: Piece, pitch: int) -> list[tuple[int, int, int]]:
    """When a pitch begins, for how many steps it sounds, and the pitch, each time."""
    sounds = np.array([0, *(pitch in chord for chord in piece), 0])
    begins = np.flatnonzero(np.diff(sounds) == 1)
    ends = np.flatnonzero(np.diff(sounds) == -1)
    return [(int(a), int(b - a), pitch) for a, b in zip(begins, ends, strict=True)]
