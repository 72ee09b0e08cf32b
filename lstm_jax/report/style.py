"""What pictures share: figures without a screen, colours, names that can be drawn."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

TRAINING, VALIDATION = "#4878a8", "#d1603d"


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawable(name: str) -> str:
    """A name that can be drawn: no mathematics, and no character the font lacks.

    Those are written as their code points, as in U+6F22.
    """
    font = get_font(findfont(FontProperties(family="monospace")))
    seen = (c if font.get_char_index(ord(c)) else f"U+{ord(c):04X}" for c in name)
    return "".join(seen).replace("$", r"\$")
