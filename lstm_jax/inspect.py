"""Look into a trained model: `python -m lstm_jax.inspect RUN_DIR`.

Gates and whether they still move, how long units remember, how far back the gradient
reaches, units that do nothing; and plain advice. Three pictures go to RUN_DIR/inspect:
gates.png, lags.png and units.png. The text is what the run held out, or its training
text if nothing was.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lstm_jax import cli

if TYPE_CHECKING:
    from lstm_jax.report.inspection import Findings

_STEPS, _ROWS = 256, 32  # of the excerpts that are measured
_SHOWN = 100  # symbols in units.png


@dataclasses.dataclass(frozen=True)
class InspectOptions:
    """What to look at."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    text: str = ""
    """A text to show the units over. Default: the beginning of the held-out one."""
    json: bool = False
    """End with one line of JSON."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, measure, draw, advise."""
    options = cli.parse(InspectOptions, "inspect", __doc__ or "", argv)

    import numpy as np

    from lstm_jax.distributed.host import enable_compilation_cache
    from lstm_jax.lm.generation import encode_prompt
    from lstm_jax.lm.loading import load_text
    from lstm_jax.lm.run_directory import open_run
    from lstm_jax.report.advice import advise
    from lstm_jax.report.inspection import excerpts, find, gradient_by_lag, layers_of
    from lstm_jax.report.network import draw_gates, draw_lags, draw_units

    enable_compilation_cache()
    trained, run = load_text(options.run_dir), open_run(options.run_dir)
    corpus = run.corpus(trained.config, trained.vocab)
    optimizer = trained.config.optimizer
    length = optimizer.length
    ids = corpus.validation if corpus.has_validation else corpus.train
    some = excerpts(ids, max(_STEPS, 2 * length), _ROWS)
    layers = layers_of(trained.model, some[:-1])
    lags = gradient_by_lag(trained.model, some)
    shown = np.asarray(ids[:_SHOWN])
    if options.text:
        shown = encode_prompt(trained.vocab, options.text)
    reading = layers_of(trained.model, excerpts(shown, len(shown) - 1, 1))

    findings = find(layers, lags)
    sentences = advise(
        findings, run.history.read(), length=length, clip_norm=optimizer.clip_norm
    )
    _show(findings, sentences)
    folder = options.run_dir / "inspect"
    folder.mkdir(exist_ok=True)
    draw_gates(layers, folder / "gates.png")
    draw_lags(lags, length, folder / "lags.png")
    symbols = [trained.vocab.decode(shown[k : k + 1]) for k in range(len(shown))]
    draw_units(reading, layers, symbols, folder / "units.png")
    print(f"pictures in {folder}")
    if options.json:
        record = dataclasses.asdict(findings) | {"norms": findings.norms.tolist()}
        print(json.dumps(record | {"advice": sentences}))


def _show(findings: "Findings", sentences: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("")
    for depth in range(1, len(findings.layers) + 1):
        table.add_column(f"layer {depth}", justify="right")
    for name, values in _rows(findings).items():
        table.add_row(name, *values)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(f"the gradient reaches {findings.reach} symbols back", markup=False)
    for sentence in sentences or ["Nothing stands out."]:
        console.print(f"- {sentence}", markup=False)


def _rows(findings: "Findings") -> dict[str, list[str]]:
    """The lines of the table: a value for each layer."""
    from lstm_jax.report.inspection import GATE_NAMES

    layers, rows = findings.layers, {}
    for key in layers[0].closed:
        gate = GATE_NAMES.get(key, key)
        rows[f"{gate} gate closed"] = [f"{layer.closed[key]:.0%}" for layer in layers]
        rows[f"{gate} gate open"] = [f"{layer.open[key]:.0%}" for layer in layers]
    for k, percentile in enumerate(("10th", "50th", "90th")):
        name = f"memory, symbols, {percentile} percentile"
        rows[name] = [f"{layer.memory[k]:.1f}" for layer in layers]
    rows["dead units"] = [f"{layer.dead} of {layer.units}" for layer in layers]
    if "o" in layers[0].closed:
        rows["output gate never open"] = [
            f"{layer.hidden} of {layer.units}" for layer in layers
        ]
    return rows


if __name__ == "__main__":
    cli.run_command(main)
