"""How a language model is scored: two protocols, always named beside the number.

    window256   consecutive windows of 256 symbols, each read from the zero state
    stream      the whole text in one pass, the state carried all the way

Both predict every symbol but the first exactly once. `stream` is the lower number:
its context is not cut.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.data.bptt import windows
from lstm_jax.data.tokenizers.vocabulary import TextSize, Vocabulary
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.distributed.mesh import mesh_for, replicate, shard_batch, shard_rows
from lstm_jax.distributed.multihost import gather_replicated
from lstm_jax.metrics.classification import (
    TOP,
    ClassificationSums,
    calibration_error,
    class_report,
    measure,
)
from lstm_jax.metrics.losses import LossSums, Totals
from lstm_jax.models.language import (
    LanguageModel,
    States,
    language_loss,
    language_measures,
    reset_states,
)
from lstm_jax.ops.argmax import argmax
from lstm_jax.training.step import eval_step

WINDOW = 256
_MOST_ROWS = 64  # windows read side by side
_MOST_LOGITS = 1 << 27  # held at once; only large vocabularies come to so many
_SEGMENT = 1024  # symbols of the stream per call

Part = TypeVar("Part")
# What is read off a batch: (model, states, batch) to totals and the states after it.
Reader = Callable[[Any, Any, Any], tuple[Totals, Any]]
_read_loss = bounded_jit(functools.partial(eval_step, language_loss))
_read_all = bounded_jit(language_measures)


@bounded_jit
def _read_symbols(
    model: LanguageModel, states: States, batch: dict[str, Array]
) -> tuple[tuple[ClassificationSums, Array, Array], States]:
    """The measures of a batch and, of its first row, predicted ids and nats, [T]."""
    logits, states = model(batch["inputs"], reset_states(states, batch["resets"]))
    scores, targets = logits[0].astype(jnp.float32), batch["targets"][0, :, None]
    score = jnp.take_along_axis(scores, jnp.maximum(targets, 0), axis=-1)[:, 0]
    nats = jax.nn.logsumexp(scores, axis=-1) - score
    return (measure(logits, batch["targets"]), argmax(scores), nats), states


def window256(
    model: LanguageModel, ids: np.ndarray, limit: int | None = None
) -> LossSums:
    """Sums over windows of 256, or over `limit` of them, evenly spread."""
    return _read_windows(_read_loss, model, ids, limit)


def stream(model: LanguageModel, ids: np.ndarray) -> LossSums:
    """Sums over one pass with the state carried."""
    return _read_stream(_read_loss, model, ids)


def evaluate_ids(
    model: LanguageModel, ids: np.ndarray, vocab: Vocabulary | None = None
) -> dict[str, dict[str, float]]:
    """The `scores` of ids [N] under both protocols, by their names.

    With their vocabulary there are those per character and byte, too.
    """
    found = _read_both(_read_loss, model, ids)
    size = None if vocab is None else vocab.size_of(ids[1:])
    return {protocol: scores(sums, size) for protocol, sums in found.items()}


def measure_ids(model: LanguageModel, ids: np.ndarray) -> dict[str, ClassificationSums]:
    """All metrics of ids [N] under both protocols, by their names."""
    return _read_both(_read_all, model, ids)


def window_measures(model: LanguageModel, ids: np.ndarray) -> ClassificationSums:
    """All metrics of ids [N] in windows of 256."""
    return _read_windows(_read_all, model, ids)


def stream_symbols(
    model: LanguageModel, ids: np.ndarray
) -> tuple[ClassificationSums, np.ndarray, np.ndarray]:
    """All metrics of ids [N] in one pass, and what they were counted from.

    Returns:
        The metrics; the id predicted for each symbol but the first, [N - 1]; and
        -ln p of what came instead, in nats, [N - 1].
    """
    parts = list(_stream_parts(_read_symbols, model, ids))
    measures, predicted, nats = (list(each) for each in zip(*parts, strict=True))
    total = functools.reduce(operator.add, measures)
    symbols = len(ids) - 1
    return (
        jax.device_get(total),
        np.concatenate(jax.device_get(predicted))[:symbols],
        np.concatenate(jax.device_get(nats))[:symbols],
    )


def _read_both(
    read: Reader[Totals], model: LanguageModel, ids: np.ndarray
) -> dict[str, Totals]:
    whole = _read_stream(read, model, ids)
    one_window = len(ids) - 1 <= WINDOW  # then both protocols are the same
    cut = whole if one_window else _read_windows(read, model, ids)
    return {"window256": cut, "stream": whole}


def _read_windows(
    read: Reader[Totals],
    model: LanguageModel,
    ids: np.ndarray,
    limit: int | None = None,
) -> Totals:
    most = max(1, min(_MOST_ROWS, _MOST_LOGITS // (WINDOW * len(model.b_out))))
    rows = min(most, -(-(len(ids) - 1) // WINDOW), limit or most)
    mesh, rows = mesh_for(rows, model)
    model = replicate(mesh, model)
    blank = shard_rows(mesh, model.initial_state(rows))
    total = None
    for batch in windows(ids, WINDOW, rows, limit):
        batch = shard_batch(mesh, batch)
        found, _ = read(model, blank, batch)
        total = found if total is None else total + found
    return jax.device_get(gather_replicated(total))


def _read_stream(read: Reader[Totals], model: LanguageModel, ids: np.ndarray) -> Totals:
    parts = _stream_parts(read, model, ids)
    return jax.device_get(functools.reduce(operator.add, parts))


def _stream_parts(
    read: Callable[[Any, Any, Any], tuple[Part, Any]],
    model: LanguageModel,
    ids: np.ndarray,
) -> Iterator[Part]:
    """What is read off the segments of one pass, in order."""
    device = jax.local_devices()[0]  # of several processes, each reads all of it
    model = jax.device_put(gather_replicated(model), device)
    states = jax.device_put(model.initial_state(1), device)
    for batch in windows(ids, _SEGMENT, 1):
        batch["resets"] = np.zeros(1, bool)
        found, states = read(model, states, batch)
        yield found


def scores(sums: LossSums, size: TextSize | None = None) -> dict[str, float]:
    """What is reported of a protocol's sums.

    Losses per symbol say nothing beside those of other symbols; per character or per
    byte of the text they compare, whatever the vocabularies.

    Args:
        sums: of the protocol.
        size: of the text that was predicted, if symbols are not characters.

    Returns:
        `loss` in nats per symbol, and as `perplexity` (exp loss), `bits_per_char`,
        `accuracy` and how many `characters` were predicted. With a `size` also
        `nats_per_char`, `nats_per_byte`, `bits_per_byte` and the number of `symbols`.
    """
    found = sums.values()
    loss, count = found["loss"], int(sums.count)
    # What is measured per symbol stays as it is to the bit where they are characters.
    characters = size.characters if size else count
    by_char = loss if characters == count else loss * count / max(characters, 1)
    report = {
        "loss": loss,
        "bits_per_char": by_char / math.log(2),
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": found["accuracy"],
        "characters": characters,
    }
    if size:
        by_byte = loss * count / max(size.bytes, 1)
        report |= {
            "nats_per_char": by_char,
            "nats_per_byte": by_byte,
            "bits_per_byte": by_byte / math.log(2),
            "symbols": count,
        }
    return report


def all_scores(
    found: ClassificationSums, size: TextSize | None = None
) -> dict[str, float]:
    """What is reported of everything that was measured.

    Args:
        found: the sums.
        size: see `scores`.

    Returns:
        The `scores`; `top5_accuracy`, the share of targets among the five highest
        scores; `calibration_error`; and `precision`, `recall` and `f1`, each averaged
        three ways: `precision_micro`, `precision_macro` and so on.
    """
    averages = class_report(found.class_counts()).averages
    return {
        **scores(found.sums, size),
        f"top{TOP}_accuracy": float(found.top) / float(found.sums.count),
        "calibration_error": calibration_error(found.calibration),
        **{
            f"{name}_{average}": value
            for average, values in averages.items()
            for name, value in values.items()
        },
    }
