"""Writing `report.html`, at whose failure no run is lost."""

from collections.abc import Sequence
from pathlib import Path

from lstm_jax.errors import warn
from lstm_jax.report.advice import Advice
from lstm_jax.report.page.folder import describe
from lstm_jax.report.page.render import render
from lstm_jax.storage.files import Fields, replace_file

REPORT = "report.html"


def write_report(
    folder: Path,
    panels: Fields | None = None,
    advice: Sequence[Advice] | None = None,
    reload: float | None = None,
    command: str = "",
) -> Path:
    """Write the page of a run from the files in its folder.

    Args:
        folder: of the run.
        panels: `reading`, `network` and `confusion`, of whoever has the network.
        advice: what a closer look at it has to say.
        command: that began it, unless its result has that.
        reload: seconds after which the page looks for a newer one, while a run goes on.

    Returns:
        Where it is.

    Raises:
        InputError: it can't be written.
    """
    data = describe(folder, advice, running=reload is not None, command=command)
    if reload is not None:
        data |= {"status": "running", "mood": "live", "reload": reload}
    path = folder / REPORT
    replace_file(path, render({**data, **(panels or {})}))
    return path


def try_to_report(folder: Path, command: str = "") -> None:
    """Write the page of a run that is over; if that fails, say so and go on."""
    try:
        write_report(folder, command=command)
    except Exception as error:
        warn(f"{folder / REPORT}: could not be written: {error}")
