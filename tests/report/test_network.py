"""Pictures of a network show the numbers they are given."""

import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lstm_jax.cells.lstm import LSTMState
from lstm_jax.report.inspection import Layer
from lstm_jax.report.network import draw_gates, draw_lags, draw_units
from lstm_jax.report.style import fallback_fonts, new_figure
from tests.helpers.figures import drawn

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
    monkeypatch.setattr("lstm_jax.report.network.new_figure", lambda *size: made)
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
    share = curves["1 % of the largest of c, all layers together"]
    np.testing.assert_allclose(share[:, 1], 0.03)
    np.testing.assert_allclose(curves["cut off in training: 2"][:, 0], 2)


def test_units_are_shown_under_their_symbols(portrait: Figure, tmp_path: Path) -> None:
    """Ten that remember longest in order, then the ten liveliest of the others."""
    measured = layers(2)
    symbols = list("a $\n_^\\b\u0000cde")
    draw_units(measured, measured, symbols, tmp_path / "units.png")
    assert len(portrait.axes) >= len(measured)
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


def boxes(texts: list[Text]) -> list[Bbox]:
    """Where texts that are drawn lie, from left to right."""
    found = [text.get_window_extent() for text in texts if text.get_text()]
    return sorted(found, key=lambda box: box.x0)


def test_labels_of_symbols_that_no_font_has_lie_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their code points, upright."""
    kept: list[Figure] = []

    def made(width: float, height: float) -> Figure:
        kept.append(new_figure(width, height))
        return kept[-1]

    monkeypatch.setattr("lstm_jax.report.network.new_figure", made)
    monkeypatch.setattr("lstm_jax.report.style._FALLBACKS", ())
    fallback_fonts.cache_clear()
    measured = layers(1)
    draw_units(measured, measured, list("今天妈 喜欢山上的花$"), tmp_path / "u.png")
    labels = kept[0].axes[0].get_xticklabels()
    assert labels[0].get_text() == "U+4ECA" and labels[3].get_text() == "·"
    found = boxes(labels)
    assert len(found) == 11
    for left, right in itertools.pairwise(found):
        assert left.x1 <= right.x0 + 1
    fallback_fonts.cache_clear()


@pytest.mark.parametrize(("low", "high"), [(1.0, 9.0), (0.5, 40.0), (0.1, 9_000.0)])
def test_labels_of_memory_do_not_overlap(
    low: float, high: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Figure] = []

    def made(width: float, height: float) -> Figure:
        kept.append(new_figure(width, height))
        return kept[-1]

    monkeypatch.setattr("lstm_jax.report.network.new_figure", made)
    constants = np.geomspace(low, high, 60)
    monkeypatch.setattr(Layer, "time_constants", lambda layer: constants)
    draw_gates(layers(1), tmp_path / "gates.png")
    axis = kept[0].axes[3].xaxis
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    inside = [t.label1 for t in ticks if low <= t.get_loc() <= high]
    found = boxes(inside)
    assert len(found) >= 3
    for left, right in itertools.pairwise(found):
        assert left.x1 < right.x0
