"""Score a trained model: `python -m lstm_jax.evaluate RUN_DIR`.

Loss in nats and in bits per character, perplexity and accuracy, under two protocols:
window256 reads consecutive windows of 256 characters, each from the zero state;
stream reads the whole text once and carries its state. Without --data the text that
the run held out is scored, or its training text if nothing was.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from lstm_jax import cli


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What to score."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    data: Path | None = None
    """Another text to score; `.gz` is unpacked."""
    json: bool = False
    """End with one line of JSON."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, score, print."""
    options = cli.parse(EvaluateOptions, "evaluate", __doc__ or "", argv)

    from lstm_jax.data import encode_file
    from lstm_jax.devices import keep_programs, show_cores
    from lstm_jax.protocols import WINDOW, evaluate_ids
    from lstm_jax.rundir import open_run
    from lstm_jax.text import load

    keep_programs()
    show_cores(WINDOW)
    trained = load(options.run_dir)
    if options.data:
        source, ids = str(options.data), encode_file(options.data, trained.vocab)
    else:
        corpus = open_run(options.run_dir).corpus(trained.config, trained.vocab)
        held_out = corpus.has_validation
        source = "the held-out text" if held_out else "the training text"
        ids = corpus.validation if held_out else corpus.train
    results = evaluate_ids(trained.model, ids)
    _show(source, results)
    if options.json:
        print(json.dumps({"source": source, **results}))


def _show(source: str, results: dict[str, dict[str, float]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=source, box=box.SIMPLE)
    table.add_column("protocol")
    for name in next(iter(results.values())):
        table.add_column(name.replace("_", " "), justify="right")
    for protocol, found in results.items():
        *numbers, characters = found.values()
        table.add_row(protocol, *(f"{n:.4f}" for n in numbers), f"{characters:,}")
    Console().print(table)


if __name__ == "__main__":
    cli.run_command(main)
