"""The confusion matrix as a picture, for 2 classes and for hundreds."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from lstm_jax.metrics.classification import worst_mistakes
from lstm_jax.report.page.confusions import (
    Example,
    describe_confusion,
    write_confusion,
)
from lstm_jax.report.style import drawable, new_figure, save_figure

_MOST = 100  # classes with a row of their own
_NUMBERED = 12  # up to so many the cells hold numbers
_LISTED = 15  # mistakes, and more where the picture is high
_NAME = 14  # characters of a name that are shown


def draw_confusion(
    matrix: NDArray,
    names: Sequence[str],
    path: Path,
    title: str = "",
    examples: Sequence[Example] = (),
) -> None:
    """What each class was taken for, and the most frequent mistakes beside it.

    A row is a class, its colors are shares of that row, so the diagonal is the recall
    and a rare class shows as well as a common one. The color grows with the root of the
    share: a mistake made once in a hundred times can still be seen.

    Classes that never occur are left out; of more than 100 the most frequent are shown.
    A JSON file of the same name beside the picture has it for `report.html`.

    Args:
        matrix: counts [C, C], the target first.
        names: of the classes.
        path: of the picture.
        title: printed above.
        examples: triples of a true class, a predicted one, and what it was, in words;
            `report.html` shows some of them when a cell is chosen.
    """
    matrix = np.asarray(matrix)
    kept = describe_confusion(matrix, names, title, examples)
    write_confusion(kept, path.with_suffix(".json"))
    shown, left_out = _shown(matrix)
    size = float(np.clip(0.16 * len(shown) + 1.5, 4.5, 18))
    names = [drawable(name)[:_NAME] for name in names]
    longest = max((len(names[k]) for k in shown), default=0)
    # Names stand at both sides of the matrix and, twice in a line, in the list.
    wider = 0.17 * max(0, longest - 5)
    figure = new_figure(size + wider + 4.6, size)
    axes, beside = figure.subplots(1, 2, width_ratios=(size + 0.6, 4.0))
    _cells(axes, matrix, shown, names)
    if left_out:
        title = f"{title}\nthe {len(shown)} most frequent of {len(shown) + left_out}"
    lines = map(drawable, title.strip("\n").split("\n"))
    axes.set_title("\n".join(lines), fontsize="medium")
    figure.colorbar(axes.images[0], ax=axes, label="share of the row", shrink=0.5)
    beside.set_axis_off()
    beside.set_title("most frequent mistakes", fontsize="medium", loc="left")
    text = _listed(matrix, names, max(_LISTED, int(4.5 * size)))
    beside.text(0, 1, text, family="monospace", va="top", fontsize=9)
    save_figure(figure, path, dpi=100)


def _shown(matrix: NDArray) -> tuple[NDArray, int]:
    """The classes to show, in their order, and how many more of them occur."""
    seen = matrix.sum(1) + matrix.sum(0)
    occurring = np.flatnonzero(seen)
    by_count = occurring[np.argsort(-seen[occurring], kind="stable")]
    return np.sort(by_count[:_MOST]), max(0, len(occurring) - _MOST)


def _cells(axes: Axes, matrix: NDArray, shown: NDArray, names: Sequence[str]) -> None:
    counts = matrix[np.ix_(shown, shown)]
    support = matrix[shown].sum(1, keepdims=True)
    shares = np.where(support > 0, counts / np.maximum(support, 1), np.nan)
    axes.set_facecolor("0.85")  # of a row without a target
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    axes.imshow(shares, cmap="Blues", norm=scale, interpolation="nearest")
    few = len(shown) <= _NUMBERED
    labels = [names[k] for k in shown]
    font = {"fontsize": 9 if few else 8, "family": "monospace"}
    axes.set_xticks(range(len(shown)), labels, **font)
    axes.set_yticks(range(len(shown)), labels, **font)
    axes.tick_params(length=0, pad=2, labeltop=not few, labelright=not few)
    for label in axes.get_xticklabels():
        label.set_rotation(90 if not few and len(label.get_text()) > 2 else 0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), share in np.ndenumerate(shares) if few else ():
        if not np.isnan(share):
            axes.text(
                column,
                row,
                f"{share:.1%}\n{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if share > 0.4 else "black",
            )


def _listed(matrix: NDArray, names: Sequence[str], most: int) -> str:
    """A line per mistake: true, predicted, count, share of the row."""
    mistakes = worst_mistakes(matrix, most)
    if not mistakes:
        return "none"
    rows = [("true", "predicted", "count", "share")]
    rows += [
        (names[m.target], names[m.predicted], f"{m.count:,}", f"{m.share:.1%}")
        for m in mistakes
    ]
    first, second = (max(_width(row[k]) for row in rows) for k in range(2))
    third = max(len(row[2]) for row in rows)
    return "\n".join(
        f"{_padded(a, first)}  {_padded(b, second)}  {c:>{third}}  {d:>6}"
        for a, b, c, d in rows
    )


def _padded(name: str, width: int) -> str:
    return name + " " * (width - _width(name))


def _width(name: str) -> int:
    """Columns of a drawable name: its escapes have none, Chinese characters two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in name)
    return len(name) + wide - name.count(r"\$")
