"""Look into a trained model: `python -m lstm_jax.inspect RUN_DIR`.

Gates and whether they still move, how long units remember, how far back the gradient
reaches, units that do nothing; and plain advice. Three pictures go to RUN_DIR/inspect:
gates.png, lags.png and units.png. The text is what the run held out, or its training
text if nothing was; or that of --data.

With --html it also writes RUN_DIR/report.html, one file to be opened in a browser; with
--watch it does so again and again while the run goes on. Both work for runs of any
application too.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax import cli
from lstm_jax.errors import InputError

if TYPE_CHECKING:
    from lstm_jax.data.text import Corpus
    from lstm_jax.lm.text_model import TextModel
    from lstm_jax.report.inspection import Findings

_SHOWN = 100  # symbols in units.png


@dataclasses.dataclass(frozen=True)
class InspectOptions:
    """What to look at."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    text: str = ""
    """A text to show the units over. Default: the beginning of the held-out one."""
    data: Path | None = None
    """Another text to look at; `.gz` is unpacked."""
    json: bool = False
    """End with one line of JSON."""
    html: bool = False
    """Also write report.html into the folder of the run, to be opened in a browser."""
    watch: bool = False
    """Only write report.html, again every few seconds while the run goes on; in a
    browser the page reloads itself. Ctrl-C ends the watching and leaves the run."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, measure, draw, advise."""
    options = cli.parse(InspectOptions, "inspect", __doc__ or "", argv)

    from lstm_jax.distributed.host import enable_compilation_cache
    from lstm_jax.lm.looking import has_text, watch_run
    from lstm_jax.report.page.write import write_report

    enable_compilation_cache()
    others = {
        "data": options.data,
        "text": options.text,
        "json": options.json,
    }
    given = [name for name, value in others.items() if value]
    if options.watch and given:
        raise InputError(f"--{given[0]}: expected no --watch beside it, found both")
    if options.watch:
        watch_run(options.run_dir)
    elif options.html and not given and not has_text(options.run_dir):
        print(f"report in {write_report(options.run_dir)}")
    else:
        _inspect_text(options)


def _inspect_text(options: InspectOptions) -> None:
    """Look into the network of a text generator."""
    import numpy as np

    from lstm_jax.lm.generation import encode_prompt
    from lstm_jax.lm.loading import load_text
    from lstm_jax.lm.looking import look_inside, text_to_look_at, write_text_report
    from lstm_jax.lm.run_directory import open_run
    from lstm_jax.report.inspection import excerpts, layers_of
    from lstm_jax.report.network import draw_gates, draw_lags, draw_units

    trained, run = load_text(options.run_dir), open_run(options.run_dir)
    corpus = _corpus(options, trained)
    _, ids = text_to_look_at(corpus)
    shown, given = ids[:_SHOWN], ids if options.data else ()
    if options.text:
        shown = given = encode_prompt(trained.vocab, options.text)
    look = look_inside(run, trained, ids)
    reading = layers_of(trained.model, excerpts(shown, len(shown) - 1, 1))

    _show(look.findings, list(map(str, look.advice)))
    folder = options.run_dir / "inspect"
    with cli.unless_refused("no pictures"):
        folder.mkdir(exist_ok=True)
        draw_gates(look.layers, folder / "gates.png")
        length = trained.config.optimizer.length
        draw_lags(look.lags, length, folder / "lags.png")
        symbols = [trained.vocab.decode(shown[k : k + 1]) for k in range(len(shown))]
        draw_units(reading, look.layers, symbols, folder / "units.png")
        print(f"pictures in {folder}")
    if options.html:
        print(f"report in {write_text_report(run, trained, corpus, look, given)}")
    if options.json:
        found = dataclasses.asdict(look.findings)
        found["norms"] = np.asarray(look.findings.norms).tolist()
        print(json.dumps(found | {"advice": list(map(str, look.advice))}))


def _corpus(options: InspectOptions, trained: "TextModel") -> "Corpus":
    """The text to look at: one that is given, or that of the run."""
    from lstm_jax.data.text import Corpus, encode_file
    from lstm_jax.lm.generation import encode_prompt
    from lstm_jax.lm.run_directory import open_run

    run = open_run(options.run_dir)
    if options.data is None and run.corpus_path.exists():
        return run.corpus(trained.config, trained.vocab)
    if options.data:
        ids = encode_file(options.data, trained.vocab)
    else:
        ids = encode_prompt(trained.vocab, options.text)
    if len(ids) < 2:
        raise InputError(
            f"{run.path}: expected --data, as it was kept without its text, found none"
        )
    return Corpus(ids, len(ids))


def _show(findings: "Findings", sentences: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lstm_jax.report.inspection import table_of

    table = Table(box=box.SIMPLE)
    table.add_column("")
    for depth in range(1, len(findings.layers) + 1):
        table.add_column(f"layer {depth}", justify="right")
    for name, values in table_of(findings).items():
        table.add_row(name, *values)
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(table)
    console.print(f"the gradient reaches {findings.reach} symbols back", markup=False)
    for sentence in sentences or ["Nothing stands out."]:
        console.print(f"- {sentence}", markup=False)


if __name__ == "__main__":
    cli.run_command(main)
