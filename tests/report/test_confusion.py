"""The confusion matrix: what is drawn, read from the figure."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lstm_jax.report.confusion import draw_confusion
from lstm_jax.report.style import drawable, new_figure


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that the next drawing will use."""
    made = Figure()
    monkeypatch.setattr("lstm_jax.report.confusion.new_figure", lambda *size: made)
    return made


def cells(figure: Figure) -> NDArray:
    """The shares that are shown, NaN for a row without a target."""
    return np.ma.filled(np.ma.asarray(figure.axes[0].images[0].get_array()), np.nan)


def labels(figure: Figure, axis: str) -> list[str]:
    """The names along an axis."""
    ticks = getattr(figure.axes[0], f"{axis}axis").get_major_ticks()
    return [tick.label1.get_text() for tick in ticks]


def listed(figure: Figure) -> list[list[str]]:
    """The table of mistakes."""
    (text,) = figure.axes[1].texts
    return [line.split() for line in text.get_text().splitlines()]


def test_two_classes_have_numbers_in_their_cells(
    figure: Figure, tmp_path: Path
) -> None:
    matrix = np.array([[420, 105], [1_000, 3_000]])
    draw_confusion(matrix, ["bad", "good"], tmp_path / "c.png", "sentences")
    np.testing.assert_allclose(cells(figure), [[0.8, 0.2], [0.25, 0.75]])
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["80.0%\n420", "20.0%\n105", "25.0%\n1,000", "75.0%\n3,000"]
    assert labels(figure, "x") == labels(figure, "y") == ["bad", "good"]
    assert listed(figure) == [
        ["true", "predicted", "count", "share"],
        ["good", "bad", "1,000", "25.0%"],
        ["bad", "good", "105", "20.0%"],
    ]
    assert figure.axes[0].get_title() == "sentences"
    assert figure.axes[0].get_xlabel() == "predicted"
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_hundred_classes_have_their_names(figure: Figure, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.integers(1, 50, (103, 103))
    matrix[9], matrix[:, 9] = 1, 1  # the rarest
    matrix[[4, 7]], matrix[:, [4, 7]] = 0, 0  # these two never occur
    names = [f"n{k}" for k in range(103)]
    draw_confusion(matrix, names, tmp_path / "c.png")
    shown = [k for k in range(103) if k not in (4, 7, 9)]
    assert labels(figure, "y") == [names[k] for k in shown]
    expected = matrix[shown] / matrix[shown].sum(1, keepdims=True)
    np.testing.assert_allclose(cells(figure), expected[:, shown])
    assert not figure.axes[0].texts
    assert "100 most frequent of 101" in figure.axes[0].get_title()
    # As many mistakes as there is room for beside a matrix of this height.
    assert len(listed(figure)) == 1 + 78
    assert (tmp_path / "c.png").stat().st_size < 350_000


def test_a_class_that_is_only_predicted_has_an_empty_row(
    figure: Figure, tmp_path: Path
) -> None:
    draw_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"], tmp_path / "c.png")
    np.testing.assert_allclose(cells(figure), [[0.75, 0.25], [np.nan, np.nan]])
    assert len(figure.axes[0].texts) == 2


def test_no_mistakes_are_no_table(figure: Figure, tmp_path: Path) -> None:
    draw_confusion(np.diag([3, 4]), ["a", "b"], tmp_path / "c.png")
    assert listed(figure) == [["none"]]


def test_names_that_no_font_has_are_written_out() -> None:
    assert drawable("é") == "é" and drawable("␣") == "␣"
    assert drawable("漢") == "U+6F22"
    assert drawable("$x$") == r"\$x\$"


@pytest.mark.parametrize("length", [3, 14])
def test_the_mistakes_are_inside_the_picture(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer names need a wider one."""
    drawn = []

    def kept(width: float, height: float) -> Figure:
        drawn.append(new_figure(width, height))
        return drawn[-1]

    monkeypatch.setattr("lstm_jax.report.confusion.new_figure", kept)
    matrix = np.diag([100] * 20) + 1
    names = [f"{k:03}".ljust(length, "m") for k in range(20)]
    draw_confusion(matrix, names, tmp_path / "x.png")
    (figure,) = drawn
    (text,) = figure.axes[1].texts
    box = text.get_window_extent()
    assert 0 < box.x0 < box.x1 <= figure.bbox.x1


def test_mistakes_stand_in_columns(figure: Figure, tmp_path: Path) -> None:
    """Also beside a sign that is escaped, and so longer than it looks."""
    names = ["$", "bb", "c"]
    matrix = np.array([[9, 5, 0], [0, 9, 4], [3, 0, 9]])
    draw_confusion(matrix, names, tmp_path / "c.png")
    (text,) = figure.axes[1].texts
    lines = text.get_text().replace(r"\$", "$").splitlines()
    assert lines == [
        "true  predicted  count   share",
        "$     bb             5   35.7%",
        "bb    c              4   30.8%",
        "c     $              3   25.0%",
    ]


def test_a_title_is_no_mathematics(tmp_path: Path) -> None:
    draw_confusion(np.eye(2, dtype=int), ["$a_{$", "$$"], tmp_path / "x.png", "$$_{\n$")
    assert (tmp_path / "x.png").stat().st_size > 1000
