"""How a language model is scored: two protocols, always named beside the number.

    window256   consecutive windows of 256 symbols, each read from the zero state
    stream      the whole text in one pass, the state carried all the way

Both predict every symbol but the first exactly once. `stream` is the lower number:
its context is not cut.
"""

import functools
import math

import jax
import numpy as np

from lstm_jax.data import windows
from lstm_jax.devices import replicate, row_mesh, spread, spread_batch
from lstm_jax.losses import Sums
from lstm_jax.models.language import LanguageModel, language_loss
from lstm_jax.step import eval_step

WINDOW = 256
ROW_AXES = {"inputs": 1, "targets": 1, "fresh": 0}
_MOST_ROWS = 64  # windows read side by side
_SEGMENT = 1024  # symbols of the stream per call

_eval_step = jax.jit(functools.partial(eval_step, language_loss))


def window256(model: LanguageModel, ids: np.ndarray, limit: int | None = None) -> Sums:
    """Sums over windows of 256, or over `limit` of them, evenly spread."""
    rows = min(_MOST_ROWS, -(-(len(ids) - 1) // WINDOW), limit or _MOST_ROWS)
    mesh = row_mesh(rows)
    model = replicate(mesh, model)
    blank = spread(mesh, model.blank(rows))
    total = None
    for batch in windows(ids, WINDOW, rows, limit):
        batch = spread_batch(mesh, batch, ROW_AXES)
        sums, _ = _eval_step(model, blank, batch)
        total = sums if total is None else total + sums
    return jax.device_get(total)


def stream(model: LanguageModel, ids: np.ndarray) -> Sums:
    """Sums over one pass with the state carried."""
    device = jax.devices()[0]
    model = jax.device_put(model, device)
    states = jax.device_put(model.blank(1), device)
    total = None
    for batch in windows(ids, _SEGMENT, 1):
        batch["fresh"] = np.zeros(1, bool)
        sums, states = _eval_step(model, states, batch)
        total = sums if total is None else total + sums
    return jax.device_get(total)


def evaluate_ids(model: LanguageModel, ids: np.ndarray) -> dict[str, dict[str, float]]:
    """The scores of ids [N] under both protocols, by their names."""
    whole = scores(stream(model, ids))
    one_window = len(ids) - 1 <= WINDOW  # then both protocols are the same
    cut = whole if one_window else scores(window256(model, ids))
    return {"window256": cut, "stream": whole}


def scores(sums: Sums) -> dict[str, float]:
    """What is reported of a protocol's sums.

    Returns:
        `loss` in nats per symbol, the same as `bits_per_char` (loss / ln 2) and as
        `perplexity` (exp loss), `accuracy` and how many `characters` were predicted.
    """
    loss = sums.mean_loss()
    return {
        "loss": loss,
        "bits_per_char": loss / math.log(2),
        "perplexity": math.exp(min(loss, 700.0)),
        "accuracy": float(sums.correct) / float(sums.count),
        "characters": int(sums.count),
    }
