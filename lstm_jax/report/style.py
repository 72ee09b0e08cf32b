"""What pictures share: figures without a screen, colours, names that can be drawn."""

import functools
import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import (
    FontProperties,
    findfont,
    get_font,
    get_font_names,
)
from matplotlib.text import Text

from lstm_jax.errors import InputError
from lstm_jax.report.page.pictures import DESCRIPTION
from lstm_jax.storage.files import replace_file

# Fonts of systems with the characters that matplotlib's own ones lack, from Chinese,
# Japanese and Korean to whatever else: those that are installed are asked in turn.
_FALLBACKS = (
    *("Noto Sans Mono CJK SC", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC"),
    *("Noto Sans CJK KR", "Source Han Sans SC", "Source Han Sans CN"),
    *("WenQuanYi Micro Hei Mono", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("Droid Sans Fallback", "Unifont", "PingFang SC", "Hiragino Sans GB"),
    *("Hiragino Sans", "Apple SD Gothic Neo", "Heiti SC", "Arial Unicode MS"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "Malgun Gothic", "Noto Sans"),
)
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
    add_fallback_fonts(figure)
    whole = io.BytesIO()
    kind = picture_format(path)
    said = {DESCRIPTION: shows} if shows and kind == "png" else None
    figure.savefig(whole, format=kind, dpi=dpi, metadata=said)
    replace_file(path, whole.getvalue())


@functools.cache
def fallback_fonts() -> tuple[str, ...]:
    """Name the installed fonts that are asked for what matplotlib's own ones lack."""
    installed = {*get_font_names()}
    return tuple(name for name in _FALLBACKS if name in installed)


def add_fallback_fonts(figure: Figure) -> None:
    """Let every text of a figure be drawn with all fonts that `drawable` counts on."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        own = [name for name in text.get_fontfamily() if name not in fallback_fonts()]
        text.set_fontfamily([*own, *fallback_fonts()])


def drawable(name: str) -> str:
    """A name that can be drawn: no mathematics, and no character that all fonts lack.

    Those are written as their code points, as in U+6F22.
    """
    families = ("monospace", *fallback_fonts())
    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in families]

    def drawn(character: str) -> str:
        known = any(font.get_char_index(ord(character)) for font in fonts)
        return character if known else f"U+{ord(character):04X}"

    return "".join(map(drawn, name)).replace("$", r"\$")
