"""A person in motion, and under it what the networks make of it, still and moving."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.video.skeleton import (
    BONES,
    HIP_CENTRE,
    JOINTS,
    Frames,
    resampled,
    turn,
)
from lstm_jax.report import add_fallback_fonts, drawable, new_figure, save_figure
from lstm_jax.storage import replace_file

_SIDES = {"left": "#0072b2", "right": "#d55e00"}  # Okabe and Ito, for every eye
_TRUNK = "0.25"
_LINES = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#cc79a7")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_STILLS = 8
_MOST_FRAMES = 150  # of a movie
_PER_SECOND = 15  # frames: those of MSR Action3D's camera
_VIEW = float(
    np.radians(30)
)  # from the side a little, so that arms held forward are seen


def draw_sequence(
    path: Path,
    frames: Frames,
    chances: NDArray[np.floating],
    classes: Sequence[str],
    done: str = "",
) -> None:
    """Moments of a movement, and the probabilities of actions while it goes on.

    Args:
        path: of the picture.
        frames: body-centred, [T, 20, 3].
        chances: of every class, for the first 1 to T frames, [T, classes].
        classes: their names.
        done: what was really done, if that is known.
    """
    seen = _seen(frames)
    figure = new_figure(10, 5.2)
    above, below = figure.subplots(2, 1, height_ratios=(1.15, 1))
    moments = np.linspace(0, len(frames) - 1, min(_STILLS, len(frames)))
    moments = np.unique(moments.round().astype(int))
    width = 1.1 * float(np.ptp(seen[moments, :, 0], axis=1).max())
    for place, moment in enumerate(moments):
        _draw_body(above, seen[moment] + [place * width, 0])
    above.set_xticks(np.arange(len(moments)) * width, [f"{m + 1}" for m in moments])
    above.set(aspect="equal", xlabel="frame", yticks=[])
    above.spines[:].set_visible(False)
    _name_sides(above)
    _draw_chances(below, chances, classes)
    figure.suptitle(_title(chances[-1], classes, done))
    shows = (
        "A skeleton at some moments, below the probability of each action over time."
    )
    save_figure(figure, path, 110, shows)


def write_movie(
    path: Path,
    frames: Frames,
    chances: NDArray[np.floating],
    classes: Sequence[str],
    done: str = "",
) -> None:
    """The same as an animated GIF: the body moves, and a line moves with it.

    The arguments are those of `draw_sequence`. Of a long sequence 150 frames are shown.
    """
    count = min(len(frames), _MOST_FRAMES)
    seen, moments = _seen(frames), np.linspace(0, len(frames) - 1, count)
    figure = new_figure(5.4, 6.4)
    above, below = figure.subplots(2, 1, height_ratios=(1.5, 1))
    _draw_chances(below, chances, classes)
    now = below.axvline(1, color="0.5")
    figure.suptitle(_title(chances[-1], classes, done), fontsize="medium")
    add_fallback_fonts(figure)
    writer = PillowWriter(fps=_PER_SECOND)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.gif"
        with writer.saving(figure, str(draft), dpi=80):
            for body, moment in zip(resampled(seen, count), moments, strict=True):
                above.clear()
                _frame_body(above, seen)
                _draw_body(above, body)
                now.set_xdata([moment + 1])
                figure.canvas.draw()
                figure.set_layout_engine("none")  # the first one's serves all frames
                writer.grab_frame()
        replace_file(path, draft.read_bytes())


def _seen(frames: Frames) -> Frames:
    """The joints as they are drawn, [T, 20, 2]: at their place, turned a little."""
    moved = frames + frames[:, HIP_CENTRE, None]
    moved[:, HIP_CENTRE] = frames[:, HIP_CENTRE]
    return (moved @ turn(_VIEW))[..., :2].astype(np.float32)


def _draw_body(axes: Axes, body: NDArray[np.floating]) -> None:
    """One moment, [20, 2]; the right side in another colour than the left."""
    for inner, outer in BONES:
        side = JOINTS[outer].split("_")[0]
        axes.plot(
            *body[[inner, outer]].T,
            color=_SIDES.get(side, _TRUNK),
            linewidth=2.5,
            solid_capstyle="round",
        )
    axes.plot(*body[JOINTS.index("head")], "o", color=_TRUNK, markersize=9)


def _frame_body(axes: Axes, seen: Frames) -> None:
    """Room for all moments; no ruler: what is drawn is a person."""
    low, high = seen.min(axis=(0, 1)) - 0.2, seen.max(axis=(0, 1)) + 0.2
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_axis_off()
    _name_sides(axes)


def _name_sides(axes: Axes) -> None:
    for name, color in _SIDES.items():
        axes.plot([], [], color=color, linewidth=2.5, label=f"{name} side")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _draw_chances(
    axes: Axes, chances: NDArray[np.floating], classes: Sequence[str]
) -> None:
    """The probabilities of the action recognized, and of others likely at some time."""
    heights = chances.max(axis=0)
    heights[chances[-1].argmax()] = np.inf
    likely = np.argsort(-heights, kind="stable")[: len(_LINES)]
    ticks = np.arange(1, len(chances) + 1)
    for number, color, style in zip(likely, _LINES, _STYLES, strict=False):
        axes.plot(
            ticks,
            chances[:, number],
            color=color,
            linestyle=style,
            linewidth=2,
            label=drawable(classes[number]),
        )
    axes.set(ylim=(0, 1.02), xlim=(1, max(2, len(chances))))
    axes.set(xlabel="frames seen", ylabel="probability")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _title(last: NDArray, classes: Sequence[str], done: str) -> str:
    name = drawable(classes[int(last.argmax())])
    found = f"recognized: {name} ({last.max():.2f})"
    return f"done: {drawable(done)}   {found}" if done else found


def draw_strips(path: Path, strips: Mapping[str, NDArray[np.floating]]) -> None:
    """Pictures one after another, a row for each strip, which all end together.

    Args:
        path: of the picture.
        strips: by name, [N, height, width] each, grey from 0 to 1.
    """
    most = max(map(len, strips.values()))
    figure = new_figure(1 + 1.05 * most, 0.4 + 1.3 * len(strips))
    axes = figure.subplots(len(strips), most, squeeze=False)
    for row, (name, pictures) in zip(axes, strips.items(), strict=True):
        for each in row:
            each.set_axis_off()
        shown = row[most - len(pictures) :]
        for place, picture in zip(shown, pictures, strict=True):
            place.imshow(picture, cmap="gray", vmin=0, vmax=1)
        shown[0].set_title(name, loc="left", fontsize="medium")
    for number, place in enumerate(axes[-1], start=1):
        place.text(0.5, -0.15, f"{number}", ha="center", transform=place.transAxes)
    figure.supxlabel("frame")
    shows = "Frames one after another: what was shown, and what the network foresaw."
    save_figure(figure, path, 100, shows)
