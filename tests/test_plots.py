"""Pictures: what is drawn, read from the figure before it becomes pixels."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from lstm_jax.cell import LSTMState
from lstm_jax.inspection import Layer
from lstm_jax.plots import draw_curves
from lstm_jax.plots_inspect import draw_gates, draw_lags, draw_units
from lstm_jax.rundir import Fields


def history(validated: bool, overfitting: bool) -> list[Fields]:
    """Twelve lines, a validation on every other one; an epoch is 10 steps."""
    lines = []
    for k in range(1, 13):
        due = validated and k % 2 == 0
        trained, held_out = 3 / k, 3 / k + (0.05 * k**1.5 if overfitting else 0.1)
        lines.append(
            {
                "step": 5 * k,
                "epoch": k / 2,
                "train_loss": trained + 0.1,
                "train_accuracy": 1 - trained / 4,
                "train_eval_loss": trained if due else None,
                "train_eval_accuracy": 1 - trained / 5 if due else None,
                "val_loss": held_out if due else None,
                "val_accuracy": 1 - held_out / 5 if due else None,
                "learning_rate": 0.01 * (13 - k),
                "gradient_norm": 1 / k,
            }
        )
    return lines


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that the next drawing will use."""
    made = Figure()
    monkeypatch.setattr("lstm_jax.plots.new_figure", lambda *size: made)
    return made


def drawn(figure: Figure, panel: int) -> dict[str, np.ndarray]:
    """The curves of a panel by their labels: [N, 2] points."""
    return {
        str(line.get_label()): np.asarray(line.get_xydata(), float)
        for line in figure.axes[panel].lines
    }


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
        ("train_eval", "training, without dropout"),
        ("val", "validation"),
    ):
        key = f"{name}_{quantity}"
        points = [(x["epoch"], x[key]) for x in lines if x[key] is not None]
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
        np.testing.assert_allclose(points, [(x["epoch"], x[name]) for x in lines])
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


# Of a network.


def layers(count: int) -> list[Layer]:
    """Layers of 30 units over 12 symbols, none like another."""
    rng = np.random.default_rng(0)
    return [
        Layer(
            jnp.asarray(3 * rng.normal(size=(12, 2, 120)), jnp.float32),
            jnp.asarray(np.tanh(rng.normal(size=(12, 2, 30))), jnp.float32),
        )
        for _ in range(count)
    ]


@pytest.fixture
def portrait(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that the next drawing of a network will use."""
    made = Figure()
    monkeypatch.setattr("lstm_jax.plots_inspect.new_figure", lambda *size: made)
    return made


def test_every_unit_is_a_point(portrait: Figure, tmp_path: Path) -> None:
    measured = layers(2)
    draw_gates(measured, tmp_path / "gates.png")
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")
    for k, layer in enumerate(measured):
        for panel, name in enumerate("ifo"):
            points = portrait.axes[4 * k + panel].collections[0].get_offsets()
            gate = np.asarray(layer.gate(name))
            expected = [(gate > part).mean(axis=(0, 1)) for part in (0.9, 0.1)]
            expected[1] = 1 - expected[1]
            np.testing.assert_allclose(np.asarray(points).T, expected, atol=1e-6)


def test_gradients_are_drawn_by_lag(portrait: Figure, tmp_path: Path) -> None:
    lags = [LSTMState(h=jnp.array([4.0, 2, 1]), c=jnp.array([0.0, 3, 2]))]
    draw_lags(lags, 2, tmp_path / "lags.png")
    curves = drawn(portrait, 0)
    np.testing.assert_array_equal(curves["layer 1, h"][:, 1], [4, 2, 1])
    np.testing.assert_array_equal(curves["layer 1, c"][:, 1], [np.nan, 3, 2])
    np.testing.assert_allclose(curves["1 % of the largest"][:, 1], 0.03)
    np.testing.assert_allclose(curves["cut off in training: 2"][:, 0], 2)


def test_units_are_shown_under_their_symbols(portrait: Figure, tmp_path: Path) -> None:
    """Ten that remember longest in order, then the ten liveliest of the others."""
    measured = layers(2)
    symbols = list("a $\n_^\\b\u0000cde")
    draw_units(measured, measured, symbols, tmp_path / "units.png")
    for axes, layer in zip(portrait.axes, measured, strict=False):
        shown = [label.get_text() for label in axes.get_xticklabels()]
        assert shown == ["a", "·", r"\$", "⏎", *"_^\\b", "\ufffd", *"cde"]
        units = [int(t.get_text().split(":")[0]) for t in axes.get_yticklabels()]
        constants = np.asarray(layer.time_constants())
        assert units[:10] == sorted(range(30), key=lambda u: -constants[u])[:10]
        image = np.asarray(axes.images[0].get_array())
        np.testing.assert_array_equal(image, np.asarray(layer.h)[:, 0, units].T)
        spread = np.asarray(layer.h)[:, 0].std(axis=0)
        rest = set(range(30)) - set(units)
        assert min(spread[units[10:]]) >= max(spread[list(rest)])
