"""Sequence to sequence as a task: pairs of sentences as batches of few shapes."""

import dataclasses
import functools
import operator
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jax import Array

from experiments.translate.data import Pairs
from lstm_jax import InputError, Seq2Seq, Task
from lstm_jax.data import (
    END,
    IGNORED,
    START,
    Batch,
    BPETokenizer,
    BucketedBatches,
    learn_subwords,
    load_tokenizer,
    make_buckets,
    pad,
    save_tokenizer,
)
from lstm_jax.distributed import bounded_jit
from lstm_jax.metrics import LossSums
from lstm_jax.models import seq2seq_loss
from lstm_jax.training import Loss

NAME, TOKENIZERS = "translate", ("source.json", "target.json")
_ROWS = 100  # sentences side by side when nothing is learned
_ROUND = 8  # their lengths are rounded up to a multiple: fewer shapes


@dataclasses.dataclass(frozen=True)
class Examples:
    """Pairs of sentences as ids, without START and END."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """[N, 2]: of the source, and of the target with its END."""
        pairs = zip(self.sources, self.targets, strict=True)
        return np.array([(len(source), len(target) + 1) for source, target in pairs])

    def batch(self, rows: np.ndarray, shape: tuple[int, ...]) -> Batch:
        """The examples `rows` as `seq2seq_loss` reads them; -1 is an empty row."""
        sources = [self.sources[k] for k in rows[rows >= 0]]
        targets = [self.targets[k].tolist() for k in rows[rows >= 0]]
        return {
            **pad_sources(sources, len(rows), shape[0]),
            "inputs": pad([[START, *t] for t in targets], len(rows), shape[1], END),
            "targets": pad([[*t, END] for t in targets], len(rows), shape[1], IGNORED),
        }


def pad_sources(sources: list[np.ndarray], rows: int, steps: int) -> Batch:
    """`sources` [rows, steps] and their `lengths` [rows]; rows left over are empty."""
    lengths = np.zeros(rows, np.int32)
    lengths[: len(sources)] = [len(source) for source in sources]
    return {"sources": pad(sources, rows, steps, 0), "lengths": lengths}


Tables = tuple[BPETokenizer, BPETokenizer]  # of the source and of the target


def tables_of(pairs: Pairs, size: int, kept: Path | None) -> Tables:
    """The subwords of both languages.

    Args:
        pairs: to be learned from.
        size: symbols of each language.
        kept: the folder of the run that is gone on with, which may have tables already,
            be they of a former version.
    """
    if kept and all((kept / file).exists() for file in TOKENIZERS):
        return load_tables(kept)
    source, target = (learn_subwords((p[k] for p in pairs), size) for k in (0, 1))
    return source, target


def save_tables(tables: Tables, run_dir: Path) -> None:
    """Leave the tables for `load_tables`."""
    for tokenizer, file in zip(tables, TOKENIZERS, strict=True):
        save_tokenizer(tokenizer, run_dir / file)


def load_tables(run_dir: Path) -> Tables:
    """Read the tables of a run.

    Raises:
        InputError: a file is missing, damaged, or another table.
    """
    source, target = (load_tokenizer(run_dir / file) for file in TOKENIZERS)
    if not isinstance(source, BPETokenizer) or not isinstance(target, BPETokenizer):
        raise InputError(f"{run_dir}: expected tables of subwords, found others")
    return source, target


def encode_pairs(pairs: Pairs, source: BPETokenizer, target: BPETokenizer) -> Examples:
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
    """Learning to translate.

    Args:
        training: what is learned from.
        validation: what the best model is chosen by.
        loss: `seq2seq_loss`, with its smoothing.
        rows: B, pairs per batch.
        buckets: the most shapes a batch may have.
        seed: decides the order of the pairs.
    """
    lengths = training.lengths
    order = BucketedBatches(make_buckets(lengths, buckets), rows, seed)

    def batch(n: int) -> Batch:
        picked = order(n)
        return training.batch(picked.rows, picked.shape)

    return Task(
        loss=loss,
        batch=batch,
        rows=rows,
        steps_per_epoch=order.steps_per_epoch,
        items_per_step=int(lengths[:, 1].sum()) // order.steps_per_epoch,
        items="subwords",
        unit="nats per subword",
        evaluate=lambda model: evaluate_pairs(model, validation),
    )


def evaluate_pairs(model: Seq2Seq, examples: Examples) -> LossSums:
    """The sums of all examples, without dropout and label smoothing."""
    parts = (
        _measure(model, examples.batch(rows, shape))
        for rows, shape in few_shapes(examples.lengths)
    )
    return functools.reduce(operator.add, parts)


@bounded_jit
def _measure(model: Seq2Seq, batch: dict[str, Array]) -> LossSums:
    return seq2seq_loss(model, (), batch, None)[0]


def few_shapes(lengths: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, ...]]]:
    """All examples once, in order of their lengths [N, ...], as rows and their shape.

    The batches have equal numbers of rows, -1 being an empty one.
    """
    rows = min(_ROWS, len(lengths))
    order = np.argsort(lengths.max(axis=1), kind="stable")
    order = np.pad(order, (0, -len(order) % rows), constant_values=-1)
    for some in order.reshape(-1, rows):
        longest = np.maximum(lengths[some[some >= 0]].max(axis=0), 1)
        yield some, tuple((-(-longest // _ROUND) * _ROUND).tolist())
