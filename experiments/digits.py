"""Reading digits, isolated ones by class and joined ones by CTC, of whatever signal.

What spoken and handwritten digits have in common: two kinds of networks over sequences
of frames, batches drawn at random from examples, and what is made of a test.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

import lstm_jax
from lstm_jax.decoding import greedy_decode, prefix_beam_search
from lstm_jax.metrics import Edits, count_all_edits

if TYPE_CHECKING:
    from lstm_jax import Task
    from lstm_jax.config import CellName, Precision, RunConfig
    from lstm_jax.metrics import LossSums
    from lstm_jax.models import ModelSpec
    from lstm_jax.training import CompiledSteps, Stop
    from lstm_jax.typing import Model

NAMES = "0123456789"  # digit k is class k, and symbol k + 1 of CTC, whose 0 is a blank
BEAM = 8
_VALIDATION = 8  # batches of what is held out
Batch = dict[str, np.ndarray]
Examples = TypeVar("Examples")


@dataclasses.dataclass(frozen=True)
class Settings:
    """One network and how it learns."""

    hidden: int
    steps: int
    rows: int
    layers: int = 2
    dropout: float = 0.3
    learning_rate: float = 4e-3
    members: int = 1
    cell: CellName = "lstm"


@dataclasses.dataclass(frozen=True)
class TrainingSetup(Generic[Examples]):
    """What one kind of network learns, and how.

    Attributes:
        how: its settings.
        batch: batch (seed, n) of some examples.
        spec: the network.
        compiled: its training programs.
        unit: of the loss.
    """

    how: Settings
    batch: Callable[[Examples, int, int], Batch]
    spec: ModelSpec
    compiled: CompiledSteps
    unit: str = "nats per digit"


def isolated_setup(
    how: Settings,
    features: int,
    batch: Callable[[Examples, int, int], Batch],
    precision: Precision | None,
    classes: int = len(NAMES),
) -> TrainingSetup[Examples]:
    """Naming isolated digits, by several networks; batches of `classifier_loss`."""
    sizes = {
        **{"features": features, "hidden_size": how.hidden, "num_layers": how.layers},
        **{"classes": classes, "dropout": how.dropout, "cell": how.cell},
    }
    loss = lstm_jax.training.ensemble_loss(lstm_jax.models.classifier_loss)
    loss = lstm_jax.training.with_precision(loss, precision)
    # The ensemble's gradient is that of one member, a member-th of it for each.
    optimizer = lstm_jax.make_optimizer(0.01, how.members**-0.5, 0.99)
    return TrainingSetup(
        how,
        batch,
        lstm_jax.models.ModelSpec("classifier", sizes, how.members),
        lstm_jax.training.CompiledSteps(loss, optimizer),
    )


def joined_setup(
    how: Settings,
    features: int,
    batch: Callable[[Examples, int, int], Batch],
    precision: Precision | None,
    symbols: int = len(NAMES),
) -> TrainingSetup[Examples]:
    """Reading joined digits; batches of `ctc_loss`."""
    sizes = {
        **{"features": features, "symbols": 1 + symbols, "hidden": how.hidden},
        **{"layers": how.layers, "dropout": how.dropout, "cell": how.cell},
    }
    loss = lstm_jax.models.ctc_loss
    loss = lstm_jax.training.with_precision(loss, precision)
    return TrainingSetup(
        how,
        batch,
        lstm_jax.models.ModelSpec("ctc", sizes),
        lstm_jax.training.CompiledSteps(loss, lstm_jax.make_optimizer(0.01, 1.0, 0.99)),
    )


def digit_task(
    setup: TrainingSetup[Examples],
    examples: Examples,
    count: int,
    held_out: Examples | None,
    seed: int,
) -> Task:
    """Learning what a setup teaches from some examples.

    Args:
        setup: the kind of network.
        examples: what to learn from.
        count: how many they are.
        held_out: what the best step is chosen by; nothing is if there are none.
        seed: of the batches.
    """
    how, loss = setup.how, setup.compiled.loss
    measure = lstm_jax.distributed.bounded_jit(
        lambda model, batch: loss(model, (), batch, None)[0]
    )

    def evaluate(model: Model) -> LossSums:
        assert held_out is not None
        batches = (setup.batch(held_out, seed, n) for n in range(_VALIDATION))
        return functools.reduce(
            operator.add, [measure(model, batch) for batch in batches]
        )

    return lstm_jax.Task(
        loss=loss,
        batch=functools.partial(setup.batch, examples, seed),
        rows=how.rows,
        steps_per_epoch=max(1, count // how.rows),
        items_per_step=how.rows,
        items="rows",
        unit=setup.unit,
        evaluate=evaluate if held_out is not None else None,
    )


def fit(
    application: str,
    setup: TrainingSetup[Examples],
    examples: Examples,
    count: int,
    run: RunConfig,
    *,
    folder: Path,
    stop: Stop,
    held_out: Examples | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """Train a network on some examples, in a folder of its own.

    `settings` are kept with it, see `write_spec`.
    """
    from experiments.training import train_network

    task = digit_task(setup, examples, count, held_out, run.seed)
    trained = train_network(
        application,
        setup.spec,
        task,
        setup.compiled,
        run,
        folder=folder,
        steps=setup.how.steps,
        learning_rate=setup.how.learning_rate,
        settings=settings,
        callbacks=[stop],
    )
    if trained.history:  # process 0 alone has that of a run that was finished before
        last = trained.history[-1]
        loss = f"{last.train_loss:.3f} {task.unit}"
        print(f"  {last.step} steps in {last.seconds:.0f} s, training loss {loss}")
    return trained.model


class Networks(NamedTuple):
    """Those for isolated digits, stacked, and that for joined ones."""

    isolated: lstm_jax.SequenceClassifier
    joined: lstm_jax.CTCModel

    def name(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Log-probabilities [N, 10] of the digit that each row of frames [T, D] is."""
        return score_by_members(self.isolated, rows)

    def read(self, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        """CTC logits [T, 11] of each row of frames [T, D]."""
        return lstm_jax.models.score_frames(self.joined, rows)


def score_by_members(model: Model, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Log-probabilities [N, C] of the class of each row of frames [T, D].

    Args:
        model: several classifiers, stacked, whose probabilities are averaged.
        rows: of frames.
    """
    import jax.numpy as jnp

    members = lstm_jax.training.members_of(model)
    each = [lstm_jax.models.score_classes(member, rows) for member in members]
    return np.asarray(lstm_jax.training.average_members(jnp.stack(each)))


def load_networks(run_dir: Path, application: str) -> Networks:
    """Load the networks of a run: joined digits in its folder, isolated ones in it.

    Raises:
        InputError: they are missing, or of another kind.
    """
    joined = lstm_jax.models.load_model(run_dir, application).model
    if not isinstance(joined, lstm_jax.CTCModel):
        raise lstm_jax.InputError(f"{run_dir}: expected a network trained by CTC")
    isolated = lstm_jax.models.load_model(run_dir / "isolated", application).model
    return Networks(isolated, joined)


def names(symbols: Sequence[int]) -> str:
    """Digits of symbols."""
    return " ".join(NAMES[symbol - 1] for symbol in symbols) or "nothing"


class Report(NamedTuple):
    """What was made of a test: classes of digits, transcripts of joined ones."""

    right: int
    tested: int
    greedy: Edits
    beam: Edits

    @property
    def accuracy(self) -> float:
        """Percent of the isolated digits."""
        return 100 * self.right / self.tested

    def __str__(self) -> str:
        isolated = f"isolated {self.right}/{self.tested} = {self.accuracy:.2f} %"
        if not self.beam.length:
            return f"{isolated}; too few to be joined"
        return (
            f"{isolated}; joined, errors in {self.beam.length} digits: greedy "
            f"{100 * self.greedy.error_rate:.2f} %, beam "
            f"{100 * self.beam.error_rate:.2f} %"
        )

    def scores(self, counted: str) -> dict[str, Any]:
        """What `evaluate --json` prints.

        Args:
            counted: what the isolated digits are called.
        """
        edits = self.beam
        return {
            counted: self.tested,
            "accuracy": self.accuracy / 100,
            "joined_digits": edits.length,
            "digit_error_rate": edits.error_rate if edits.length else None,
        }


def examine(
    networks: Networks,
    isolated: Sequence[np.ndarray],
    digits: np.ndarray,
    joined: Sequence[np.ndarray],
    references: Sequence[tuple[int, ...]],
) -> Report:
    """What networks make of a test.

    Args:
        networks: of both kinds.
        isolated: frames [T, D] of each isolated digit.
        digits: which they are, [N].
        joined: frames [T, D] of each line or utterance of joined digits.
        references: the symbols of each.
    """
    classes = networks.name(isolated).argmax(axis=1)
    logits = networks.read(joined)
    greedy = [greedy_decode(some) for some in logits]
    beam = [prefix_beam_search(some, BEAM)[0].symbols for some in logits]
    return report(digits, classes, references, greedy, beam)


def report(
    digits: np.ndarray,
    classes: np.ndarray,
    references: Sequence[tuple[int, ...]],
    greedy: Sequence[Sequence[int]],
    beam: Sequence[Sequence[int]],
) -> Report:
    """Answers beside what is true: digits [N] and classes [N], and transcripts."""
    return Report(
        right=int((classes == digits).sum()),
        tested=len(digits),
        greedy=count_all_edits(references, greedy),
        beam=count_all_edits(references, beam),
    )
