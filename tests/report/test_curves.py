"""Pictures: what is drawn, read from the figure before it becomes pixels."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from lstm_jax.report.curves import draw_curves, unit_of_text
from lstm_jax.training.history import HistoryRow
from tests.helpers.figures import drawn


def both(loss: float) -> dict[str, float]:
    """A loss and an accuracy."""
    return {"loss": loss, "accuracy": 1 - loss / 5}


def history(validated: bool, overfitting: bool) -> list[HistoryRow]:
    """Twelve lines, a validation on every other one; an epoch is 10 steps."""
    lines = []
    for k in range(1, 13):
        due = validated and k % 2 == 0
        trained, held_out = 3 / k, 3 / k + (0.05 * k**1.5 if overfitting else 0.1)
        lines.append(
            HistoryRow(
                step=5 * k,
                epoch=k / 2,
                items=40 * k,
                seconds=float(k),
                learning_rate=0.01 * (13 - k),
                gradient_norm=1 / k,
                items_per_second=40.0,
                train={"loss": trained + 0.1, "accuracy": 1 - trained / 4},
                train_eval=both(trained) if due else {},
                val=both(held_out) if due else {},
            )
        )
    return lines


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that the next drawing will use."""
    made = Figure()
    monkeypatch.setattr("lstm_jax.report.curves.new_figure", lambda *size: made)
    return made


def labels(figure: Figure, panel: int) -> list[str]:
    """The legend of a panel."""
    legend = figure.axes[panel].get_legend()
    assert legend
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("panel", "quantity"), [(0, "loss"), (1, "accuracy")])
def test_curves_are_those_of_the_history(
    panel: int, quantity: str, figure: Figure, tmp_path: Path
) -> None:
    lines = history(validated=True, overfitting=True)
    draw_curves(lines, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    curves = drawn(figure, panel)
    for name, label in (
        ("train", "training, as it went"),
        ("train_eval", "training, measured like validation"),
        ("val", "validation"),
    ):
        metrics = [(x.epoch, getattr(x, name).get(quantity)) for x in lines]
        points = [point for point in metrics if point[1] is not None]
        np.testing.assert_allclose(curves[label], points)
    # The validation loss is lowest at the 4th line and rises from the 6th on.
    assert "best: step 20, loss 1.150" in labels(figure, panel)
    assert "overfitting, from step 30" in labels(figure, panel)
    np.testing.assert_allclose(curves["best: step 20, loss 1.150"][:, 0], 2.0)
    (shade,) = figure.axes[panel].patches
    assert shade.get_extents().transformed(
        figure.axes[panel].transData.inverted()
    ).intervalx == pytest.approx([3.0, 6.0])


def test_rate_and_norm_have_panels(figure: Figure, tmp_path: Path) -> None:
    lines = history(validated=True, overfitting=False)
    draw_curves(lines, tmp_path / "curves.png")
    for panel, name in ((2, "learning_rate"), (3, "gradient_norm")):
        (points,) = drawn(figure, panel).values()
        np.testing.assert_allclose(points, [(x.epoch, getattr(x, name)) for x in lines])
    assert not any("overfitting" in text for text in labels(figure, 0))
    above = figure.axes[0].child_axes[0]
    assert above.get_xlabel() == "step"
    np.testing.assert_allclose(
        above.get_xlim(), 10 * np.array(figure.axes[0].get_xlim())
    )


def test_a_run_without_validation_has_curves_too(
    figure: Figure, tmp_path: Path
) -> None:
    draw_curves(history(validated=False, overfitting=False), tmp_path / "curves.png")
    assert labels(figure, 0) == ["training"]


def test_no_history_has_no_picture(tmp_path: Path) -> None:
    draw_curves([], tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_what_was_no_number_has_no_line_in_the_legend(
    figure: Figure, tmp_path: Path
) -> None:
    lines = [
        dataclasses.replace(line, train_eval={"loss": math.nan} if line.val else {})
        for line in history(validated=True, overfitting=False)
    ]
    draw_curves(lines, tmp_path / "curves.png")
    assert "training, measured like validation" not in labels(figure, 0)


def test_without_another_metric_the_speed_is_shown(
    figure: Figure, tmp_path: Path
) -> None:
    lines = [
        dataclasses.replace(line, train={"loss": 1.0}, train_eval={}, val={})
        for line in history(validated=False, overfitting=False)
    ]
    draw_curves(lines, tmp_path / "curves.png")
    (points,) = drawn(figure, 1).values()
    np.testing.assert_allclose(points[:, 1], 40.0)
    assert figure.axes[1].get_ylabel() == "items per second"


@pytest.mark.parametrize(("first", "clipped"), [(30.0, True), (2.2, False)])
def test_a_high_first_loss_does_not_squeeze_the_others(
    first: float, clipped: bool, figure: Figure, tmp_path: Path
) -> None:
    lines = history(validated=False, overfitting=False)
    for k, line in enumerate(lines):
        lines[k] = dataclasses.replace(line, train={"loss": 2 - k / 11})
    start = dataclasses.replace(lines[0], epoch=0.1, train={"loss": first})
    draw_curves([start, *lines], tmp_path / "curves.png")
    low, high = figure.axes[0].get_ylim()
    assert low < 1 and 2 < high < 3
    assert (first > high) == clipped


@pytest.mark.parametrize(
    ("vocab", "unit"), [("char", "character"), ("byte", "byte"), ("word", "token")]
)
def test_a_loss_is_counted_in_what_a_symbol_is(vocab: str, unit: str) -> None:
    assert unit_of_text(vocab) == f"nats per {unit}"
