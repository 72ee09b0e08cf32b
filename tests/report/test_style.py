"""Pictures are written whole, in a format that can be drawn, or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lstm_jax import InputError
from lstm_jax.report import check_picture, drawable, new_figure, save_figure
from lstm_jax.report.style import fallback_fonts


@pytest.mark.parametrize("name", ["a.doc", "a", "png", "a.png.txt", "a.pgf"])
def test_a_format_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"^--picture: expected a name that ends in"):
        check_picture(Path(name))


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "b.c.svg", "a.jpg"])
def test_an_ending_is_a_format(name: str, tmp_path: Path) -> None:
    check_picture(tmp_path / name)
    save_figure(new_figure(1, 1), tmp_path / name, dpi=50)
    assert (tmp_path / name).stat().st_size > 100
    check_picture(None)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "dir.png").mkdir()
    for path in (tmp_path / "dir.png", tmp_path / "none" / "a.png"):
        with pytest.raises(InputError, match=f"^{path}: could not be written: "):
            save_figure(new_figure(1, 1), path, dpi=50)
    (tmp_path / "old.png").write_bytes(b"old")
    figure = new_figure(1, 1)
    figure.text(0, 0, r"$\nonsense$")  # is found out halfway
    with pytest.raises(ValueError, match="nonsense"):
        save_figure(figure, tmp_path / "old.png", dpi=50)
    assert (tmp_path / "old.png").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"dir.png", "old.png"}


@pytest.fixture
def another_font(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system with one more font: it has a combining ring, and no Chinese."""
    monkeypatch.setattr("lstm_jax.report.style._FALLBACKS", ("none", "STIXGeneral"))
    fallback_fonts.cache_clear()
    yield
    fallback_fonts.cache_clear()


def test_a_font_of_the_system_draws_what_the_usual_one_lacks(
    another_font: None, tmp_path: Path
) -> None:
    assert drawable("a\u20dd漢$") == "a\u20ddU+6F22\\$"
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.set_title(drawable("a\u20dd"))
    axes.set_xticks([0, 1], [drawable("\u20dd"), "b"], family="monospace")
    # A character that no font had would be warned of, and a warning is an error here.
    save_figure(figure, tmp_path / "a.png", dpi=50)
    assert axes.title.get_fontfamily() == ["sans-serif", "STIXGeneral"]
    save_figure(figure, tmp_path / "b.png", dpi=50)
    assert axes.title.get_fontfamily() == ["sans-serif", "STIXGeneral"]
    raw = [(tmp_path / name).read_bytes() for name in ("a.png", "b.png")]
    assert raw[0] == raw[1]
