"""What a training run tells: lines while it goes, results and files at its end."""

import dataclasses
import time

import jax
from rich.console import Console

from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.vocabulary import symbols_of
from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.distributed.multihost import is_primary
from lstm_jax.lm.config import HELLO_WORLD_TEXT, TrainConfig, layers_of
from lstm_jax.lm.evaluation import evaluate_ids
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import Setup, multiplies_rounded
from lstm_jax.lm.text_model import TextModel
from lstm_jax.report.progress import Progress
from lstm_jax.report.summary import summarize
from lstm_jax.storage.files import Fields
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.trainer import Trained

HELLO_PROMPT = "hel"
_PROMPT_LENGTH = 32
_SAMPLE_LENGTH = 400


class Reporter:
    """Says what a run is, shows its progress, and writes what it leaves.

    Args:
        setup: what the run is made of.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        config, corpus, engine = setup.config, setup.corpus, setup.engine
        # Of several processes one speaks.
        self._console = Console(highlight=False, soft_wrap=True, quiet=not is_primary())
        count = row_mesh(setup.task.rows, config.run.devices).size
        self._device = f"{count} x {jax.devices()[0].device_kind}"
        self._say(
            f"{corpus.train_size:,} {symbols_of(setup.vocab)} to learn from, "
            f"{len(corpus.ids) - corpus.train_size:,} held out; "
            f"{layers_of(config.model)}, dropout {config.model.dropout}; "
            f"engine {engine.name} on {self._device} ({engine.reason})"
            f"{_precision(config)}"
        )

    def progress(self) -> Callback:
        """Make the callback that shows how far the run is."""
        items = {"characters": "chars"}.get(self._setup.task.items)
        return Progress(
            self._setup.schedule, items or self._setup.task.items, self._say
        )

    def interrupted(self, run: RunDirectory | None) -> None:
        """Say what an interrupted run left behind."""
        if run and is_primary():
            if run.history.read():
                _draw(run)
            from lstm_jax.report.page.write import try_to_report

            try_to_report(run.path)
        kept = f"; --resume continues {run.path}" if run else "; nothing was kept"
        self._say(f"interrupted{kept}")

    def finish(self, outcome: Trained, run: RunDirectory | None) -> None:
        """Evaluate the best model, show it, and write the last files."""
        config, corpus, timer = self._setup.config, self._setup.corpus, outcome.timer
        best = TextModel(config, self._setup.vocab, outcome.model)
        if outcome.ended != "finished":
            self._say(f"stopped: {outcome.ended}; the best step is kept")
        part = "validation" if corpus.has_validation else "training"
        ids = corpus.validation if corpus.has_validation else corpus.train
        started = time.perf_counter()
        results = evaluate_ids(best.model, ids, best.vocab)
        timer.final += time.perf_counter() - started
        plain = best.vocab.kind in ("char", "byte")
        each = "" if plain else " per token"
        for protocol, found in results.items():
            self._say(
                f"{part} {protocol}: loss {found['loss']:.4f} nats{each} "
                f"({found['bits_per_char']:.4f} bits per character), "
                f"perplexity {found['perplexity']:.3f}, "
                f"accuracy {found['accuracy']:.4f}"
            )
        self._say(
            f"the loop took {timer.seconds():.1f} s "
            f"(compilation {timer.compiling:.1f}, validation {timer.evaluating:.1f}, "
            f"saving {timer.saving:.1f}); "
            f"the evaluation after it {timer.final:.1f} s"
        )
        if not is_primary():
            return
        if not config.text.data:
            length = len(HELLO_WORLD_TEXT) - len(HELLO_PROMPT)
            made = generate_text(best, HELLO_PROMPT, length)
            self._say(f"from {HELLO_PROMPT!r}: {HELLO_PROMPT}{made}")
        if run:
            run.write_summary(self._summary(outcome, part, results))
            run.write_samples(_samples(best, corpus))
            _draw(run)
            from lstm_jax.lm.looking import try_to_report_text

            try_to_report_text(run, best, corpus)
            self._say(f"kept in {run.path}; to look at: {run.path / 'report.html'}")

    def _summary(
        self, outcome: Trained, part: str, results: dict[str, dict[str, float]]
    ) -> Fields:
        summary = summarize(outcome)
        return {
            "ended": summary.pop("ended"),
            part: results,
            **summary,
            "chars_per_second": summary["items_per_second"],
            "engine": dataclasses.asdict(self._setup.engine),
            "device": self._device,
        }

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)


def _precision(config: TrainConfig) -> str:
    """What came of --precision mixed."""
    if config.model.precision != "mixed":
        return ""
    if multiplies_rounded(config):
        return ", factors of products in bfloat16"
    return ", all in float32: this processor multiplies bfloat16 no faster"


def _samples(trained: TextModel, corpus: Corpus) -> str:
    """Drawn continuations and a greedy one of the first line of what was held out."""
    ids = corpus.validation if corpus.has_validation else corpus.train
    prompt = trained.vocab.decode(ids[:_PROMPT_LENGTH]).replace("\ufffd", "")
    parts = []
    for temperature in (0.8, 1.0, 0.0):
        made = generate_text(trained, prompt, _SAMPLE_LENGTH, temperature=temperature)
        parts.append(f"--- temperature {temperature}\n{prompt}{made}\n")
    return "\n".join(parts)


def _draw(run: RunDirectory) -> None:
    # Matplotlib takes as long to import as JAX: runs that keep nothing do without.
    from lstm_jax.report.curves import draw_curves

    draw_curves(run.history.read(), run.path / "curves.png")
