"""What a training run tells: lines while it goes, results and files at its end."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import jax
from rich.console import Console

from lstm_jax.data.text import Corpus
from lstm_jax.data.tokenizers.vocabulary import symbols_of
from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.distributed.multihost import gather_replicated, is_primary
from lstm_jax.lm.command_line import command_of
from lstm_jax.lm.config import HELLO_WORLD_TEXT, TrainConfig, layers_of
from lstm_jax.lm.evaluation import evaluate_ids
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.sizing import waits_for_kernels
from lstm_jax.lm.task import Setup, build_model, multiplies_rounded
from lstm_jax.lm.text_model import TextModel
from lstm_jax.models.language import LanguageModel
from lstm_jax.report.activities import activity
from lstm_jax.report.parameters import parameter_table
from lstm_jax.report.progress import Progress
from lstm_jax.report.summary import summarize
from lstm_jax.storage.files import Fields
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow
from lstm_jax.training.schedule import Schedule
from lstm_jax.training.trainer import Trained

HELLO_PROMPT = "hel"
_PROMPT_LENGTH = 32
_SAMPLE_LENGTH = 400
_SHOWN_LENGTH = 200  # of a sample while training


class Reporter:
    """Says what a run is, shows its progress, and writes what it leaves.

    Args:
        setup: what the run is made of.
        chosen: what was chosen for it, and why.
    """

    def __init__(self, setup: Setup, chosen: Sequence[str] = ()) -> None:
        self._setup = setup
        config, corpus, engine = setup.config, setup.corpus, setup.engine
        # Of several processes one speaks.
        plain = {"highlight": False, "emoji": False, "soft_wrap": True}
        self._console = Console(**plain, quiet=not is_primary())
        count = row_mesh(setup.task.rows, config.run.devices).size
        self._device = f"{count} x {jax.devices()[0].device_kind}"
        self._say(
            f"{corpus.train_size:,} {symbols_of(setup.vocab)} to learn from, "
            f"{len(corpus.ids) - corpus.train_size:,} held out; "
            f"{layers_of(config.model)}, dropout {config.model.dropout}; "
            f"engine {engine.name} on {self._device} ({engine.reason})"
            f"{_precision(config)}"
        )
        for line in chosen:
            self._say(line)
        if jax.default_backend() == "gpu" and waits_for_kernels(config):
            self._say(
                "note: in a network this small a GPU waits for its kernels to start; "
                "JAX_PLATFORMS=cpu may train it faster"
            )
        if not _is_hello_world(setup):
            model = jax.eval_shape(lambda: build_model(config, setup.vocab))
            self._say(parameter_table(model))
        if setup.start is not None and setup.task.evaluate:
            with activity("validating", self._say):
                found = setup.task.evaluate(setup.start).values()
            self._say(
                f"before any step: val {found['loss']:.4f} "
                f"(acc {found['accuracy']:.3f})"
            )

    def callbacks(self) -> list[Callback]:
        """Make those that show how far the run is, and what it writes by then."""
        items = self._setup.task.items
        items = "chars" if items == "characters" else items
        progress = Progress(self._setup.schedule, items, self._say)
        every = self._setup.config.sample_every
        return [progress, *([_Samples(self._setup, every, self._say)] if every else [])]

    def interrupted(self, run: RunDirectory | None) -> None:
        """Say what an interrupted run left behind."""
        if run and is_primary():
            _draw(run, self._setup.config.text.vocab)
            from lstm_jax.report.page.write import try_to_report

            try_to_report(run.path, command_of(self._setup.config))
        kept = f"; --resume continues {run.path}" if run else "; nothing was kept"
        self._say(f"interrupted{kept}")

    def finish(self, outcome: Trained, run: RunDirectory | None) -> None:
        """Evaluate the best model, show it, and write the last files."""
        config, corpus, timer = self._setup.config, self._setup.corpus, outcome.timer
        best = TextModel(config, self._setup.vocab, outcome.model)
        if outcome.ended != "finished":
            self._say(f"stopped: {outcome.ended}; the best step is kept")
        elif _all_passes_were_made(self._setup.schedule, outcome):
            self._say(
                f"{config.run.epochs} passes were made before the time was over; "
                "--resume with a larger --epochs goes on"
            )
        part = "validation" if corpus.has_validation else "training"
        ids = corpus.validation if corpus.has_validation else corpus.train
        started = time.perf_counter()
        with activity("evaluating", self._say):
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
        if _is_hello_world(self._setup):
            length = len(HELLO_WORLD_TEXT) - len(HELLO_PROMPT)
            made = generate_text(best, HELLO_PROMPT, length)
            self._say(f"from {HELLO_PROMPT!r}: {HELLO_PROMPT}{made}")
        if run:
            run.write_summary(self._summary(outcome, part, results))
            with activity("writing samples", self._say):
                run.write_samples(_samples(best, corpus))
            _draw(run, config.text.vocab)
            from lstm_jax.lm.looking import try_to_report_text

            with activity("writing the report", self._say):
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


class _Samples(Callback):
    """Shows what the model writes after every so many validations.

    Args:
        setup: what the run is made of.
        every: validations from sample to sample.
        say: is handed a line of text.
    """

    def __init__(self, setup: Setup, every: int, say: Callable[[str], None]) -> None:
        self._setup, self._every, self._say, self._count = setup, every, say, 0

    def on_validation(self, row: HistoryRow, model: LanguageModel) -> None:
        """Continue the first line of what was held out."""
        self._count += 1
        if self._count % self._every:
            return
        setup = self._setup
        model = jax.device_put(gather_replicated(model), jax.local_devices()[0])
        now = TextModel(setup.config, setup.vocab, model)
        prompt = _prompt(now, setup.corpus)
        made = generate_text(now, prompt, _SHOWN_LENGTH, temperature=0.8, seed=row.step)
        self._say(f"--- step {row.step:,}\n{prompt}{made}\n---")


def _is_hello_world(setup: Setup) -> bool:
    """Whether it learns the built-in text, which is what the command says then."""
    ids = setup.corpus.ids
    if setup.vocab.kind != "char" or len(ids) != len(HELLO_WORLD_TEXT):
        return False
    return setup.vocab.decode(ids) == HELLO_WORLD_TEXT


def _all_passes_were_made(schedule: Schedule, outcome: Trained) -> bool:
    """Whether a run that has a time, too, was over before it."""
    timed = schedule.max_seconds is not None and schedule.total_steps is not None
    last = outcome.history[-1].step if outcome.history else 0
    return timed and schedule.steps_left(last, 0.0, 0.0) == 0


def _precision(config: TrainConfig) -> str:
    """What came of --precision mixed."""
    if config.model.precision != "mixed":
        return ""
    if multiplies_rounded(config):
        return ", factors of products in bfloat16"
    return ", all in float32: this processor multiplies bfloat16 no faster"


def _samples(trained: TextModel, corpus: Corpus) -> str:
    """Drawn continuations and a greedy one of the first line of what was held out."""
    prompt = _prompt(trained, corpus)
    parts = []
    for temperature in (0.8, 1.0, 0.0):
        made = generate_text(trained, prompt, _SAMPLE_LENGTH, temperature=temperature)
        parts.append(f"--- temperature {temperature}\n{prompt}{made}\n")
    return "\n".join(parts)


def _prompt(trained: TextModel, corpus: Corpus) -> str:
    ids = corpus.validation if corpus.has_validation else corpus.train
    text = trained.vocab.decode(ids[:_PROMPT_LENGTH]).replace("\ufffd", "")
    return "" if trained.vocab.unknown(text) else text


def _draw(run: RunDirectory, vocab: str) -> None:
    # Matplotlib takes as long to import as JAX: runs that keep nothing do without.
    from lstm_jax.report.curves import draw_curves, unit_of_text

    if history := run.history.read():
        draw_curves(history, run.path / "curves.png", unit_of_text(vocab))
