"""What pictures share: figures without a screen, colours, names that can be drawn."""

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from lstm_jax.errors import InputError
from lstm_jax.report.page.pictures import DESCRIPTION
from lstm_jax.storage.files import replace_file

TRAINING = "#4878a8"
VALIDATION = "#d1603d"


def new_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches that needs no screen."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_picture(path: Path | None) -> None:
    """Refuse a name of a picture that does not end in a format that can be drawn.

    Raises:
        InputError: naming `--picture`.
    """
    if path and picture_format(path) is None:
        raise InputError(
            f"--picture: expected a name that ends in .png, .pdf, .svg or .jpg, found "
            f"{path}"
        )


def picture_format(path: Path) -> str | None:
    """The format that a name ends in; None if there is none or it can't be drawn."""
    ending = path.suffix.lower().removeprefix(".")
    known = FigureCanvasAgg.filetypes.keys() - {"pgf"}  # which needs LaTeX
    return ending if ending in known else None


def save_figure(figure: Figure, path: Path, dpi: int, shows: str = "") -> None:
    """Write a picture whole or not at all.

    Args:
        figure: what to write.
        path: where; its ending is the format.
        dpi: dots per inch.
        shows: what can be seen on it, in a sentence, for those who can't see it. A PNG
            carries it, and `report.html` has it beside the picture.

    Raises:
        InputError: it could not be written; what was there before is still there.
    """
    whole = io.BytesIO()
    kind = picture_format(path)
    said = {DESCRIPTION: shows} if shows and kind == "png" else None
    figure.savefig(whole, format=kind, dpi=dpi, metadata=said)
    replace_file(path, whole.getvalue())


def drawable(name: str) -> str:
    """A name that can be drawn: no mathematics, and no character the font lacks.

    Those are written as their code points, as in U+6F22.
    """
    font = get_font(findfont(FontProperties(family="monospace")))
    seen = (c if font.get_char_index(ord(c)) else f"U+{ord(c):04X}" for c in name)
    return "".join(seen).replace("$", r"\$")
