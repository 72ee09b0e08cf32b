"""Translation between texts: sentences as batches to learn from, and a trained model at
work on sentences.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.beam import beam_search, greedy_search
from lstm_jax.buckets import BucketedBatches, make_buckets, pad
from lstm_jax.data import IGNORED, Batch
from lstm_jax.fit import Task
from lstm_jax.losses import Sums
from lstm_jax.models.translate import DecoderStates, Translator, translation_loss
from lstm_jax.notation import BatchIds, Lengths, SourceIds, StepIds, StepLogits
from lstm_jax.parallel import Pairs
from lstm_jax.step import Loss
from lstm_jax.subwords import END, START, Subwords

_ROWS = 100  # sentences translated side by side
_STEP = 8  # their length is rounded up to a multiple of it: fewer shapes
_UNKNOWN_LENGTH = (1.5, 10)  # a translation is at most that much longer


@dataclasses.dataclass(frozen=True)
class Search:
    """How a translation is looked for.

    Attributes:
        width: W of the beam; 0 takes the likeliest symbol each time (greedy).
        alpha: strength of the length penalty, see `lstm_jax.beam`.
    """

    width: int = 0
    alpha: float = 0.0


GREEDY_SEARCH = Search()


@dataclasses.dataclass(frozen=True)
class Examples:
    """Pairs of sentences as ids; the sources without START and END, as are the targets."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """[N, 2]: of the source, and of the target with its END."""
        pairs = zip(self.sources, self.targets, strict=True)
        return np.array([(len(s), len(t) + 1) for s, t in pairs])

    def batch(self, rows: np.ndarray, shape: tuple[int, ...]) -> Batch:
        """What `translation_loss` reads, of these examples; -1 is an empty row."""
        steps, target_steps = shape
        some = [self.sources[k] if k >= 0 else np.zeros(0, int) for k in rows]
        theirs = [self.targets[k] if k >= 0 else None for k in rows]
        inputs = [[] if t is None else [START, *t] for t in theirs]
        targets = [[] if t is None else [*t, END] for t in theirs]
        return {
            "sources": pad(some, steps, 0),
            "lengths": np.array([len(s) for s in some], np.int32),
            "inputs": pad(inputs, target_steps, END),
            "targets": pad(targets, target_steps, IGNORED),
        }


def encode_pairs(pairs: Pairs, source: Subwords, target: Subwords) -> Examples:
    """Pairs of sentences as ids."""
    return Examples(
        [np.array(source.encode(text), np.int32) for text, _ in pairs],
        [np.array(target.encode(text), np.int32) for _, text in pairs],
    )


def translation_task(
    training: Examples,
    validation: Examples,
    loss: Loss,
    *,
    rows: int,
    buckets: int,
    seed: int,
) -> Task:
    """Learning to translate, from batches of few shapes.

    Args:
        training: what is learned from.
        validation: what the best model is chosen by.
        loss: `translation_loss`, with its smoothing.
        rows: B, sentences per batch.
        buckets: the most shapes a batch may have.
        seed: decides the order of the examples.
    """
    order = BucketedBatches(make_buckets(training.lengths, buckets), rows, seed)

    def batch(n: int) -> Batch:
        picked = order(n)
        return training.batch(picked.rows, picked.shape)

    return Task(
        loss=loss,
        batch=batch,
        row_axes=dict.fromkeys(("sources", "lengths", "inputs", "targets"), 0),
        rows=rows,
        steps_per_epoch=order.steps_per_epoch,
        symbols_per_step=int(training.lengths[:, 1].sum()) // order.steps_per_epoch,
        evaluate=lambda model: evaluate_pairs(model, validation),
    )


def evaluate_pairs(model: Translator, examples: Examples) -> Sums:
    """The sums of all examples, without dropout and label smoothing."""
    total = None
    for rows, shape in _few_shapes(examples.lengths):
        sums = _measure(model, examples.batch(rows, shape))
        total = sums if total is None else total + sums
    assert total is not None, "there are examples"
    return total


def translate_ids(
    model: Translator, sources: Sequence[np.ndarray], search: Search = GREEDY_SEARCH
) -> list[list[int]]:
    """The translations of sentences, ids without START and END."""
    lengths = np.array([[len(source)] for source in sources])
    found: dict[int, list[int]] = {}
    for rows, (steps,) in _few_shapes(lengths):
        some = [sources[k] if k >= 0 else np.zeros(0, int) for k in rows]
        sizes = np.array([len(s) for s in some], np.int32)
        factor, more = _UNKNOWN_LENGTH
        length = math.ceil(factor * steps) + more
        ids = np.asarray(_search(model, pad(some, steps, 0), sizes, search, length))
        found |= {k: _until_end(ids[row]) for row, k in enumerate(rows) if k >= 0}
    return [found[k] for k in range(len(sources))]


def attention_of(
    model: Translator, source: np.ndarray, target: Sequence[int]
) -> np.ndarray:
    """What was attended to while a translation was written: [T + 1, S], END included."""
    inputs = jnp.asarray([[START, *target]])
    memory, states = model.read(jnp.asarray(source)[None], jnp.asarray([len(source)]))
    return np.asarray(model.write(inputs, states, memory)[1][0])


def _few_shapes(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """All examples, sorted, in batches of equal rows and of lengths in steps."""
    rows = min(_ROWS, len(lengths))
    order = np.argsort(lengths.max(axis=1), kind="stable")
    order = np.pad(order, (0, -len(order) % rows), constant_values=-1)
    for some in order.reshape(-1, rows):
        longest = lengths[some[some >= 0]].max(axis=0)
        yield some, tuple((-(-longest // _STEP) * _STEP).tolist())


@jax.jit
def _measure(model: Translator, batch: Batch) -> Sums:
    return translation_loss(model, (), batch, None)[0]


@functools.partial(jax.jit, static_argnames=("search", "length"))
def _search(
    model: Translator,
    sources: SourceIds,
    sizes: Lengths,
    search: Search,
    length: int,
) -> BatchIds:
    """The best translation of every row, [B, length], END included."""
    memory, states = model.read(sources, sizes)

    def step(states: DecoderStates, ids: StepIds) -> tuple[StepLogits, DecoderStates]:
        scores, _, states = model.write(ids[:, None], states, memory)
        return scores[:, 0].at[:, :END].set(-jnp.inf), states

    starts = jnp.full(sources.shape[0], START)
    scores, states = step(states, starts)
    if not search.width:
        return greedy_search(step, states, scores, length=length, end=END)
    beams = beam_search(
        step,
        states,
        scores,
        width=search.width,
        length=length,
        end=END,
        alpha=search.alpha,
    )
    return beams.ids[:, 0]


def _until_end(ids: np.ndarray) -> list[int]:
    found = ids.tolist()
    return found[: found.index(END)] if END in found else found
