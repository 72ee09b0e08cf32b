"""Dynamic evaluation: a model that goes on learning from the text it is tested on.

The text is read in one pass, a segment at a time. A segment is predicted first, by the
state and the weights that all before it have left. Only then are the weights moved by
its gradient g, and drawn back towards the trained ones, w_0:

    w ← w + min(λ s / mean(s), 1) (w_0 - w) - η g / (s + ε)

where s is the root mean square of a weight's gradients on the training text (Krause et
al. 2018, "Dynamic evaluation of neural sequence models", the RMS form). No symbol is
predicted by weights that have seen it. The numbers compare with their own kind alone.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from lstm_jax.data.bptt import Batch, windows
from lstm_jax.distributed.bounded import bounded_jit
from lstm_jax.distributed.multihost import gather_replicated
from lstm_jax.metrics.classification import ClassificationSums
from lstm_jax.models.language import LanguageModel, States, language_measures

_EPSILON = 1e-5
_SEGMENTS = 2000  # of the training text, to learn the size of its gradients from
_PER_CALL = 100  # segments

Carried = tuple[LanguageModel, States]


@dataclasses.dataclass(frozen=True)
class DynamicEvaluationConfig:
    """How fast a model learns from what it reads, and how fast it forgets that again.

    Attributes:
        rate: η, the step of a weight whose gradient has its usual size.
        decay: λ, the share of the way back that a weight goes per segment.
        segment: symbols that are predicted between two steps.
    """

    rate: float = 2e-4
    decay: float = 2e-3
    segment: int = 20


ADAPTATION = DynamicEvaluationConfig()


def dynamic_measures(
    model: LanguageModel,
    ids: np.ndarray,
    train_ids: np.ndarray,
    adaptation: DynamicEvaluationConfig = ADAPTATION,
) -> ClassificationSums:
    """All metrics of ids [N], read in one pass by a model that adapts to them.

    Args:
        model: the trained model; it is left as it is.
        ids: what is predicted, each symbol but the first once.
        train_ids: what it was trained on. The beginning is read, 2,000 segments, to
            learn how large its gradients are.
        adaptation: how it learns.
    """
    model = jax.device_put(gather_replicated(model), jax.local_devices()[0])
    scale = _gradient_scale(model, train_ids, adaptation.segment)
    carried, total = (model, model.initial_state(1)), None
    for segments in _segments(ids, adaptation.segment):
        carried, found = _predict_and_learn(
            model, scale, adaptation.rate, adaptation.decay, carried, segments
        )
        total = found if total is None else total + found
    return jax.device_get(total)


def _segments(ids: np.ndarray, length: int) -> Iterator[Batch]:
    """Consecutive segments of one row, a leading axis of them per call."""
    for batch in windows(ids, length, _PER_CALL):
        yield {
            "inputs": batch["inputs"][:, None],
            "targets": batch["targets"][:, None],
            "resets": np.zeros((_PER_CALL, 1), bool),
        }


def _gradient_scale(
    model: LanguageModel, ids: np.ndarray, segment: int
) -> LanguageModel:
    """The root mean square of every weight's gradient on the segments of a text."""
    ids = ids[: _SEGMENTS * segment + 1]
    squares, states = jax.tree.map(jnp.zeros_like, model), model.initial_state(1)
    for segments in _segments(ids, segment):
        squares, states = _add_squares(model, squares, states, segments)
    count = -(-(len(ids) - 1) // segment)
    return jax.tree.map(lambda square: jnp.sqrt(square / count), squares)


@bounded_jit
def _add_squares(
    model: LanguageModel,
    squares: LanguageModel,
    states: States,
    segments: dict[str, Array],
) -> tuple[LanguageModel, States]:
    def one(carried: Carried, batch: dict[str, Array]) -> tuple[Carried, None]:
        squares, states = carried
        gradient, (_, states) = _gradient(model, states, batch)
        squares = jax.tree.map(lambda s, g: s + g * g, squares, gradient)
        return (squares, states), None

    return jax.lax.scan(one, (squares, states), segments)[0]


@bounded_jit
def _predict_and_learn(
    trained: LanguageModel,
    scale: LanguageModel,
    rate: Array,
    decay: Array,
    carried: Carried,
    segments: dict[str, Array],
) -> tuple[Carried, ClassificationSums]:
    """The next segments one after the other, and their metrics added up."""
    leaves = jax.tree.leaves(scale)
    mean = sum(jnp.sum(s) for s in leaves) / sum(s.size for s in leaves)

    def moved(w: Array, w_0: Array, s: Array, g: Array) -> Array:
        back = jnp.minimum(decay * s / mean, 1)
        return w + back * (w_0 - w) - rate * g / (s + _EPSILON)

    def one(
        carried: Carried, batch: dict[str, Array]
    ) -> tuple[Carried, ClassificationSums]:
        model, states = carried
        gradient, (found, states) = _gradient(model, states, batch)
        return (jax.tree.map(moved, model, trained, scale, gradient), states), found

    carried, found = jax.lax.scan(one, carried, segments)
    return carried, jax.tree.map(lambda each: jnp.sum(each, axis=0), found)


def _gradient(
    model: LanguageModel, states: States, batch: dict[str, Array]
) -> tuple[LanguageModel, tuple[ClassificationSums, States]]:
    """Of the mean loss of a segment; and what was measured before any step."""

    def mean_loss(
        model: LanguageModel,
    ) -> tuple[Array, tuple[ClassificationSums, States]]:
        found, states_after = language_measures(model, states, batch)
        return found.sums.loss / jnp.maximum(found.sums.count, 1), (found, states_after)

    return jax.grad(mean_loss, has_aux=True)(model)
