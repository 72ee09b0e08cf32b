"""Score a trained model: `python -m lstm_jax.evaluate RUN_DIR`.

Loss, bits per character, perplexity, accuracy, top-5 accuracy, calibration, and
precision, recall and F1 averaged over the characters, under two protocols: window256
reads consecutive windows of 256 characters, each from the zero state; stream reads the
whole text once and carries its state. With --dynamic it also goes on learning from what
it has read (dynamic evaluation), a protocol of its own. RUN_DIR/confusion.png shows
what each character was taken for (stream), confusion-NAME.png that of another text.
Without --data the text that the run held out is scored, or its training text if nothing
was. What the numbers mean is in docs/evaluation.md.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_jax import cli
from lstm_jax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from lstm_jax.data.text import Corpus
    from lstm_jax.lm.text_model import TextModel
    from lstm_jax.storage.files import Fields

_ROWS = (
    ("loss", "loss, nats"),
    ("bits_per_char", "bits per character"),
    ("bits_per_byte", "bits per byte"),
    ("perplexity", "perplexity"),
    ("accuracy", "accuracy"),
    ("top5_accuracy", "top-5 accuracy"),
    ("calibration_error", "calibration error"),
)
_AVERAGES = ("micro", "macro", "weighted")


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate."""

    run_dir: cli.RunDir
    """Folder of a training run."""
    data: Path | None = None
    """Another text to evaluate on; `.gz` and `.xz` are decompressed."""
    dynamic: bool = False
    """Also evaluate with dynamic evaluation: the model keeps learning from the text it
    has read."""
    json: bool = False
    """Print all results, including those of each symbol, as a last line of JSON."""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, load, score, print, draw."""
    options = cli.parse(EvaluateOptions, "evaluate", __doc__ or "", argv)

    from lstm_jax.data.tokenizers.vocabulary import symbols_of
    from lstm_jax.distributed.host import enable_compilation_cache, keep_freed_memory
    from lstm_jax.lm.classification_report import classification_report
    from lstm_jax.lm.dynamic_evaluation import dynamic_measures
    from lstm_jax.lm.evaluation import measure_ids
    from lstm_jax.lm.loading import load_text
    from lstm_jax.report.activities import activity

    enable_compilation_cache()
    keep_freed_memory()
    trained = load_text(options.run_dir)
    source, ids = _text(options, trained)
    with activity("evaluating", None):  # what is printed may be read by a program
        found = measure_ids(trained.model, ids)
        if options.dynamic:
            learned = _corpus(options, trained).train
            found["dynamic"] = dynamic_measures(trained.model, ids, learned)
    names = trained.vocab.names()
    size = trained.vocab.size_of(ids[1:])
    cards = {
        protocol: classification_report(each, names, size)
        for protocol, each in found.items()
    }
    _show(source, cards, symbols_of(trained.vocab))
    with cli.unless_refused("no confusion matrix"):
        _draw(cards["stream"], names, source, options.run_dir / _picture(options))
    if options.json:
        print(json.dumps({"source": source, **cards}))


def _text(options: EvaluateOptions, trained: "TextModel") -> tuple[str, "np.ndarray"]:
    """What is scored, in words and as ids."""
    from lstm_jax.data.text import encode_file

    if options.data:
        return str(options.data), encode_file(options.data, trained.vocab)
    corpus = _corpus(options, trained)
    if corpus.has_validation:
        return "the held-out text", corpus.validation
    return "the training text", corpus.train


def _picture(options: EvaluateOptions) -> str:
    """Its name; that of another text leaves the run's own alone."""
    return f"confusion-{options.data.name}.png" if options.data else "confusion.png"


def _corpus(options: EvaluateOptions, trained: "TextModel") -> "Corpus":
    """What the run was trained on, and what it held out."""
    from lstm_jax.lm.run_directory import open_run

    run = open_run(options.run_dir)
    if not run.corpus_path.exists():
        asked = "a run that keeps its text" if options.dynamic else "--data"
        raise InputError(f"{run.path}: expected {asked}, found none to score")
    return run.corpus(trained.config, trained.vocab)


def _show(source: str, cards: dict[str, "Fields"], symbols: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    card = next(iter(cards.values()))
    count = f"{card['symbols']:,} {symbols}"
    if symbols == "tokens":
        count += f" ({card['characters']:,} characters)"
    table, averages = Table(box=box.SIMPLE), Table(box=box.SIMPLE)
    table.add_column("")
    averages.add_column(f"averages over {symbols}")
    for name in ("precision", "recall", "F1"):
        averages.add_column(name, justify="right")
    for protocol, card in cards.items():
        table.add_column(protocol, justify="right")
        for average in _AVERAGES:
            scores = (
                card[f"{name}_{average}"] for name in ("precision", "recall", "f1")
            )
            averages.add_row(f"{protocol}, {average}", *(f"{s:.4f}" for s in scores))
    for name, label in _ROWS:
        table.add_row(label, *(f"{card[name]:.4f}" for card in cards.values()))
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    console.print(f"{source}: {count} predicted", markup=False)
    console.print(table)
    console.print(averages)


def _draw(card: "Fields", names: Sequence[str], source: str, path: Path) -> None:
    import numpy as np

    from lstm_jax.report.confusion import draw_confusion

    if card["confusion"] is None:
        print(f"no confusion matrix: {len(names)} different symbols are too many")
        return
    matrix = np.array(card["confusion"])
    draw_confusion(matrix, names, path, f"{source}, stream")
    print(f"confusion matrix in {path}")


if __name__ == "__main__":
    cli.run_command(main)
