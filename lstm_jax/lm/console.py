"""What a training run tells: lines while it goes, results and files at its end."""

import dataclasses
import importlib.metadata
import platform
import time

import jax
from rich.console import Console

import lstm_jax
from lstm_jax.data.text import Corpus
from lstm_jax.distributed.mesh import row_mesh
from lstm_jax.distributed.multihost import leads
from lstm_jax.lm.config import HELLO_WORLD_TEXT, TrainConfig
from lstm_jax.lm.evaluation import evaluate_ids
from lstm_jax.lm.generation import generate_text
from lstm_jax.lm.run_directory import RunDirectory
from lstm_jax.lm.task import engine_of, multiplies_rounded, plan_of, text_task
from lstm_jax.lm.text_model import TextModel
from lstm_jax.lm.training import Outcome
from lstm_jax.storage.files import Fields
from lstm_jax.training.history import Line

_LINES = 20  # printed over a run, besides those with a validation
HELLO_PROMPT = "hel"
_PROMPT_LENGTH = 32
_SAMPLE_LENGTH = 400
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


class Reporter:
    """Prints the progress of a run and writes what it leaves."""

    def __init__(self, config: TrainConfig, corpus: Corpus) -> None:
        task = text_task(config, corpus)
        self._config = config
        self._corpus = corpus
        self._plan = plan_of(config, task.steps_per_epoch)
        self._printed = 0
        # Of several processes one speaks.
        self._console = Console(highlight=False, soft_wrap=True, quiet=not leads())
        count = row_mesh(task.rows, config.run.devices).size
        self._device = f"{count} x {jax.devices()[0].device_kind}"
        self._engine = engine_of(config)
        self._say(
            f"{corpus.train_size:,} characters to learn from, "
            f"{len(corpus.ids) - corpus.train_size:,} held out; "
            f"{config.model.layers} layers of {config.model.hidden}, dropout "
            f"{config.model.dropout}; "
            f"engine {self._engine.name} on {self._device} ({self._engine.reason})"
            f"{_precision(config)}"
        )

    def line(self, line: Line) -> None:
        """Show a line of history, if it is time for one."""
        share = self._plan.progress(line.step, line.seconds)
        mark = int(share * _LINES)
        if mark == self._printed and line.val_loss is None:
            return
        self._printed = mark
        validation = ""
        if line.val_loss is not None:
            validation = f"  val {line.val_loss:.4f} (acc {line.val_accuracy:.3f})"
        self._say(
            f"{share:4.0%}  step {line.step:>7,}  epoch {line.epoch:6.2f}  "
            f"{line.seconds:6.1f} s  {line.chars_per_second:>9,.0f} chars/s  "
            f"train {line.train_loss:.4f} (acc {line.train_accuracy:.3f}){validation}"
        )

    def interrupted(self, run: RunDirectory | None) -> None:
        """Say what an interrupted run left behind."""
        kept = f"; --resume continues {run.path}" if run else "; nothing was kept"
        self._say(f"interrupted{kept}")

    def finish(self, outcome: Outcome, run: RunDirectory | None) -> None:
        """Evaluate the best model, show it, and write the last files."""
        corpus, clock = self._corpus, outcome.clock
        if outcome.ended != "finished":
            self._say(f"stopped: {outcome.ended}; the best step is kept")
        part = "validation" if corpus.has_validation else "training"
        ids = corpus.validation if corpus.has_validation else corpus.train
        started = time.perf_counter()
        results = evaluate_ids(outcome.best.model, ids)
        clock.final += time.perf_counter() - started
        for protocol, found in results.items():
            self._say(
                f"{part} {protocol}: loss {found['loss']:.4f} nats "
                f"({found['bits_per_char']:.4f} bits per character), "
                f"perplexity {found['perplexity']:.3f}, "
                f"accuracy {found['accuracy']:.4f}"
            )
        self._say(
            f"the loop took {clock.seconds():.1f} s "
            f"(compilation {clock.compiling:.1f}, validation {clock.evaluating:.1f}, "
            f"saving {clock.saving:.1f}); "
            f"the evaluation after it {clock.final:.1f} s"
        )
        if not leads():
            return
        if not self._config.text.data:
            length = len(HELLO_WORLD_TEXT) - len(HELLO_PROMPT)
            made = generate_text(outcome.best, HELLO_PROMPT, length)
            self._say(f"from {HELLO_PROMPT!r}: {HELLO_PROMPT}{made}")
        if run:
            run.write_summary(self._summary(outcome, part, results))
            run.write_samples(_samples(outcome.best, corpus))
            _draw(run)
            self._say(f"kept in {run.path}")

    def _summary(
        self, outcome: Outcome, part: str, results: dict[str, dict[str, float]]
    ) -> Fields:
        clock, last = outcome.clock, outcome.lines[-1]
        leaves = jax.tree.leaves(outcome.best.model)
        besides = clock.compiling + clock.evaluating + clock.saving
        training = clock.seconds() - besides
        return {
            "ended": outcome.ended,
            part: results,
            "best_step": outcome.best_step,
            "steps": last["step"],
            "epochs": last["epoch"],
            "parameters": sum(leaf.size for leaf in leaves),
            "seconds": {
                "loop": clock.seconds(),
                "compile": clock.compiling,
                "train": training,
                "evaluate": clock.evaluating,
                "save": clock.saving,
                "final_evaluation": clock.final,
            },
            "chars_per_second": last["characters"] / training,
            "engine": dataclasses.asdict(self._engine),
            "device": self._device,
            "versions": {
                "python": platform.python_version(),
                "lstm_jax": lstm_jax.__version__,
                **{name: importlib.metadata.version(name) for name in _PACKAGES},
            },
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
    """A greedy and some drawn continuations of the first line of what was held out."""
    ids = corpus.validation if corpus.has_validation else corpus.train
    prompt = trained.vocab.decode(ids[:_PROMPT_LENGTH]).replace("\ufffd", "")
    parts = []
    for temperature in (0.0, 0.8, 1.0):
        made = generate_text(trained, prompt, _SAMPLE_LENGTH, temperature=temperature)
        parts.append(f"--- temperature {temperature}\n{prompt}{made}\n")
    return "\n".join(parts)


def _draw(run: RunDirectory) -> None:
    # Matplotlib takes as long to import as JAX: runs that keep nothing do without.
    from lstm_jax.report.curves import draw_curves

    draw_curves(run.history.read(), run.path / "curves.png")
