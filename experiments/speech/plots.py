"""Pictures of sounds, and of what a transcriber hears in them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from experiments.speech.features import MelBands, mel_corners
from lstm_jax.report import new_figure, save_figure

_HERTZ = (100, 250, 500, 1000, 2000, 3000)
_HEARD = 0.5  # the blank's probability below which a symbol is written down


def draw_transcript(
    path: Path,
    features: np.ndarray,
    bands: MelBands,
    posteriors: np.ndarray,
    seconds: float,
    names: Sequence[str],
    title: str,
) -> None:
    """A spectrogram, and over it the probability of each symbol at each moment.

    Args:
        path: of the picture.
        features: [T, M], of `log_mel`.
        bands: those of the features.
        posteriors: [S, V], the blank first; a step may span several frames.
        seconds: from step to step.
        names: of the V - 1 symbols.
        title: what to write above it.
    """
    figure = new_figure(11, 4.8)
    axes = figure.subplots()
    end = len(features) * bands.hop / bands.rate
    axes.imshow(
        features.T,
        origin="lower",
        aspect="auto",
        cmap="gray_r",
        vmin=float(np.median(features)),  # what is softer than most is background
        extent=(0.0, end, 0.5, bands.bands + 0.5),
        alpha=0.75,
    )
    _name_frequencies(axes, bands)
    axes.set_xlabel("seconds")
    axes.set_title(title, loc="left")
    above = axes.twinx()
    above.set(xlim=(0, end), ylim=(0, 1.15), yticks=[0, 0.25, 0.5, 0.75, 1])
    above.set_ylabel("probability")
    times = (np.arange(len(posteriors)) + 0.5) * seconds
    above.plot(times, posteriors[:, 0], ":", color="#555555", linewidth=1)
    above.annotate(
        "blank",
        (end, posteriors[-1, 0]),
        (-4, 4),
        textcoords="offset points",
        ha="right",
        color="#555555",
        fontsize="small",
    )
    for symbol, name in enumerate(names, 1):
        _trace(above, times, posteriors[:, symbol], name, f"C{(symbol - 1) % 10}")
    shows = "A spectrogram, above it the probability of each symbol at each moment."
    save_figure(figure, path, 110, shows)


def _name_frequencies(axes: Axes, bands: MelBands) -> None:
    """Hertz instead of the numbers of the bands."""
    corners = mel_corners(bands)
    shown = [hertz for hertz in _HERTZ if corners[0] < hertz < corners[-1]]
    places = np.interp(shown, corners, np.arange(len(corners)))
    axes.set_yticks(places, [str(hertz) for hertz in shown])
    axes.set_ylabel("frequency, Hz (evenly in mel)")


def _trace(
    axes: Axes,
    times: np.ndarray,
    chances: np.ndarray,
    name: str,
    color: str,
) -> None:
    """One symbol: its probability as a hill, its name on every summit."""
    if chances.max() < 1 - _HEARD:
        return
    axes.fill_between(times, chances, color=color, alpha=0.45, linewidth=0)
    axes.plot(times, chances, color=color, linewidth=2)
    loud = np.flatnonzero(chances > 1 - _HEARD)
    for hill in np.split(loud, np.flatnonzero(np.diff(loud) > 1) + 1):
        summit = hill[chances[hill].argmax()]
        axes.annotate(
            name,
            (times[summit], chances[summit]),
            (0, 3),
            textcoords="offset points",
            ha="center",
            color=color,
            fontsize=15,
            fontweight="bold",
        )
