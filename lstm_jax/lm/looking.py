"""A look inside a trained text generator: what is measured, and the page it goes on."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax.cells.protocol import State
from lstm_jax.data.text import Corpus
from lstm_jax.errors import InputError, warn
from lstm_jax.lm.command_line import command_of
from lstm_jax.lm.loading import load_text
from lstm_jax.lm.run_directory import RunDirectory, open_run
from lstm_jax.lm.text_model import TextModel
from lstm_jax.report.advice import Advice, advise
from lstm_jax.report.inspection import (
    Findings,
    Layer,
    excerpts,
    find,
    gradient_by_lag,
    layers_of,
    symbols_in_time,
    table_of,
)
from lstm_jax.report.page.network import describe_network
from lstm_jax.report.page.reading import describe_reading
from lstm_jax.report.page.write import REPORT, try_to_report, write_report
from lstm_jax.storage.files import read_json
from lstm_jax.storage.lock import is_locked

_STEPS, _ROWS = 256, 32  # of the excerpts that are measured
_FEWEST_ROWS = 4
_EVERY = 3.0  # seconds between two pages of a run that goes on


@dataclasses.dataclass(frozen=True)
class Look:
    """What was measured of a network on a text, and what that says."""

    layers: list[Layer]
    lags: list[State]
    findings: Findings
    advice: list[Advice]


def text_to_look_at(corpus: Corpus) -> tuple[str, np.ndarray]:
    """What was held out, or the training text if nothing was; in words and as ids."""
    if corpus.has_validation:
        return "the held-out text", np.asarray(corpus.validation)
    return "the training text", np.asarray(corpus.train)


def look_inside(
    run: RunDirectory, trained: TextModel, ids: np.ndarray, rows: int = _ROWS
) -> Look:
    """Measure gates, memory and gradients on excerpts of a text.

    Args:
        run: whose history the advice is about, too.
        trained: the model.
        ids: the text.
        rows: how many excerpts.
    """
    optimizer = trained.config.optimizer
    some = excerpts(ids, _steps(trained), rows)
    layers = layers_of(trained.model, some[:-1])
    lags = gradient_by_lag(trained.model, some)
    findings = find(layers, lags)
    advice = advise(
        findings,
        run.history.read(),
        length=optimizer.length,
        clip_norm=optimizer.clip_norm,
    )
    return Look(layers, lags, findings, advice)


def _steps(trained: TextModel) -> int:
    """How long an excerpt is: gradients are to be seen beyond where training ends."""
    return max(_STEPS, 2 * trained.config.optimizer.length)


def _rows_in_time(trained: TextModel) -> int:
    """How many excerpts of a wide network are enough, for a page must not cost much."""
    symbols = symbols_in_time(trained.model, passes=3)
    return min(max(symbols // _steps(trained), _FEWEST_ROWS), _ROWS)


def write_text_report(
    run: RunDirectory,
    trained: TextModel,
    corpus: Corpus,
    look: Look | None = None,
    given: Sequence[int] | np.ndarray = (),
) -> Path:
    """Write the page of a run with all that its network shows.

    Args:
        run: where to.
        trained: its best model.
        corpus: its text.
        look: what was measured already; else, of a wide network, on fewer excerpts.
        given: ids of a text to show it reading, in the place of the run's.

    Returns:
        Where the page is.

    Raises:
        InputError: it can't be written.
    """
    source, ids = text_to_look_at(corpus)
    look = look or look_inside(run, trained, ids, _rows_in_time(trained))
    length = trained.config.optimizer.length
    if len(given):
        source, ids = "the text given", np.asarray(given)
    vocab = trained.vocab
    reading = describe_reading(trained.model, ids, vocab.decode, vocab.names(), source)
    table = table_of(look.findings)
    network = describe_network(look.layers, look.lags, look.findings, table, length)
    panels = {**reading, "network": network}
    command = command_of(trained.config)
    return write_report(run.path, panels, look.advice, command=command)


def try_to_report_text(run: RunDirectory, trained: TextModel, corpus: Corpus) -> None:
    """Write the page of a run that is over; if that fails, say so and go on."""
    try:
        write_text_report(run, trained, corpus)
    except Exception as error:
        warn(f"{run.path / REPORT}: written without a look inside: {error}")
        try_to_report(run.path, command_of(trained.config))


def is_of_text(folder: Path) -> bool:
    """Tell whether the folder is that of a text generator, and not of another run.

    Raises:
        InputError: it is no folder of a run, or its configuration is damaged.
    """
    config = folder / "config.json"
    records = (config, folder / "experiment.json", folder / "result.json")
    if not any(path.is_file() for path in records):
        open_run(folder)  # which says what is wrong
        raise InputError(f"{folder}: expected a run directory, found other files")
    return config.is_file() and "text" in read_json(config, "a configuration")


def watch_run(folder: Path, every: float = _EVERY) -> None:
    """Write the page of a run again and again, until the run is over or Ctrl-C.

    Args:
        folder: of the run.
        every: seconds between two pages, and between two looks of the page itself.

    Raises:
        InputError: it is no folder of a run, or the page can't be written.
    """
    of_text = is_of_text(folder)
    command = command_of(open_run(folder).config()) if of_text else ""
    write = functools.partial(write_report, folder, command=command)
    path = write(reload=every if is_locked(folder) else None)
    print(f"report in {path}; open it in a browser", flush=True)
    try:
        while is_locked(folder):
            write(reload=every)
            time.sleep(every)
    except KeyboardInterrupt:
        write()  # one that doesn't wait for another
        raise
    if of_text and (folder / "checkpoints").is_dir():
        trained, run = load_text(folder), open_run(folder)
        write_text_report(run, trained, run.corpus(trained.config, trained.vocab))
    else:
        write()
    print("the run is over", flush=True)
