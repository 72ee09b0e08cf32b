"""The page to draw on: `page.html`, whole as it lies beside this file."""

from pathlib import Path

from lstm_jax.storage import writing

PAGE = Path(__file__).with_name("page.html")


def write_page(path: Path) -> None:
    """Write the page to a new file.

    Raises:
        InputError: there is a file already, or it can't be written.
    """
    with writing(path), open(path, "xb") as file:
        file.write(PAGE.read_bytes())
    print(f"written: {path}; open it in a browser")
